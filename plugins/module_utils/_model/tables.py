# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables, each described once. A new one is a class here, its place in TABLES, and a module of its name."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence

from . import layout
from .addresses import Prefix, address_order, ipv4_lookalike, prefix_fault, read_host, read_known_host, read_prefix
from .entries import Asked
from .errors import ConfigError
from .faults import Faults
from .features import vip_words
from .limits import Limits
from .map_specs import DEFAULT_SIZES, HC_SOURCE_IPV4, HC_SOURCE_IPV6, HEALTHCHECK_SPECS
from .marks import MARK_BASE, MARK_LAST, is_ours
from .prefixes import client_keys, read_prefixes
from .quic_lb import too_short
from .resource import BALANCER, UNREADY, Row
from .shape import Options, is_number, numbered
from .table import Around, Glance, Table, TableEntry
from .vip_entries import real_of
from .vips import Vip, vips_from_config


class SourceRoute(t.NamedTuple):
    """Clients of a prefix go to a real."""

    prefix: Prefix
    real: str


class SourceRoutes(Table[Prefix, SourceRoute]):
    """Prefixes of clients, in a trie for each family."""

    name = "source_routes"
    noun = "source route"
    options: t.ClassVar[Options] = {"prefix": {"type": "str", "required": True}, "real": {"type": "str"}}
    module_options = UNREADY
    maps = ("lpm_src_v4", "lpm_src_v6")
    key = "prefix"
    feature = "source_routing"
    size = "source_routes"
    follows = "their clients"

    def read_key(self, value: t.Any, limits: Limits) -> Prefix:
        """A prefix in strict textual form."""
        del limits
        prefix = read_prefix(str(value))
        if isinstance(prefix, str):
            raise ConfigError(prefix)
        return prefix

    def read_keys(self, entries: Sequence[Row]) -> Sequence[Prefix] | None:
        """Prefixes in canonical form."""
        return read_prefixes([entry.get("prefix") for entry in entries])

    def glance(self, entries: Sequence[Row], limits: Limits) -> Glance | None:
        """Prefixes of IPv4 alone."""
        texts: list[t.Any] = [entry.get("prefix") for entry in entries]
        reals: list[t.Any] = [entry.get("real") for entry in entries]
        keys = client_keys(texts)
        if keys is None or not limits.has(self.feature or "") or len(keys) > limits.sizes[self.size]:
            return None
        maps = {"lpm_src_v4": dict(zip(keys, reals, strict=True)), "lpm_src_v6": {}}
        first = read_prefix(texts[0])
        if len(maps["lpm_src_v4"]) < len(keys) or isinstance(first, str) or not all(map(_is_kept, set(reals))):
            return None
        lines = (f'"prefix": "{text}", "real": "{real}"' for text, real in zip(texts, reals, strict=True))
        return Glance(lines, maps, [SourceRoute(first, reals[0])])

    def unusable(self, key: Prefix) -> str | None:
        """Clients of which no packet can be."""
        return prefix_fault(key, as_clients=True)

    def warnings(self, items: Iterable[SourceRoute], around: Around) -> list[str]:
        """No VIP follows them."""
        return idle_routes(around.vips) if around.settled and any(True for _item in items) else []

    def make(self, key: Prefix, real: str) -> SourceRoute:
        """A packet of IPv6 cannot go through a tunnel of IPv4."""
        if key.address.ipv6 and real and ":" not in real:
            raise ConfigError(f"{real} is IPv4, but the prefix {key.text} is IPv6")
        return SourceRoute(key, real)

    def check_room(self, after: Collection[Prefix], limits: Limits, faults: Faults) -> None:
        """Each family has a trie of its own."""
        room = limits.sizes[self.size]
        for ipv6, family in ((False, "IPv4"), (True, "IPv6")):
            number = sum(prefix.address.ipv6 == ipv6 for prefix in after)
            if number > room:
                faults.add(self.name, f"{number} {family} prefixes, but sizes.{self.size} is {room}")

    def shown(self, key: Prefix) -> str:
        """ADDRESS/LENGTH."""
        return key.text

    def followed_by(self, vip: Row) -> bool:
        """VIPs ask for it by a flag."""
        return "source_routing" in vip_words(vip)

    def row(self, item: SourceRoute) -> dict[str, t.Any]:
        """Prefix and real."""
        return {"prefix": item.prefix.text, "real": item.real}

    def item(self, row: Row) -> tuple[Prefix, SourceRoute]:
        """(prefix, item)."""
        prefix = t.cast(Prefix, read_prefix(row["prefix"]))
        return prefix, SourceRoute(prefix, row["real"])

    def items(self, rows: Sequence[Row]) -> Iterable[tuple[Prefix, SourceRoute]]:
        """(prefix, item) of each."""
        prefixes = read_prefixes([row["prefix"] for row in rows])
        if prefixes is None:
            return super().items(rows)
        return zip(prefixes, map(SourceRoute, prefixes, [row["real"] for row in rows]), strict=True)

    def in_order(self, keys: Iterable[Prefix]) -> list[Prefix]:
        """As texts and then lengths, which texts alone compare faster."""
        return sorted(keys, key=lambda prefix: f"{prefix[0][0]}\0{prefix[1]:03}")

    def entry(self, item: SourceRoute) -> TableEntry:
        """A key of the family's trie."""
        address = item.prefix.address
        if address.ipv6:
            return TableEntry("lpm_src_v6", layout.lpm_key(address.packed, item.prefix.length), item.real)
        return TableEntry("lpm_src_v4", layout.lpm_key(address.packed[:4], item.prefix.length), item.real)

    def entries(self, items: Iterable[SourceRoute]) -> list[TableEntry]:
        """The same of each, without a call for each."""
        lengths = list(map(layout.u32, range(129)))
        return [
            TableEntry("lpm_src_v6", lengths[length] + packed, real)
            if ipv6
            else TableEntry("lpm_src_v4", lengths[length] + packed[:4], real)
            for ((_text, packed, ipv6), length), real in items
        ]

    def key_in(self, name: str, key: bytes) -> str:
        """ADDRESS/LENGTH."""
        packed, length = layout.parse_lpm_key(key)
        return f"{layout.unpack_address(packed, name == 'lpm_src_v6')}/{length}"


