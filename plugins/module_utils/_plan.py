# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning: what is wanted, what is there, and the ordered operations between them. Pure: no I/O, no clock.

Order: real → ring → VIP when something appears, VIP → ring → real when it goes, so that no packet ever meets a ring
slot whose real is absent, or a VIP whose ring is not yet its own. What appears comes before what goes, except where
there is room only after something went.
"""

from __future__ import annotations

import hashlib
import operator
import typing as t
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.katran.fleet.plugins.module_utils import _layout as layout
from ansible_collections.katran.fleet.plugins.module_utils._config import Overlay, Vip, VipKey
from ansible_collections.katran.fleet.plugins.module_utils._ring import build_rings, ring_slots
from ansible_collections.katran.fleet.plugins.module_utils._state import Ids

SLOT = 8


class PlanError(Exception):
    """There is no way from what is there to what is wanted; the text is one sentence for the operator."""


@dataclass(frozen=True)
class Put:
    """Write these entries of one map."""

    map: str
    entries: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Delete:
    """Remove these keys of one map (in an array: write zero)."""

    map: str
    keys: tuple[bytes, ...]


@dataclass(frozen=True)
class PutRing:
    """Make a VIP's ring this one: per slot an index into `ids`; `changed` slots differ from what is there."""

    number: int
    ring: array[int] | None
    ids: tuple[int, ...]
    changed: int

    def slots(self, ring_size: int) -> bytes:
        """The ring as ch_rings holds it: 8 bytes a slot; all zero where the VIP has no active real."""
        return bytes(ring_size * SLOT) if self.ring is None else ring_slots(self.ring, self.ids)


@dataclass(frozen=True)
class BlankSlots:
    """Zero the slots of a VIP's ring that lead to these reals: only where ids must be reused within the run."""

    number: int
    ids: frozenset[int]
    changed: int


@dataclass(frozen=True)
class PutDownSet:
    """Replace a VIP's set of down reals."""

    key: bytes
    ids: frozenset[int]


@dataclass(frozen=True)
class DeleteDownSet:
    """Remove a VIP's set of down reals."""

    key: bytes


@dataclass(frozen=True)
class PurgeFlows:
    """Remove connection-table entries of these reals, so that a reused id inherits no flow."""

    ids: frozenset[int]


@dataclass(frozen=True)
class ZeroCounters:
    """Zero entries of a counter array, so that a reused number inherits no count."""

    map: str
    indexes: tuple[int, ...]


Operation = t.Union[Put, Delete, PutRing, BlankSlots, PutDownSet, DeleteDownSet, PurgeFlows, ZeroCounters]


def map_of(operation: Operation) -> str:
    """The map that an operation is about; of purges, the outermost one."""
    match operation:
        case PutRing() | BlankSlots():
            return "ch_rings"
        case PutDownSet() | DeleteDownSet():
            return "vip_to_down_reals_map"
        case PurgeFlows():
            return "lru_mapping"
    return operation.map


def count(operations: Iterable[Operation]) -> dict[str, int]:
    """Entries written per map; ring slots counted as slots. Purges and resets are not configuration."""
    found: dict[str, int] = {}
    for each in operations:
        match each:
            case Put():
                entries = len(each.entries)
            case Delete():
                entries = len(each.keys)
            case PutRing() | BlankSlots():
                entries = each.changed
            case PutDownSet() | DeleteDownSet():
                entries = 1
            case _:
                continue
        if entries:
            found[map_of(each)] = found.get(map_of(each), 0) + entries
    return dict(sorted(found.items()))


