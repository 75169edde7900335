# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables: resources whose entries are one key of one map each."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from . import layout
from .addresses import Address, Prefix, address_order, ipv4_lookalike, read_host, read_prefix
from .entries import Asked
from .faults import Faults
from .limits import Limits
from .shape import is_number
from .table_plan import TableEntry
from .vip_entries import real_of
from .vips import Vip


class SourceRoute(t.NamedTuple):
    """Clients of a prefix go to a real."""

    prefix: Prefix
    real: str


class ServerId(t.NamedTuple):
    """A server id leads to a real."""

    id: int
    real: str


class DecapDestination(t.NamedTuple):
    """Tunnels to this address are stripped here; `egress`: and sent out again."""

    address: str
    egress: bool


class HealthcheckDestination(t.NamedTuple):
    """Packets with this mark go to a real."""

    mark: int
    real: str


def resolve_source_routes(
    before: Mapping[Prefix, SourceRoute], asked: Asked
) -> tuple[dict[Prefix, SourceRoute], list[str]]:
    """The source routes after applying what is asked, and warnings. ConfigError lists all faults."""
    entries, limits = asked.entries("source_routes"), asked.limits
    faults = Faults()
    if entries and not asked.deletes and not limits.has("source_routing"):
        faults.add("source_routes", "needs feature source_routing")
    listed: dict[Prefix, SourceRoute] = {}
    for index, entry in enumerate(entries):
        prefix = read_prefix(str(entry.get("prefix")))
        if isinstance(prefix, str):
            faults.add(f"source_routes[{index}].prefix", prefix)
            continue
        if prefix in listed:
            faults.add(f"source_routes[{index}].prefix", f"{prefix.text} is listed twice")
            continue
        real = _table_real(entry, before, prefix, asked)
        if isinstance(real, str):
            faults.add(f"source_routes[{index}].real", real)
        elif prefix.address.ipv6 and real is not None and not real.ipv6:
            faults.add(f"source_routes[{index}].real", f"{real.text} is IPv4, but the prefix {prefix.text} is IPv6")
        else:
            listed[prefix] = SourceRoute(prefix, real.text if real else "")
    after = asked.applied(before, listed)
    for ipv6, family in ((False, "IPv4"), (True, "IPv6")):
        number = sum(prefix.address.ipv6 == ipv6 for prefix in after)
        if number > limits.sizes["source_routes"]:
            faults.add(
                "source_routes",
                f"{number} {family} prefixes, but sizes.source_routes is {limits.sizes['source_routes']}",
            )
    faults.check()
    return after, []


def _table_real(
    entry: Mapping[str, t.Any],
    before: Mapping[t.Any, SourceRoute | ServerId | HealthcheckDestination],
    key: object,
    asked: Asked,
) -> Address | str | None:
    """The real of a table's entry, or the sentence that says why it is none.

    Where it is not given, it stays what it was in state merged; None in state deleted, which asks for none.
    """
    text = entry.get("real")
    if text is None:
        if asked.deletes:
            return None
        old = asked.base(before, key)
        text = old.real if old else None
    return read_host(text)


def resolve_server_ids(before: Mapping[int, ServerId], asked: Asked) -> tuple[dict[int, ServerId], list[str]]:
    """The server ids after applying what is asked, and warnings. ConfigError lists all faults."""
    entries, limits = asked.entries("server_ids"), asked.limits
    faults = Faults()
    hashed = limits.features is not None and "server_id_hash" in limits.features
    highest = 0xFFFFFFFF if hashed else limits.sizes["server_ids"] - 1
    listed: dict[int, ServerId] = {}
    for index, entry in enumerate(entries):
        number = t.cast("int", entry.get("id"))
        if not is_number(number, 1, highest):
            more = "; feature server_id_hash allows more" if is_number(number, highest + 1, 0xFFFFFFFF) else ""
            faults.add(f"server_ids[{index}].id", f"{number} is not a server id (1 to {highest}{more})")
            continue
        real = _table_real(entry, before, number, asked)
        if isinstance(real, str):
            faults.add(f"server_ids[{index}].real", real)
            continue
        text = real.text if real else ""
        if number in listed:
            other = listed[number].real
            sentence = f"{number} is listed twice" if other == text else f"{number} leads to {other} and to {text}"
            faults.add(f"server_ids[{index}].id", sentence)
            continue
        listed[number] = ServerId(number, text)
    after = asked.applied(before, listed)
    if len(after) > limits.sizes["server_ids"]:
        faults.add("server_ids", f"{len(after)} server ids, but sizes.server_ids is {limits.sizes['server_ids']}")
    faults.check()
    return after, []