def _is_kept(real: t.Any) -> bool:
    """Whether a real's address is one, and in the form in which it is kept."""
    host = read_host(real) if isinstance(real, str) else ""
    return not isinstance(host, str) and host.text == real


def idle_routes(vips: Iterable[Row]) -> list[str]:
    """A warning of source routes where no VIP has the flag to follow them."""
    if any("source_routing" in vip_words(vip) for vip in vips):
        return []
    return ["source_routes: no packet follows them, as no VIP has flag source_routing"]


class ServerId(t.NamedTuple):
    """A server id leads to a real."""

    id: int
    real: str


class ServerIds(Table[int, ServerId]):
    """Ids that packets carry, in an array, or under feature server_id_hash in a hash table."""

    name = "server_ids"
    noun = "server id"
    options: t.ClassVar[Options] = {"id": {"type": "int", "required": True}, "real": {"type": "str"}}
    module_options = UNREADY
    maps = ("server_id_map",)
    key = "id"
    size = "server_ids"
    plural = "server ids"
    compares = True
    follows = "packets that carry them"
    make = ServerId

    def read_key(self, value: t.Any, limits: Limits) -> int:
        """An index of the array, or any u32 where it is a hash table; 0 is none."""
        if is_number(value, 1, limits.sizes["server_ids"] - 1):
            # Most are; there may be millions.
            return t.cast(int, value)
        hashed = limits.features is not None and "server_id_hash" in limits.features
        highest = 0xFFFFFFFF if hashed else limits.sizes["server_ids"] - 1
        if not is_number(value, 1, highest):
            more = "; feature server_id_hash allows more" if is_number(value, highest + 1, 0xFFFFFFFF) else ""
            raise ConfigError(f"{value} is not a server id (1 to {highest}{more})")
        return t.cast(int, value)

    def warnings(self, items: Iterable[ServerId], around: Around) -> list[str]:
        """Reals that cannot take what they may be sent."""
        items = list(items)
        found = too_short(around.vips, max((item.id for item in items), default=0))
        # Of IPv4, every real takes it.
        vips = vips_from_config([vip for vip in around.vips if ":" in vip["address"]])
        return found + server_id_warnings(items, vips.values(), around.limits)

    def moves(self, known: Mapping[int, ServerId], wanted: Mapping[int, ServerId]) -> list[str]:
        """An id is one host's: another does not know the connections that carry it."""
        return [
            f"server id {key} moves from {known[key].real} to {item.real}, where connections that carry it break:"
            " give a host an id that no other had"
            for key, item in wanted.items()
            if key in known and known[key].real != item.real
        ]

    def needs(self, rows: Iterable[Row], vips: Iterable[Row]) -> set[str]:
        """Who reads the ids depends on the VIPs; ids beyond the array's default size need another map."""
        rows = list(rows)
        words = {word for vip in vips for word in vip_words(vip)}
        found = set()
        if rows and "tcp" in words and not words & {"quic", "udp_stable_routing"}:
            # Nobody else would read them. Beside QUIC, TCP may go without: then the operator has to say it.
            found.add("tcp_server_id")
        if any(is_number(row.get("id"), DEFAULT_SIZES["server_ids"], 0xFFFFFFFF) for row in rows):
            found.add("server_id_hash")
        return found

    def may_use(self, rows: Iterable[Row]) -> set[str]:
        """Who reads a server id, the ids do not tell."""
        return {"tcp_server_id", "server_id_hash"} if any(True for _row in rows) else set()

    def followed_by(self, vip: Row) -> bool:
        """Connections by the option of TCP, and packets of UDP where a flag says so."""
        return not vip_words(vip).isdisjoint(("tcp", "quic", "udp_stable_routing"))

    def row(self, item: ServerId) -> dict[str, t.Any]:
        """Id and real."""
        return {"id": item.id, "real": item.real}

    def item(self, row: Row) -> tuple[int, ServerId]:
        """(id, item)."""
        return row["id"], ServerId(row["id"], row["real"])

    def entry(self, item: ServerId) -> TableEntry:
        """The id is the key."""
        return TableEntry("server_id_map", layout.u32(item.id), item.real)

    def key_in(self, name: str, key: bytes) -> int:
        """The id."""
        del name
        return layout.parse_u32(key)


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


