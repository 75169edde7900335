# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection tables: search, count, purge.

A flow's key holds the VIP's address, and its port and the client's port as the VIP's flags leave them: port 0 for a VIP
of any port or of a prefix, client port 0 with hash_no_src_port.
"""

from __future__ import annotations

import re
import struct
import time
import typing as t
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

from ansible_collections.katran.fleet.plugins.module_utils import _kernel as kernel
from ansible_collections.katran.fleet.plugins.module_utils import _layout as layout
from ansible_collections.katran.fleet.plugins.module_utils import _plan as planning
from ansible_collections.katran.fleet.plugins.module_utils._apply import EngineError, Request
from ansible_collections.katran.fleet.plugins.module_utils._config import (
    Address,
    Faults,
    Prefix,
    VipKey,
    read_address,
    read_prefix,
)
from ansible_collections.katran.fleet.plugins.module_utils._pins import Paths, require_capabilities
from ansible_collections.katran.fleet.plugins.module_utils._state import locked

KEY_BYTES = 40
MAX_LIMIT = 100_000
TABLES = (("lru_mapping", "fallback_cache"), ("global_lru_maps", "fallback_glru"))
"""Map of per-CPU tables, and the table of the CPUs that have none: the connection tables, then the global ones."""

_ZERO12 = bytes(12)
_VIP = re.compile(
    r"(?:\[(?P<inside>[0-9A-Fa-f:.]+(?:/[0-9]+)?)\]|(?P<host>[^:\[\]]+?))(?::(?P<port>[0-9]+)(?:/(?P<protocol>tcp|udp))?)?"
)


class Table(t.NamedTuple):
    """One table of flows: the map it is or is in, the CPU it belongs to (None: every CPU without one), and itself."""

    name: str
    cpu: int | None
    map: kernel.Map


def open_tables(maps: kernel.KernelMaps, stack: ExitStack) -> list[Table]:
    """Every table of flows that a balancer has, open until the stack closes."""
    found = []
    for outer, fallback in TABLES:
        if outer in maps.names():
            for key, value in maps.map(outer).items():
                inner = stack.enter_context(kernel.map_by_id(layout.parse_u32(value)))
                found.append(Table(outer, layout.parse_u32(key), inner))
            found.append(Table(fallback, None, maps.map(fallback)))
    return found


@dataclass(frozen=True)
class Selection:
    """Which flows: those that agree with everything that is given. `ids` are real ids; an empty set selects none.

    `vip` is an address or prefix; `port` 0 and prefixes take every port that has no VIP of its own in `exact`, the
    keys of vip_map. `spare` says of a flow's key that it is not meant after all.
    """

    vip: Prefix | None = None
    port: int | None = None
    protocol: int | None = None
    client: Prefix | None = None
    ids: frozenset[int] | None = None
    exact: Collection[bytes] = ()
    spare: Callable[[bytes], bool] | None = None

    def is_everything(self) -> bool:
        """Whether it leaves no flow out."""
        return self == Selection(exact=self.exact)


def _whole(address: Address) -> Prefix:
    return Prefix(address, 128 if address.ipv6 else 32)


Check = Callable[[bytes, int], bool]
_KEEPS_PORT = layout.VIP_FLAGS["hash_dst_port_only"] | layout.VIP_FLAGS["hash_src_dst_port"]


class Owners:
    """The VIPs that stay, asked whose a flow may be. `vips`: (VIP, flags)."""

    def __init__(self, vips: Iterable[tuple[VipKey, int]]) -> None:
        self._exact: dict[bytes, list[tuple[VipKey, bool]]] = {}
        self._prefixes: list[tuple[Check, VipKey, bool]] = []
        for vip, flags in vips:
            keeps = bool(flags & _KEEPS_PORT)
            if vip.prefixlen is None:
                self._exact.setdefault(vip.packed, []).append((vip, keeps))
            else:
                prefix = Prefix(Address(vip.text, vip.packed, vip.ipv6), vip.prefixlen)
                self._prefixes.append((_within(prefix, 16), vip, keeps))

    def others(self, gone: VipKey, key: bytes) -> bool:
        """Whether a flow that a VIP which goes may have had may as well be another's.

        The program's order (datapath, step 6) decides where the key tells the port; where the VIP has the port
        forgotten, it tells only of VIPs of one port.
        """
        port = int.from_bytes(key[34:36], "big")
        covering = self._exact.get(key[16:32], []) + [
            (vip, keeps) for within, vip, keeps in self._prefixes if within(key, 0)
        ]
        for vip, keeps in covering:
            if layout.PROTOCOLS[vip.protocol] != key[36]:
                continue
            knows_port = keeps or _rank(vip)[0] == 0
            if port and knows_port and vip.port in (0, port) and _rank(vip) < _rank(gone):
                return True
            if not port and not knows_port and (vip.port != gone.port or _rank(vip) < _rank(gone)):
                return True
        return False


def _rank(vip: VipKey) -> tuple[int, int]:
    """Where a VIP stands in the order in which the program looks for one."""
    by_prefix = vip.prefixlen is not None
    return (0 if vip.port else 2) + by_prefix, -(vip.prefixlen or 0)


def vip_selection(
    vip: VipKey,
    exact: Collection[bytes] = (),
    ids: frozenset[int] | None = None,
    spare: Callable[[bytes], bool] | None = None,
) -> Selection:
    """The flows of a VIP, to these reals (None: to any). `exact`: the keys of vip_map; `spare`: as in Selection."""
    address = Address(vip.text, vip.packed, vip.ipv6)
    prefix = _whole(address) if vip.prefixlen is None else Prefix(address, vip.prefixlen)
    return Selection(prefix, vip.port, layout.PROTOCOLS[vip.protocol], None, ids, exact, spare)


def parse_filters(params: Mapping[str, t.Any], exact: Collection[bytes], reals: Mapping[str, int]) -> Selection:
    """The options vip, real and client. ConfigError lists all faults. `reals`: address → id, as the kernel has them."""
    faults = Faults()
    vip, port, protocol = _read_vip(params.get("vip"), faults)
    client = _read_client(params.get("client"), faults)
    ids = None
    if params.get("real") is not None:
        address = read_address(str(params["real"]))
        if address is None:
            faults.add("real", f"{params['real']} is not an IP address")
        elif address.text in reals:
            ids = frozenset((reals[address.text],))
        else:
            ids = frozenset()
    faults.check()
    return Selection(vip, port, protocol, client, ids, exact)


def _read_vip(text: str | None, faults: Faults) -> tuple[Prefix | None, int | None, int | None]:
    if text is None:
        return None, None, None
    # An IPv6 address without brackets has colons of its own, and so no port.
    found = None if text.count(":") > 1 and "[" not in text else _VIP.fullmatch(text)
    host = text if found is None else found["inside"] or found["host"]
    prefix = _read_prefix(host)
    port = int(found["port"]) if found and found["port"] else None
    if prefix is None or (port is not None and port > 65535):
        faults.add("vip", f"{text} is no VIP; write one as 198.51.100.1, 198.51.100.1:443/tcp or [2001:db8::1]:443/udp")
        return None, None, None
    return prefix, port, layout.PROTOCOLS[found["protocol"]] if found and found["protocol"] else None


def _read_prefix(text: str) -> Prefix | None:
    address = read_address(text)
    if address is not None:
        return _whole(address)
    prefix = read_prefix(text) if "/" in text else None
    return prefix if isinstance(prefix, Prefix) else None


def _read_client(text: str | None, faults: Faults) -> Prefix | None:
    if text is None:
        return None
    prefix = _read_prefix(str(text))
    if prefix is None:
        faults.add("client", f"{text} is neither an IP address nor a prefix")
    return prefix


class Matcher:
    """Whether a flow is in one of several selections; many VIPs cost no more than one."""

    def __init__(self, selections: Iterable[Selection]) -> None:
        self._everything = False
        self._ids: set[int] = set()
        self._vips: dict[bytes, frozenset[int] | None] = {}
        self._rest: list[list[Check]] = []
        for each in selections:
            self._add(each)

    def _add(self, each: Selection) -> None:
        bits = 128 if each.vip and each.vip.address.ipv6 else 32
        if each.is_everything():
            self._everything = True
        elif each == Selection(ids=each.ids, exact=each.exact):
            self._ids.update(each.ids or ())
        elif each.vip and each.vip.length == bits and each.port and each.protocol and not each.client:
            key = each.vip.address.packed + struct.pack(">HB", each.port, each.protocol)
            before = self._vips.get(key, frozenset())
            self._vips[key] = None if before is None or each.ids is None else before | each.ids
        else:
            self._rest.append(_checks(each))

    def __call__(self, key: bytes, real: int) -> bool:
        """Whether the flow with this key, to the real with this id, is selected."""
        if self._everything or real in self._ids:
            return True
        name = key[16:32] + key[34:37]
        if name in self._vips:
            ids = self._vips[name]
            if ids is None or real in ids:
                return True
        return any(all(check(key, real) for check in checks) for checks in self._rest)


def _checks(each: Selection) -> list[Check]:
    """The tests of one selection, the cheapest first."""
    found: list[Check] = []
    ids, protocol, exact = each.ids, each.protocol, frozenset(each.exact)
    if ids is not None:
        found.append(lambda _key, real: real in ids)
    if protocol is not None:
        found.append(lambda key, _real: key[36] == protocol)
    if each.port:
        port = each.port.to_bytes(2, "big")
        if each.vip is not None and each.vip.length == (128 if each.vip.address.ipv6 else 32):
            found.append(lambda key, _real: key[34:36] == port)
        else:
            found.append(lambda key, _real: key[34:36] in (port, b"\0\0"))
    if each.vip is not None:
        found.append(_within(each.vip, 16))
    if each.client is not None:
        found.append(_within(each.client, 0))
    if each.port == 0:
        # The kernel finds the exact VIP first, so what it matches belongs to that.
        found.append(lambda key, _real: key[34:36] == b"\0\0" or key[16:32] + key[34:37] + b"\0" not in exact)
    spare = each.spare
    if spare is not None:
        found.append(lambda key, _real: not spare(key))
    return found


def _within(prefix: Prefix, offset: int) -> Check:
    """Whether the address at this offset of a key lies in a prefix."""
    packed, length = prefix.address.packed, prefix.length
    if prefix.address.ipv6:
        shift, value = 128 - length, int.from_bytes(packed, "big") >> (128 - length)
        return lambda key, _real: is_ipv6(key) and int.from_bytes(key[offset : offset + 16], "big") >> shift == value
    if length == 32:
        return lambda key, _real: key[offset : offset + 16] == packed
    shift, value = 32 - length, int.from_bytes(packed[:4], "big") >> (32 - length)
    return lambda key, _real: not is_ipv6(key) and int.from_bytes(key[offset : offset + 4], "big") >> shift == value


def is_ipv6(key: bytes) -> bool:
    """Whether a flow is of IPv6: the key does not tell, but an IPv4 address leaves 12 bytes zero."""
    return key[4:16] != _ZERO12 or key[20:32] != _ZERO12


def _selected(table: kernel.Map, matcher: Matcher) -> Iterator[bytes]:
    """The keys of the flows that a matcher selects."""
    stride = table.info.value_size
    for keys, values, count in table.batches():
        for index, real in enumerate(array("I", values[: count * stride])[:: stride // 4]):
            key = keys[index * KEY_BYTES : index * KEY_BYTES + KEY_BYTES]
            if matcher(key, real):
                yield key


@dataclass
class Found:
    """What a search found: rows up to the limit, counts over everything."""

    flows: list[dict[str, t.Any]] = field(default_factory=list)
    total: int = 0
    reals: list[dict[str, t.Any]] = field(default_factory=list)
    tables: list[dict[str, t.Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def search(maps: kernel.KernelMaps, selection: Selection, limit: int, names: Mapping[int, str]) -> Found:
    """The selected flows of every table. `names`: real id → address."""
    found = Found()
    per_real: Counter[int] = Counter()
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    matcher = None if selection.is_everything() else Matcher([selection])
    with ExitStack() as stack:
        for table in open_tables(maps, stack):
            entries, selected = _search_table(table, matcher, limit, names, now, found)
            per_real.update(selected)
            found.total += selected.total()
            found.tables.append(
                {
                    "table": table.name,
                    "cpu": table.cpu,
                    "entries": entries,
                    "selected": selected.total(),
                    "capacity": table.map.info.entries,
                }
            )
    found.reals = [{"real": names.get(real), "id": real, "flows": number} for real, number in per_real.most_common()]
    return found


def _search_table(
    table: Table, matcher: Matcher | None, limit: int, names: Mapping[int, str], now: int, found: Found
) -> tuple[int, Counter[int]]:
    """(entries of the table, real id → how many of them are selected); rows are added to `found` up to the limit."""
    entries, selected = 0, Counter[int]()
    stride = table.map.info.value_size
    for keys, values, count in table.map.batches():
        entries += count
        ids = array("I", values[: count * stride])[:: stride // 4]
        chosen: Sequence[int] = range(count)
        if matcher is None:
            selected.update(ids)
        else:
            chosen = [
                index
                for index in chosen
                if matcher(keys[index * KEY_BYTES : index * KEY_BYTES + KEY_BYTES], ids[index])
            ]
            selected.update(ids[index] for index in chosen)
        for index in chosen[: max(limit - len(found.flows), 0)]:
            key = keys[index * KEY_BYTES : index * KEY_BYTES + KEY_BYTES]
            value = values[index * stride : index * stride + stride]
            found.flows.append(flow_row(table, key, value, names, now))
    return entries, selected


def flow_row(table: Table, key: bytes, value: bytes, names: Mapping[int, str], now: int) -> dict[str, t.Any]:
    """A flow in words. `idle`: seconds since its last packet, of UDP alone: TCP entries keep no time."""
    source, destination, sport, dport, protocol = layout.parse_flow_key(key)
    ipv6 = is_ipv6(key)
    real = layout.parse_u32(value)
    row: dict[str, t.Any] = {
        "client": layout.unpack_address(source, ipv6),
        "client_port": sport,
        "vip": layout.unpack_address(destination, ipv6),
        "port": dport,
        "protocol": layout.PROTOCOL_NAMES.get(protocol, str(protocol)),
        "real": names.get(real),
        "real_id": real,
        "table": table.name,
        "cpu": table.cpu,
        "idle": None,
    }
    if len(value) > 4:
        _real, atime = layout.parse_real_pos_lru(value)
        if atime:
            row["idle"] = round(max(now - atime, 0) / 1e9, 3)
    return row


def purge(maps: kernel.KernelMaps, selections: Iterable[Selection], check: bool = False) -> dict[str, int]:
    """Remove the selected flows from every table; map → how many were, or with `check` would be, removed."""
    matcher = Matcher(selections)
    removed: Counter[str] = Counter()
    with ExitStack() as stack:
        for table in open_tables(maps, stack):
            gone = list(_selected(table.map, matcher))
            if not check:
                table.map.delete_many(gone)
            removed[table.name] += len(gone)
    return {name: number for name, number in removed.items() if number}


def purge_gone(
    maps: kernel.KernelMaps, gone: Iterable[tuple[VipKey | None, frozenset[int] | None]], check: bool = False
) -> dict[str, int]:
    """Remove the flows of what went, once the maps say that it did; map → how many.

    (VIP, None): all of a VIP; (VIP, ids): those of a VIP to these reals; (None, ids): those of every VIP to them.
    """
    entries = {name: maps.entries(name) for name in planning.VIP_MAPS if name in maps.names()}
    visible = planning.known_keys(planning.Actual(entries, {}, maps.ring, {}, 0))
    owners = Owners(
        (visible[key], layout.parse_vip_meta(value)[0])
        for each in entries.values()
        for key, value in each.items()
        if key in visible
    )
    exact = frozenset(entries["vip_map"])
    selections = [
        Selection(ids=ids if ids is not None else frozenset())
        if vip is None
        else vip_selection(vip, exact, ids, partial(owners.others, vip))
        for vip, ids in gone
    ]
    return purge(maps, selections, check) if selections else {}


def real_names(maps: kernel.KernelMaps) -> dict[int, str]:
    """Real id → address, as the kernel has them."""
    found = {}
    for key, value in maps.entries("reals").items():
        packed, flags = layout.parse_real_definition(value)
        found[layout.parse_u32(key)] = layout.unpack_address(packed, bool(flags & layout.REAL_IPV6))
    return found


@contextmanager
def loaded(request: Request) -> Iterator[kernel.KernelMaps | None]:
    """A balancer's maps; where none is loaded None in check mode, else EngineError."""
    paths = Paths(request.bpffs, request.instance, "balancer")
    with kernel.KernelMaps(paths.maps) as maps:
        if "vip_map" in maps.names():
            yield maps
        elif request.check:
            yield None
        else:
            raise EngineError(
                f"balancer {request.instance} is not loaded on this host: run module katran.fleet.balancer first"
            )