def server_id_warnings(server_ids: Iterable[ServerId], vips: Iterable[Vip], limits: Limits) -> list[str]:
    """Reals of server ids that cannot be carried for a VIP that may route by them: IPv4 reals and IPv6 VIPs."""
    using = [
        vip.key
        for vip in vips
        if vip.key.ipv6
        and (
            {"quic", "udp_stable_routing"} & set(vip.flags)
            or (vip.key.protocol == "tcp" and limits.features is not None and "tcp_server_id" in limits.features)
        )
    ]
    ipv4 = sorted({entry.real for entry in server_ids if ":" not in entry.real}, key=address_order)
    if not using or not ipv4:
        return []
    some = ", ".join(ipv4[:3]) + (f" and {len(ipv4) - 3} more" if len(ipv4) > 3 else "")
    return [f"server_ids: {some} cannot take packets of the IPv6 VIP {min(using)}, which may route by server id"]


def resolve_decap_destinations(
    before: Mapping[str, DecapDestination], asked: Asked
) -> tuple[dict[str, DecapDestination], list[str]]:
    """The decapsulation destinations after applying what is asked, and warnings. ConfigError lists all faults."""
    entries, limits = asked.entries("decap_destinations"), asked.limits
    faults = Faults()
    if entries and not asked.deletes and not limits.has("inline_decap"):
        faults.add("decap_destinations", "needs feature inline_decap")
    listed: dict[str, DecapDestination] = {}
    for index, entry in enumerate(entries):
        address = read_host(entry.get("address"))
        fault = address if isinstance(address, str) else ipv4_lookalike(address)
        if isinstance(address, str) or fault:
            faults.add(f"decap_destinations[{index}].address", str(fault))
            continue
        if address.text in listed:
            faults.add(f"decap_destinations[{index}].address", f"{address.text} is listed twice")
            continue
        egress = entry.get("egress")
        old = asked.base(before, address.text)
        listed[address.text] = DecapDestination(
            address.text, bool(egress) if egress is not None else bool(old and old.egress)
        )
    after = asked.applied(before, listed)
    if len(after) > limits.sizes["vips"]:
        faults.add("decap_destinations", f"{len(after)} addresses, but sizes.vips is {limits.sizes['vips']}")
    faults.check()
    return after, []


def resolve_healthcheck_destinations(
    before: Mapping[int, HealthcheckDestination], asked: Asked
) -> tuple[dict[int, HealthcheckDestination], list[str]]:
    """The health-check destinations after applying what is asked, and warnings. ConfigError lists all faults."""
    entries, limits = asked.entries("healthcheck_destinations"), asked.limits
    faults = Faults()
    listed: dict[int, HealthcheckDestination] = {}
    for index, entry in enumerate(entries):
        mark = t.cast("int", entry.get("mark"))
        where = f"healthcheck_destinations[{index}]"
        if not is_number(mark, 1, 0xFFFFFFFF):
            faults.add(f"{where}.mark", f"{mark} is not a mark (1 to 4294967295)")
            continue
        if mark in listed:
            faults.add(f"{where}.mark", f"{mark} is listed twice")
            continue
        real = _table_real(entry, before, mark, asked)
        if isinstance(real, str):
            faults.add(f"{where}.real", real)
        else:
            listed[mark] = HealthcheckDestination(mark, real.text if real else "")
    after = asked.applied(before, listed)
    if len(after) > limits.sizes["reals"]:
        faults.add("healthcheck_destinations", f"{len(after)} marks, but sizes.reals is {limits.sizes['reals']}")
    faults.check()
    return after, []


@dataclass(frozen=True)
class Table:
    """A resource that is a table: each entry is one key of one map.

    `resolve` and `item` are of _config; `entry` says where an item lives in the maps; `row` is its config form.
    """

    name: str
    noun: str
    maps: tuple[str, ...]
    feature: str | None
    resolve: Callable[..., tuple[dict[t.Any, t.Any], list[str]]]
    item: Callable[[Mapping[str, t.Any]], tuple[t.Any, t.Any]]
    entry: Callable[[t.Any], TableEntry]
    row: Callable[[t.Any], dict[str, t.Any]]
    text: Callable[[t.Any], tuple[str, str]]