class DecapDestination(t.NamedTuple):
    """Tunnels to this address are stripped here; `egress`: and sent out again."""

    address: str
    egress: bool


class DecapDestinations(Table[str, DecapDestination]):
    """Addresses at which the balancer takes tunnels apart; they lead to no real."""

    name = "decap_destinations"
    noun = "decapsulation destination"
    options: t.ClassVar[Options] = {"address": {"type": "str", "required": True}, "egress": {"type": "bool"}}
    maps = ("decap_dst",)
    key = "address"
    value = "egress"
    feature = "inline_decap"
    size = "vips"
    plural = "addresses"

    def read_key(self, value: t.Any, limits: Limits) -> str:
        """An address."""
        del limits
        address = read_known_host(value)
        if isinstance(address, str):
            raise ConfigError(address)
        return address.text

    def unusable(self, key: str) -> str | None:
        """An address to which no balancer's packet goes, or that the map would take for one of the other family."""
        found = read_host(key)
        return found if isinstance(found, str) else ipv4_lookalike(found)

    def read_item(self, key: str, entry: Row, old: DecapDestination | None, deletes: bool) -> DecapDestination:
        """Not egress unless told."""
        del deletes
        egress = entry.get("egress")
        return DecapDestination(key, bool(egress) if egress is not None else bool(old and old.egress))

    def leads_to(self, item: DecapDestination) -> str:
        """Where what was inside goes."""
        return "egress" if item.egress else "ingress"

    def item(self, row: Row) -> tuple[str, DecapDestination]:
        """(address, item)."""
        return row["address"], DecapDestination(row["address"], row["egress"])

    def entry(self, item: DecapDestination) -> TableEntry:
        """The address leads to flags."""
        value = layout.u32(layout.DECAP_EGRESS if item.egress else 0)
        return TableEntry("decap_dst", layout.pack_address(item.address), None, value)

    def key_in(self, name: str, key: bytes) -> str:
        """The address."""
        del name
        return layout.unpack_address(key, any(key[4:]))

    def row_in(self, name: str, key: bytes, value: bytes, reals: t.Any) -> dict[str, t.Any]:
        """Address and flag."""
        del reals
        return {"address": self.key_in(name, key), "egress": bool(layout.parse_u32(value) & layout.DECAP_EGRESS)}


class HealthcheckDestination(t.NamedTuple):
    """Packets with this mark go to a real."""

    mark: int
    real: str