def _select(maps: kernel.KernelMaps, params: Mapping[str, t.Any], names: Mapping[int, str]) -> Selection:
    ids = {address: number for number, address in names.items()}
    return parse_filters(params, frozenset(maps.entries("vip_map")), ids)


def _unknown_real(params: Mapping[str, t.Any], selection: Selection) -> list[str]:
    if selection.ids is None or selection.ids:
        return []
    return [f"real: the balancer has no real {params['real']}"]


def find_flows(request: Request, params: Mapping[str, t.Any]) -> Found:
    """The work of module flows_info."""
    require_capabilities()
    if not 0 <= params["limit"] <= MAX_LIMIT:
        faults = Faults()
        faults.add("limit", f"{params['limit']} is not in 0 to {MAX_LIMIT}")
        faults.check()
    parse_filters(params, (), {})
    with locked(request.instance, False, request.lock_timeout), loaded(request) as maps:
        if maps is None:
            return Found()
        names = real_names(maps)
        selection = _select(maps, params, names)
        found = search(maps, selection, params["limit"], names)
        found.warnings = _unknown_real(params, selection)
        return found


def purge_flows(request: Request, params: Mapping[str, t.Any]) -> Found:
    """The work of module flows; in check mode only counts. The selected flows' counts per real are those before."""
    require_capabilities()
    selection = parse_filters(params, (), {})
    if selection.is_everything() and not params.get("allow_all"):
        faults = Faults()
        faults.add("vip", "without vip, real or client every flow would be removed: give allow_all: true if so meant")
        faults.check()
    with locked(request.instance, not request.check, request.lock_timeout), loaded(request) as maps:
        if maps is None:
            return Found()
        names = real_names(maps)
        selection = _select(maps, params, names)
        found = search(maps, selection, 0, names)
        found.warnings = _unknown_real(params, selection)
        if not request.check and found.total:
            purge(maps, [selection])
        return found