@dataclass
class Actual:
    """What the kernel has, as far as VIPs go.

    `entries`: map → its entries (arrays: the nonzero ones), for the maps that exist. `down`: vip_definition → ids.
    `ring`: VIP number → its live slots. `capacity`: map → entries.
    """

    entries: Mapping[str, Mapping[bytes, bytes]]
    down: Mapping[bytes, frozenset[int]]
    ring: Callable[[int], memoryview]
    capacity: Mapping[str, int]
    ring_size: int
    _digests: dict[int, str] = field(default_factory=dict)

    def is_empty(self, number: int) -> bool:
        """Whether a VIP number's live slots are all zero. The first slot alone tells it of nearly every ring."""
        slots = self.ring(number)
        return not slots[0] and bytes(slots) == bytes(self.ring_size * SLOT)

    def digest(self, number: int) -> str:
        """The digest of a VIP number's live slots."""
        if number not in self._digests:
            self._digests[number] = digest(self.ring(number))
        return self._digests[number]

    def numbers(self) -> set[int]:
        """The VIP numbers that are visible to packets."""
        return {layout.parse_vip_meta(value)[1] for name in VIP_MAPS for value in self.entries.get(name, {}).values()}


@dataclass
class VipPlan:
    """Operations in order, and the ids and the rings' digests after them.

    Until the operations are done, reused ids stay in quarantine: a run that is killed before it cleared away what an id
    had before leaves that to the next.
    """

    operations: list[Operation]
    real_ids: Ids
    vip_numbers: Ids
    rings: dict[str, list[str]]


def digest(slots: bytes | memoryview) -> str:
    """The digest by which a live ring is compared with the one that was written."""
    return hashlib.sha256(slots).hexdigest()


def effective_state(address: str, state: str, overlay: Mapping[str, Overlay]) -> str:
    """A real's state in a VIP once the overlay is laid over it."""
    over = overlay.get(address)
    return over.state if over else state


def references(vips: Iterable[Vip]) -> dict[str, bool]:
    """Every real that VIPs refer to, down sets included → whether it is local to this host."""
    found: dict[str, bool] = {}
    for vip in vips:
        for real in vip.reals:
            found[real.address] = found.get(real.address, False) or real.local
        for address in vip.down_reals:
            found.setdefault(address, False)
    return found


def vip_map_entry(key: VipKey, flags: int, number: int) -> tuple[str, bytes, bytes]:
    """(map, key, value) under which a VIP is visible to packets."""
    protocol = layout.PROTOCOLS[key.protocol]
    value = layout.vip_meta(flags, number)
    if key.prefixlen is None:
        return "vip_map", layout.vip_definition(key.packed, key.port, protocol), value
    if key.ipv6:
        return "vip_lpm_map", layout.vip_lpm_key(key.packed, key.prefixlen, key.port, protocol), value
    return "vip_lpm4_map", layout.vip_lpm4_key(key.packed, key.prefixlen, key.port, protocol), value


def address_entry(key: VipKey) -> tuple[str, bytes, bytes]:
    """(map, key, value) that make an address a VIP address whatever the port."""
    if key.prefixlen is None:
        return "vip_addresses", key.packed, layout.u32(1)
    if key.ipv6:
        return "vip_address_lpm6", layout.lpm_key(key.packed, key.prefixlen), layout.u32(1)
    return "vip_address_lpm4", layout.lpm_key(key.packed[:4], key.prefixlen), layout.u32(1)


def down_set_key(key: VipKey) -> bytes:
    """The key of a VIP's down set; a CIDR VIP's has its prefix's network address."""
    return layout.vip_definition(key.packed, key.port, layout.PROTOCOLS[key.protocol])


def flag_bits(flags: Iterable[str]) -> int:
    """vip_meta.flags of these flag words."""
    bits = 0
    for flag in flags:
        bits |= layout.VIP_FLAGS[flag]
    return bits


def ring_members(vip: Vip, overlay: Mapping[str, Overlay]) -> list[tuple[str, int]]:
    """(address, weight) of the reals that take new flows: active and of positive weight; sorted by address."""
    return sorted(
        (real.address, real.weight)
        for real in vip.reals
        if real.weight > 0 and effective_state(real.address, real.state, overlay) == "active"
    )


