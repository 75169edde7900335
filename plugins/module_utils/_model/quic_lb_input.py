# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Option quic_lb of VIPs, validated."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence

from .addresses import read_host
from .entries import Config
from .faults import Faults
from .map_specs import quic_lb_room
from .quic_lb import (
    HEX,
    HIGHEST_CONFIG,
    MAX_LENGTH,
    MAX_NONCE,
    MAX_SERVER_ID,
    MAX_TABLE_ID,
    MIN_NONCE,
    QuicLb,
    QuicServer,
)
from .shape import Options, is_number, numbered

QUIC_LB_OPTIONS: Options = {
    "config": {"type": "int", "required": True},
    "server_id_length": {"type": "int", "required": True},
    "nonce_length": {"type": "int", "required": True},
    "first_octet_encodes_cid_length": {"type": "bool"},
    "servers": {
        "type": "list",
        "elements": "dict",
        "options": {"id": {"type": "str", "required": True}, "real": {"type": "str", "required": True}},
    },
}


def read_quic_lb(entries: Config, where: str, ipv6: bool, vip: str, faults: Faults) -> tuple[QuicLb, ...]:
    """The configurations of a VIP of this family and address as listed, sorted."""
    found: dict[int, QuicLb] = {}
    for index, entry in numbered(entries):
        place = f"{where}[{index}]"
        config = entry.get("config")
        if not is_number(config, 0, HIGHEST_CONFIG):
            reserved = "; 7 is for ids that nobody can route" if config == HIGHEST_CONFIG + 1 else ""
            faults.add(f"{place}.config", f"{config} is not a config id (0 to {HIGHEST_CONFIG}{reserved})")
        elif config in found:
            faults.add(f"{place}.config", f"{config} is listed twice")
        length, nonce = entry.get("server_id_length"), entry.get("nonce_length")
        sound = _check_lengths(length, nonce, place, faults)
        servers: tuple[QuicServer, ...] = ()
        listed = entry.get("servers")
        if listed is not None:
            servers = _read_servers(listed, f"{place}.servers", length if sound else None, ipv6, vip, faults)
        elif sound and t.cast("int", length) > MAX_TABLE_ID:
            faults.add(
                f"{place}.server_id_length",
                f"{length} is more than the {MAX_TABLE_ID} bytes of a number of server_ids; list its servers",
            )
        if sound and is_number(config, 0, HIGHEST_CONFIG):
            said = bool(entry.get("first_octet_encodes_cid_length"))
            found[t.cast("int", config)] = QuicLb(
                t.cast("int", config), t.cast("int", length), t.cast("int", nonce), said, servers
            )
    return tuple(found[config] for config in sorted(found))


def _check_lengths(length: t.Any, nonce: t.Any, place: str, faults: Faults) -> bool:
    before = len(faults.lines)
    if not is_number(length, 1, MAX_SERVER_ID):
        faults.add(f"{place}.server_id_length", f"{length} is not a length of server ids (1 to {MAX_SERVER_ID} bytes)")
    if not is_number(nonce, MIN_NONCE, MAX_NONCE):
        faults.add(f"{place}.nonce_length", f"{nonce} is not a length of nonces ({MIN_NONCE} to {MAX_NONCE} bytes)")
    elif is_number(length, 1, MAX_SERVER_ID) and length + nonce > MAX_LENGTH:
        faults.add(
            f"{place}.nonce_length",
            f"a server id of {length} bytes and a nonce of {nonce} are {length + nonce}, but a connection id has room"
            f" for {MAX_LENGTH}",
        )
    return len(faults.lines) == before


def _read_servers(
    entries: Config, where: str, length: int | None, ipv6: bool, vip: str, faults: Faults
) -> tuple[QuicServer, ...]:
    """Servers as listed. `length`: of their ids, None where that is at fault itself."""
    found: dict[str, QuicServer] = {}
    if not entries:
        faults.add(where, "it is empty; leave it out for the ids of server_ids, or list a server")
    for index, entry in numbered(entries):
        name = str(entry.get("id")).lower()
        if not HEX.fullmatch(name) or (length is not None and len(name) != 2 * length):
            many_digits = f"{2 * length} " if length else ""
            faults.add(
                f"{where}[{index}].id",
                f"{entry.get('id')} is not a server id of {many_digits}hexadecimal digits, which want quotes",
            )
            continue
        if name in found:
            faults.add(f"{where}[{index}].id", f"{name} is listed twice")
            continue
        real = read_host(entry.get("real"))
        if isinstance(real, str):
            faults.add(f"{where}[{index}].real", real)
            continue
        if ipv6 and not real.ipv6:
            faults.add(f"{where}[{index}].real", f"{real.text} is IPv4, but the VIP {vip} is IPv6")
        if real.text == vip:
            faults.add(f"{where}[{index}].real", f"{vip} is the VIP itself; a real has an address of its own")
        found[name] = QuicServer(name, real.text)
    return tuple(sorted(found.values()))


def check_use(configs: Sequence[QuicLb], flags: Iterable[str], protocol: str, where: str, faults: Faults) -> None:
    """Whether a VIP with these flags has such ids at all."""
    if configs and protocol != "udp":
        faults.add(where, f"a VIP of {protocol} has no connection ids of QUIC")
    elif configs and "quic" not in flags:
        faults.add(where, "it says how a VIP with flag quic reads connection ids, and this one has not that flag")


def check_room(every: Iterable[QuicLb], sizes: Mapping[str, int], faults: Faults) -> None:
    """Whether there is room for all lists of servers."""
    servers, room = sum(len(config.servers) for config in every), quic_lb_room(sizes)
    if servers > room:
        faults.add("vips", f"{servers} servers in quic_lb, but sizes.reals makes room for {room}")