def rows_in_kernel(table: Table, actual: Mapping[str, Mapping[bytes, bytes]]) -> list[dict[str, t.Any]]:
    """A table's entries as the kernel has them."""
    reals = {key: real_of(*layout.parse_real_definition(value)).address for key, value in actual["reals"].items()}
    return [
        row
        for name in table.maps
        for key, value in actual.get(name, {}).items()
        if (row := table_row(name, key, value, reals)) is not None
    ]


def table_text(rows: Iterable[Mapping[str, t.Any]]) -> str:
    """The file of a table: one line per entry, so that it can be read and diffed."""
    # One call for all is ten times as fast as one each; no row holds braces, its addresses being parsed.
    return json.dumps(list(rows)).replace("}, {", "},\n{") + "\n"


def table_key(name: str, key: bytes) -> str:
    """What config calls an entry of a table's map: a prefix, an id or an address."""
    some = bytes(4)
    row = table_row(name, key, some, {some: ""}) or {}
    return str(next(iter(row.values())))


def table_row(name: str, key: bytes, value: bytes, reals: Mapping[bytes, str]) -> dict[str, t.Any] | None:
    """A map entry in config's own form; None where it leads to no real."""
    if name == "decap_dst":
        ipv6 = any(key[4:])
        return {
            "address": layout.unpack_address(key, ipv6),
            "egress": bool(layout.parse_u32(value) & layout.DECAP_EGRESS),
        }
    real = reals.get(value)
    if real is None:
        return None
    if name == "server_id_map":
        return {"id": layout.parse_u32(key), "real": real}
    packed, length = layout.parse_lpm_key(key)
    return {"prefix": f"{layout.unpack_address(packed, len(packed) == 16)}/{length}", "real": real}


def _source_route_item(row: Mapping[str, t.Any]) -> tuple[Prefix, SourceRoute]:
    prefix = t.cast(Prefix, read_prefix(row["prefix"]))
    return prefix, SourceRoute(prefix, row["real"])


def _source_route_entry(item: SourceRoute) -> TableEntry:
    address = item.prefix.address
    if address.ipv6:
        return TableEntry("lpm_src_v6", layout.lpm_key(address.packed, item.prefix.length), item.real)
    return TableEntry("lpm_src_v4", layout.lpm_key(address.packed[:4], item.prefix.length), item.real)


def _decap_entry(item: DecapDestination) -> TableEntry:
    value = layout.u32(layout.DECAP_EGRESS if item.egress else 0)
    return TableEntry("decap_dst", layout.pack_address(item.address), None, value)


TABLES: dict[str, Table] = {
    "source_routes": Table(
        "source_routes",
        "source route",
        ("lpm_src_v4", "lpm_src_v6"),
        "source_routing",
        resolve_source_routes,
        _source_route_item,
        _source_route_entry,
        lambda item: {"prefix": item.prefix.text, "real": item.real},
        lambda item: (item.prefix.text, item.real),
    ),
    "server_ids": Table(
        "server_ids",
        "server id",
        ("server_id_map",),
        None,
        resolve_server_ids,
        lambda row: (row["id"], ServerId(row["id"], row["real"])),
        lambda item: TableEntry("server_id_map", layout.u32(item.id), item.real),
        lambda item: {"id": item.id, "real": item.real},
        lambda item: (str(item.id), item.real),
    ),
    "decap_destinations": Table(
        "decap_destinations",
        "decapsulation destination",
        ("decap_dst",),
        "inline_decap",
        resolve_decap_destinations,
        lambda row: (row["address"], DecapDestination(row["address"], row["egress"])),
        _decap_entry,
        lambda item: {"address": item.address, "egress": item.egress},
        lambda item: (item.address, "egress" if item.egress else "ingress"),
    ),
}
"""Resource → how it is kept."""


def idle_table(table: Table, entries: int) -> str:
    """What to say of a table for which the program has no map."""
    return f"{table.name}: {entries} entries need feature {table.feature}, which the program does not have"