def down_members(vip: Vip, overlay: Mapping[str, Overlay]) -> set[str]:
    """The reals whose UDP flows are moved away: listed as down_reals, or in state down."""
    found = set(vip.down_reals)
    found.update(real.address for real in vip.reals if effective_state(real.address, real.state, overlay) == "down")
    return found


def ring_inputs(vip: Vip, size: int, members: Sequence[tuple[str, int]], ids: Sequence[int]) -> str:
    """The digest of everything that a VIP's ring is made of."""
    return hashlib.sha256(repr((vip.hash, size, list(members), list(ids))).encode()).hexdigest()


VIP_MAPS = ("vip_map", "vip_lpm_map", "vip_lpm4_map")
NUMBER_MAPS = ("cidr_vip_keys", "vip_learned")
"""Arrays by VIP number."""
ADDRESS_MAPS = ("vip_addresses", "vip_address_lpm4", "vip_address_lpm6")
_REAL_COUNTERS = ("reals_stats", "lru_miss_stats")
_VIP_COUNTERS = ("stats", "server_id_stats", "decap_vip_stats")


class _VipPlanner:
    """One planning of VIPs; its methods are the phases."""

    def __init__(
        self,
        wanted: Mapping[VipKey, Vip],
        overlay: Mapping[str, Overlay],
        others: Mapping[str, bool],
        actual: Actual,
        real_ids: Ids,
        vip_numbers: Ids,
        rings: Mapping[str, list[str]],
        learned: Collection[VipKey],
    ) -> None:
        self.wanted = wanted
        self.learned = learned
        self.overlay = overlay
        self.actual = actual
        self.real_ids = real_ids
        self.vip_numbers = vip_numbers
        self.rings = rings
        members = {real.address for vip in wanted.values() for real in vip.reals}
        self.refs = references(wanted.values())
        # What others say of a real counts unless a VIP has it; a list of down reals says nothing about it.
        self.refs.update({address: local for address, local in others.items() if address not in members})
        self.appear: list[Operation] = []
        self.go: list[Operation] = []
        self.tight = False
        self.before_numbers = {*vip_numbers.assigned.values(), *vip_numbers.quarantine}
        self.vip_limit = actual.capacity["server_id_stats"]

    def plan(self) -> VipPlan:
        """All phases in order."""
        self._number()
        target = self._target()
        self._clear_rings()
        self._plan_reals()
        new_rings = self._plan_rings()
        self._plan_entries(target)
        operations = self.go + self.appear if self.tight else self._reset_reused() + self.appear + self.go
        return VipPlan(operations, self.real_ids, self.vip_numbers, new_rings)

    def _number(self) -> None:
        """Assign ids and numbers to what appears, free those of what goes."""
        keys = {str(key) for key in self.wanted}
        gone_vips = [key for key in self.vip_numbers.assigned if key not in keys]
        gone_reals = [address for address in self.real_ids.assigned if address not in self.refs]
        vip_limit, real_limit = self.vip_limit, self.actual.capacity["reals"]
        left_vips = self.vip_numbers.assign(sorted(keys), vip_limit)
        left_reals = self.real_ids.assign(sorted(self.refs), real_limit)
        for key in gone_vips:
            self.vip_numbers.free(key)
        for address in gone_reals:
            self.real_ids.free(address)
        if left_vips or left_reals:
            self.tight = True
            if self.vip_numbers.assign(left_vips, vip_limit):
                raise PlanError(f"sizes.vips: {len(self.wanted)} VIPs, but the balancer has room for {vip_limit}")
            if self.real_ids.assign(left_reals, real_limit):
                raise PlanError(f"sizes.reals: {len(self.refs)} reals, but the balancer has room for {real_limit - 1}")
        self.reused_reals = unsettled(self.real_ids, self.actual.entries["reals"])
        self.reused_vips = self._unsettled_vips()

    def _unsettled_vips(self) -> frozenset[int]:
        """The reused numbers whose VIP is not visible yet: what they had before may still be there."""
        shown = set()
        for key in self.wanted:
            name, map_key, _value = vip_map_entry(key, 0, 0)
            value = self.actual.entries.get(name, {}).get(map_key)
            if value is not None and layout.parse_vip_meta(value)[1] == self._number_of(key):
                shown.add(self._number_of(key))
        return frozenset(self.vip_numbers.reused()) - shown

    def _reset_reused(self) -> list[Operation]:
        """Take away what reused ids and numbers had before."""
        resets: list[Operation] = []
        reals, vips = self.reused_reals, tuple(sorted(self.reused_vips))
        if reals:
            resets.append(PurgeFlows(reals))
            resets += [ZeroCounters(name, tuple(sorted(reals))) for name in _REAL_COUNTERS]
        if vips:
            resets += [ZeroCounters(name, vips) for name in _VIP_COUNTERS]
        return resets

    def _number_of(self, key: VipKey) -> int:
        return self.vip_numbers.assigned[str(key)]

    def _target(self) -> dict[str, dict[bytes, bytes]]:
        """What each entry map should hold."""
        target: dict[str, dict[bytes, bytes]] = {
            name: {} for name in (*VIP_MAPS, *ADDRESS_MAPS, *NUMBER_MAPS) if name in self.actual.entries
        }
        for key, vip in self.wanted.items():
            number = self._number_of(key)
            for name, map_key, value in (vip_map_entry(key, flag_bits(vip.flags), number), address_entry(key)):
                # A prefix that the program cannot match is kept for one that can.
                if name in target:
                    target[name][map_key] = value
            if key.prefixlen is not None and "cidr_vip_keys" in target:
                target["cidr_vip_keys"][layout.u32(number)] = down_set_key(key)
            if key in self.learned and "vip_learned" in target:
                target["vip_learned"][layout.u32(number)] = layout.u32(1)
        for name, entries in target.items():
            union = len({*entries, *self.actual.entries[name]})
            if name not in NUMBER_MAPS and union > self.actual.capacity[name]:
                self.tight = True
        self.down_target = self._down_target()
        if len({*self.down_target, *self.actual.down}) > self.vip_limit:
            self.tight = True
        return target

    def _plan_reals(self) -> None:
        there = self.actual.entries["reals"]
        want = real_entries(self.refs, self.real_ids)
        puts = tuple(sorted((key, value) for key, value in want.items() if there.get(key) != value))
        if puts:
            self.appear.append(Put("reals", puts))
        self.stale_reals = tuple(sorted(key for key in there if key not in want))

    def _plan_rings(self) -> dict[str, list[str]]:
        """Ring operations of every wanted VIP; returns the digests after them."""
        size = self.actual.ring_size
        after: dict[str, list[str]] = {}
        jobs: dict[VipKey, tuple[list[tuple[str, int]], str]] = {}
        for key in sorted(self.wanted):
            vip = self.wanted[key]
            number = self._number_of(key)
            members = ring_members(vip, self.overlay)
            ids = [self.real_ids.assigned[address] for address, _weight in members]
            inputs = ring_inputs(vip, size, members, ids)
            known = self.rings.get(str(key))
            if not members:
                after[str(key)] = [inputs, ""]
                self._put_ring(number, None, ())
            elif known and number not in self.cleared and known[0] == inputs and known[1] == self.actual.digest(number):
                after[str(key)] = known
            else:
                after[str(key)] = [inputs, ""]
                jobs[key] = (members, vip.hash)
        built = build_rings([(members, size, kind) for members, kind in jobs.values()])
        for (key, (members, _kind)), ring in zip(jobs.items(), built, strict=True):
            ids_of = tuple(self.real_ids.assigned[address] for address, _weight in members)
            after[str(key)][1] = self._put_ring(self._number_of(key), ring, ids_of)
        return after

    def _put_ring(self, number: int, ring: array[int] | None, ids: tuple[int, ...]) -> str:
        """Append the operation if any slot differs; returns the digest of the new slots."""
        cleared = self.cleared.get(number)
        empty = self.actual.is_empty(number) if cleared is None else not any(cleared)
        if ring is None and empty:
            return ""
        slots = PutRing(number, ring, ids, 0).slots(self.actual.ring_size)
        if empty:
            changed = self.actual.ring_size
        else:
            changed = _differences(self.actual.ring(number) if cleared is None else memoryview(cleared), slots)
        if changed:
            self.appear.append(PutRing(number, ring, ids, changed))
        return digest(slots)

    def _plan_entries(self, target: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """VIPs and what belongs to them: addresses and down sets appear before, and go after, the VIP itself."""
        self._plan_down_sets()
        for name in (*NUMBER_MAPS, *ADDRESS_MAPS, *VIP_MAPS):
            self._puts(name, target)
        for name in (*VIP_MAPS, *ADDRESS_MAPS, *NUMBER_MAPS):
            self._deletes(name, target)
        self.go += [DeleteDownSet(key) for key in sorted(set(self.actual.down) - set(self.down_target))]
        self.go += self.clearing
        if self.tight:
            self.go += self._reset_reused()
        if self.stale_reals:
            self.go.append(Delete("reals", self.stale_reals))

    def _clear_rings(self) -> None:
        """Empty the rings of numbers that go, and take ids that are given to other reals out of those that stay.

        `cleared` has the slots that this leaves: what appears later in the run is compared with them.
        """
        self.clearing: list[Operation] = []
        self.cleared: dict[int, bytes] = {}
        self.gone: frozenset[int] = frozenset()
        in_use = set(self.vip_numbers.assigned.values())
        stay = in_use - self.reused_vips if self.tight else in_use
        empty = bytes(self.actual.ring_size * SLOT)
        for number in sorted({*self.before_numbers, *self.actual.numbers()} - stay):
            if number < self.vip_limit and not self.actual.is_empty(number):
                self.clearing.append(PutRing(number, None, (), _differences(self.actual.ring(number), empty)))
                self.cleared[number] = empty
        if not self.tight:
            return
        ids = set(self.real_ids.assigned.values()) - self.reused_reals
        self.gone = frozenset(map(layout.parse_u32, self.actual.entries["reals"])) - ids | self.reused_reals
        for number in sorted(stay):
            changed = self._slots_of(number, self.gone)
            if changed:
                self.clearing.append(BlankSlots(number, self.gone, changed))
                self.cleared[number] = blank(self.actual.ring(number), self.gone)

    def _slots_of(self, number: int, ids: frozenset[int]) -> int:
        return sum(map(ids.__contains__, self.actual.ring(number).cast("Q")))

    def _down_target(self) -> dict[bytes, frozenset[int]]:
        """What vip_to_down_reals_map should hold."""
        found: dict[bytes, frozenset[int]] = {}
        if "vip_to_down_reals_map" in self.actual.entries:
            for key, vip in self.wanted.items():
                down = down_members(vip, self.overlay) if "udp_flow_migration" in vip.flags else ()
                if down:
                    found[down_set_key(key)] = frozenset(self.real_ids.assigned[address] for address in down)
        return found

    def _plan_down_sets(self) -> None:
        there = dict(self.actual.down)
        for map_key in sorted(there):
            kept = there[map_key] - self.gone
            if map_key not in self.down_target:
                continue
            if kept != there[map_key]:
                self.go.append(PutDownSet(map_key, kept))
                there[map_key] = kept
        for map_key, ids in sorted(self.down_target.items()):
            if there.get(map_key) != ids:
                self.appear.append(PutDownSet(map_key, ids))

    def _puts(self, name: str, target: Mapping[str, Mapping[bytes, bytes]]) -> None:
        if name in target:
            there = self.actual.entries[name]
            puts = tuple(sorted((key, value) for key, value in target[name].items() if there.get(key) != value))
            if puts:
                self.appear.append(Put(name, puts))

    def _deletes(self, name: str, target: Mapping[str, Mapping[bytes, bytes]]) -> None:
        if name in target:
            gone = tuple(sorted(key for key in self.actual.entries[name] if key not in target[name]))
            if gone:
                self.go.append(Delete(name, gone))


def _differences(live: memoryview, slots: bytes) -> int:
    return sum(map(operator.ne, live.cast("Q"), memoryview(slots).cast("Q")))


def plan_vips(
    wanted: Mapping[VipKey, Vip],
    overlay: Mapping[str, Overlay],
    others: Mapping[str, bool],
    actual: Actual,
    real_ids: Ids,
    vip_numbers: Ids,
    rings: Mapping[str, list[str]],
    learned: Collection[VipKey] = (),
) -> VipPlan:
    """The way from `actual` to `wanted`. `others`: reals that others refer to → whether it is local.

    `learned`: the VIPs that learn no flow, but of which the tables may know some. The given ids are not changed.
    PlanError where there is no room.
    """
    return _VipPlanner(wanted, overlay, others, actual, real_ids.copy(), vip_numbers.copy(), rings, learned).plan()


@dataclass
class TablePlan:
    """Operations in order and the real ids after them, for a resource whose entries lead to a real (or to flags)."""

    operations: list[Operation]
    real_ids: Ids


@dataclass(frozen=True)
class TableEntry:
    """One wanted entry: its map, its key, and what it leads to: a real's address, or a value where there is none."""

    map: str
    key: bytes
    real: str | None
    value: bytes = b""


def plan_table(
    wanted: Iterable[TableEntry],
    maps: Collection[str],
    others: Mapping[str, bool],
    actual: Mapping[str, Mapping[bytes, bytes]],
    capacity: Mapping[str, int],
    real_ids: Ids,
) -> TablePlan:
    """The way from `actual` to `wanted` in `maps`.

    `others`: reals that VIPs and other resources refer to → whether it is local. `actual` holds `maps` and `reals`.
    The given ids are not changed. PlanError where there is no room.
    """
    real_ids = real_ids.copy()
    entries = list(wanted)
    refs = dict(others)
    for entry in entries:
        if entry.real is not None:
            refs.setdefault(entry.real, False)
    gone = [address for address in real_ids.assigned if address not in refs]
    left = real_ids.assign(sorted(refs), capacity["reals"])
    for address in gone:
        real_ids.free(address)
    if real_ids.assign(left, capacity["reals"]):
        raise PlanError(f"sizes.reals: {len(refs)} reals, but the balancer has room for {capacity['reals'] - 1}")
    reused = unsettled(real_ids, actual["reals"])
    operations: list[Operation] = []
    present = {name: actual[name] for name in maps}
    if reused:
        # Nothing may lead to an id while it is given to another real.
        given = {layout.u32(number) for number in reused}
        for name in maps:
            keys = tuple(sorted(key for key, value in actual[name].items() if value in given))
            if keys and any(entry.real is not None for entry in entries):
                operations.append(Delete(name, keys))
                present[name] = {key: value for key, value in actual[name].items() if value not in given}
        operations.append(PurgeFlows(reused))
        operations += [ZeroCounters(name, tuple(sorted(reused))) for name in _REAL_COUNTERS]
    want_reals = real_entries(refs, real_ids)
    there = actual["reals"]
    new_reals = tuple(sorted((key, value) for key, value in want_reals.items() if there.get(key) != value))
    if new_reals:
        operations.append(Put("reals", new_reals))
    values = {address: layout.u32(number) for address, number in real_ids.assigned.items()}
    target = _table_target(entries, maps, values)
    puts, deletes = [], []
    for name in maps:
        have = present[name]
        put = tuple(sorted((key, value) for key, value in target[name].items() if have.get(key) != value))
        drop = tuple(sorted(key for key in have if key not in target[name]))
        if put:
            puts.append(Put(name, put))
        if drop:
            deletes.append(Delete(name, drop))
        if len(have) + sum(key not in have for key, _value in put) > capacity[name]:
            operations += deletes
            deletes = []
    operations += [*puts, *deletes]
    stale = tuple(sorted(key for key in there if key not in want_reals))
    if stale:
        operations.append(Delete("reals", stale))
    return TablePlan(operations, real_ids)


def _table_target(
    entries: Iterable[TableEntry], maps: Iterable[str], values: Mapping[str, bytes]
) -> dict[str, dict[bytes, bytes]]:
    """What each map should hold. What the program has no map for is kept for one that has."""
    target: dict[str, dict[bytes, bytes]] = {name: {} for name in maps}
    for entry in entries:
        if entry.map in target:
            target[entry.map][entry.key] = entry.value if entry.real is None else values[entry.real]
    return target


def unsettled(real_ids: Ids, reals: Mapping[bytes, bytes]) -> frozenset[int]:
    """The reused ids under which `reals` does not hold their new real yet: what they had before may still be there."""
    address_of = {number: address for address, number in real_ids.assigned.items()}
    found = []
    for number in real_ids.reused():
        value = reals.get(layout.u32(number), layout.NO_REAL)
        if layout.parse_real_definition(value)[0] != layout.pack_address(address_of[number]):
            found.append(number)
    return frozenset(found)


def real_entries(refs: Mapping[str, bool], real_ids: Ids) -> dict[bytes, bytes]:
    """What `reals` should hold: every referenced real under its id."""
    want = {}
    for address, local in refs.items():
        flags = (layout.REAL_IPV6 if ":" in address else 0) | (layout.REAL_LOCAL if local else 0)
        want[layout.u32(real_ids.assigned[address])] = layout.real_definition(layout.pack_address(address), flags)
    return want


def adopt(actual: Actual, real_ids: Ids, vip_numbers: Ids, names: Mapping[bytes, str]) -> tuple[Ids, Ids]:
    """The ids with what the kernel has and they do not know: everything where state.json was lost.

    `names`: VIP map key → the VIP's text, for every entry that is one.
    """
    reals = []
    for key, value in sorted(actual.entries["reals"].items()):
        packed, flags = layout.parse_real_definition(value)
        reals.append((layout.unpack_address(packed, bool(flags & layout.REAL_IPV6)), layout.parse_u32(key)))
    limit = actual.capacity.get("server_id_stats", 0)
    vips = [
        (names[key], number)
        for name in VIP_MAPS
        for key, value in sorted(actual.entries.get(name, {}).items())
        if key in names and (number := layout.parse_vip_meta(value)[1]) < limit
    ]
    return real_ids.adopted(reals), vip_numbers.adopted(vips)


def known_keys(actual: Actual) -> dict[bytes, VipKey]:
    """The VIPs that are visible in the kernel: map key → VIP key."""
    found = {}
    for name in VIP_MAPS:
        for key in actual.entries.get(name, {}):
            if name == "vip_map":
                packed, port, protocol = layout.parse_vip_definition(key)
                prefixlen = None
                # The key does not tell the family: no IPv6 VIP has 12 zero bytes at its end.
                ipv6 = any(packed[4:])
            else:
                packed, prefixlen, port, protocol = layout.parse_vip_lpm_key(key)
                ipv6 = name == "vip_lpm_map"
            if protocol in layout.PROTOCOL_NAMES:
                found[key] = VipKey.of(packed, ipv6, prefixlen, port, layout.PROTOCOL_NAMES[protocol])
    return found


def blank(live: memoryview, ids: frozenset[int]) -> bytes:
    """A ring's slots with those of these reals zeroed."""
    slots = live.cast("Q")
    return b"".join((0 if value in ids else value).to_bytes(SLOT, "little") for value in slots)
