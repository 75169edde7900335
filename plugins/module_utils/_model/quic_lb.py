# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection ids of a VIP's servers in the layout of QUIC-LB (draft-ietf-quic-load-balancers-21), unencrypted."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .records import Fault, Fields, Optional, address, flag, many, number, read_fields, text

HIGHEST_CONFIG = 6
"""Of three bits; 7 means that nobody can route by the id."""

MAX_SERVER_ID, MIN_NONCE, MAX_NONCE, MAX_LENGTH = 15, 4, 18, 19
"""Bytes; the last is of a server id and its nonce together."""

MAX_TABLE_ID = 8
"""Bytes of a server id that is a number of server_ids: what the program takes for one."""

HEX = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII)


class QuicServer(t.NamedTuple):
    """A server id, as hexadecimal digits, and the real that gives out ids with it."""

    id: str
    real: str


@dataclass(frozen=True)
class QuicLb:
    """One configuration: what the ids with its config id look like.

    `servers`: sorted by id; none: their server ids are numbers of the table server_ids, big-endian.
    """

    config: int
    server_id_length: int
    nonce_length: int
    says_length: bool = False
    servers: tuple[QuicServer, ...] = ()

    def to_config(self) -> dict[str, t.Any]:
        """In config's own form."""
        found: dict[str, t.Any] = {
            "config": self.config,
            "server_id_length": self.server_id_length,
            "nonce_length": self.nonce_length,
            "first_octet_encodes_cid_length": self.says_length,
        }
        if self.servers:
            found["servers"] = [server._asdict() for server in self.servers]
        return found

    @classmethod
    def from_config(cls, row: Mapping[str, t.Any]) -> QuicLb:
        """From config's own form, which was validated when it was written."""
        return cls(
            row["config"],
            row["server_id_length"],
            row["nonce_length"],
            row["first_octet_encodes_cid_length"],
            tuple(QuicServer(server["id"], server["real"]) for server in row.get("servers", ())),
        )

    def words(self) -> str:
        """All but its servers, in words."""
        said = ", which its first octet says" if self.says_length else ""
        source = "" if self.servers else " of server_ids"
        return f"server id{source} in {self.server_id_length} bytes, nonce in {self.nonce_length}{said}"


def reals_of(configs: Iterable[QuicLb]) -> set[str]:
    """The reals to which ids lead, but those of the table server_ids."""
    return {server.real for config in configs for server in config.servers}


def too_short(vips: Iterable[Mapping[str, t.Any]], highest: int) -> list[str]:
    """Warnings of configurations in which not all numbers of server_ids fit. `vips`: their rows."""
    return [
        f"server_ids: {highest} does not fit in the {config.server_id_length} bytes of quic_lb config {config.config}"
        f" of VIP {vip['address']}, port {vip['port']}: no connection id can name it there"
        for vip in vips
        for config in map(QuicLb.from_config, vip.get("quic_lb", ()))
        if not config.servers and highest >= 1 << 8 * config.server_id_length
    ]


def _stored_server(value: t.Any, where: str) -> dict[str, t.Any]:
    found = read_fields(value, where, {"id": text, "real": address})
    if not HEX.fullmatch(found["id"]):
        raise Fault(f"{where}.id", f"{found['id']} is not made of hexadecimal digits")
    return found


_STORED: Fields = {
    "config": number(0, HIGHEST_CONFIG),
    "server_id_length": number(1, MAX_SERVER_ID),
    "nonce_length": number(MIN_NONCE, MAX_NONCE),
    "first_octet_encodes_cid_length": flag,
    "servers": Optional(many(_stored_server)),
}


def _stored_config(value: t.Any, where: str) -> dict[str, t.Any]:
    found = read_fields(value, where, _STORED)
    length = found["server_id_length"]
    if length + found["nonce_length"] > MAX_LENGTH:
        raise Fault(f"{where}.nonce_length", f"with the server id it is longer than {MAX_LENGTH} bytes")
    for index, server in enumerate(found.get("servers", ())):
        if len(server["id"]) != 2 * length:
            raise Fault(f"{where}.servers[{index}].id", f"{server['id']} has not {2 * length} digits")
    return found


def stored_quic_lb(value: t.Any, where: str) -> list[dict[str, t.Any]]:
    """The configurations of a VIP in a state, in config's own form."""
    found = many(_stored_config)(value, where)
    if len({each["config"] for each in found}) < len(found):
        raise Fault(where, "a config id is listed twice")
    return found