class HealthcheckDestinations(Table[int, HealthcheckDestination]):
    """Marks of a health checker's sockets. The map holds the reals themselves: its program runs without a balancer."""

    name = "healthcheck_destinations"
    noun = "mark"
    options: t.ClassVar[Options] = {"mark": {"type": "int", "required": True}, "real": {"type": "str"}}
    program = "healthcheck"
    has_variables = False
    maps = ("hc_reals_map",)
    key = "mark"
    plural = "marks"
    make = HealthcheckDestination

    def read_key(self, value: t.Any, limits: Limits) -> int:
        """Any mark but 0, which every packet has."""
        del limits
        if not is_number(value, 1, 0xFFFFFFFF):
            raise ConfigError(f"{value} is not a mark (1 to 4294967295)")
        return t.cast(int, value)

    def resolve(self, before: Mapping[int, HealthcheckDestination], asked: Asked) -> dict[int, HealthcheckDestination]:
        """The table after applying what is asked, which the agent's marks outlive unless they are deleted by name."""
        after = super().resolve(before, asked)
        listed = {entry.get("mark"): index for index, entry in numbered(asked.config or ())}
        if asked.deletes:
            return {**{mark: item for mark, item in before.items() if is_ours(mark) and mark not in listed}, **after}
        faults = Faults()
        for mark, item in after.items():
            # What is read back and applied as it is changes nothing.
            if mark in listed and is_ours(mark) and before.get(mark) != item and not asked.kept:
                sentence = f"{mark} is one of the marks of the agent's probes ({MARK_BASE} to {MARK_LAST})"
                faults.add(f"{self.name}[{listed[mark]}].mark", sentence)
        after = {**{mark: item for mark, item in before.items() if is_ours(mark)}, **after}
        self.check_room(after, asked.limits, faults)
        faults.check()
        return after

    def check_room(self, after: Collection[int], limits: Limits, faults: Faults) -> None:
        """No size says how large the map is."""
        room = HEALTHCHECK_SPECS["hc_reals_map"].entries(limits.sizes)
        if len(after) > room:
            faults.add(self.name, f"{len(after)} marks, but there is room for {room}")

    def warnings(self, items: Iterable[HealthcheckDestination], around: Around) -> list[str]:
        """Probes of a family without an outer source address would leave from the unspecified one."""
        sources = around.entries("hc_pckt_srcs_map")
        if sources is None:
            return []
        first: dict[bool, str] = {}
        for item in items:
            first.setdefault(":" in item.real, item.real)
        return [
            f"healthcheck_destinations: {first[ipv6]} is {family}, but program healthcheck has no {family} source"
            f" (module katran.fleet.healthcheck, source_{family.lower()})"
            for ipv6, family, index in ((False, "IPv4", HC_SOURCE_IPV4), (True, "IPv6", HC_SOURCE_IPV6))
            if ipv6 in first and layout.u32(index) not in sources
        ]

    def entry(self, item: HealthcheckDestination) -> TableEntry:
        """The mark leads to the real's definition."""
        flags = layout.REAL_IPV6 if ":" in item.real else 0
        value = layout.real_definition(layout.pack_address(item.real), flags)
        return TableEntry("hc_reals_map", layout.u32(item.mark), None, value)

    def key_in(self, name: str, key: bytes) -> int:
        """The mark."""
        del name
        return layout.parse_u32(key)

    def row_in(self, name: str, key: bytes, value: bytes, reals: t.Any) -> dict[str, t.Any]:
        """Mark and real."""
        del reals
        return {"mark": self.key_in(name, key), "real": real_of(*layout.parse_real_definition(value)).address}


class ProbeDestinations(HealthcheckDestinations):
    """Those of the agent's probes alone: the others stay as they are."""

    def resolve(self, before: Mapping[int, HealthcheckDestination], asked: Asked) -> dict[int, HealthcheckDestination]:
        """The table with exactly these marks of the agent's."""
        # Room is looked for once, for all of them.
        others = {mark: item for mark, item in before.items() if not is_ours(mark)}
        found = {**others, **dict(map(self.item, asked.config or ()))}
        faults = Faults()
        self.check_room(found, asked.limits, faults)
        faults.check()
        return found


TABLES: dict[str, Table[t.Any, t.Any]] = {
    table.name: table for table in (SourceRoutes(), ServerIds(), DecapDestinations(), HealthcheckDestinations())
}
"""Resource → its description."""

BALANCER_TABLES = {name: table for name, table in TABLES.items() if table.program == BALANCER}
"""Those whose maps are the balancer's."""

LEADING = tuple(name for name, table in BALANCER_TABLES.items() if table.leads_to_reals)
"""Those whose entries, beside the VIPs, lead to a balancer's reals."""
