# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planning VIPs: what is wanted, what is there, and the ordered operations between them.

Order: real → ring → VIP when something appears, VIP → ring → real when it goes, so that no packet ever meets a ring
slot whose real is absent, or a VIP whose ring is not yet its own. What appears comes before what goes, except where
there is room only after something went.
"""

from __future__ import annotations

import hashlib
import operator
from array import array
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from . import layout
from .errors import PlanError
from .ids import Ids
from .layout import SLOT
from .operations import (
    BlankSlots,
    Delete,
    DeleteDownSet,
    DropIndex,
    Operation,
    PurgeFlows,
    Put,
    PutDownSet,
    PutIndex,
    PutRing,
    SharedSlots,
    ZeroCounters,
    blank,
)
from .quic_lb import reals_of
from .quic_lb_entries import SERVER_MAPS, kernel_entries
from .ring import Job, build_each
from .source_entries import DENIED_MAP, FILTER_MAPS, is_filtered
from .source_entries_plan import plan_sources, source_target, sources_of
from .verdicts import Words
from .vip_entries import (
    ADDRESS_MAPS,
    INDEXED_MAPS,
    NUMBER_MAPS,
    VIP_MAPS,
    Actual,
    address_entry,
    down_set_key,
    real_entries,
    unsettled,
    vip_bits,
    vip_map_entry,
)
from .vips import Vip, VipKey


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


def references(vips: Iterable[Vip]) -> dict[str, bool]:
    """Every real that VIPs refer to, down sets included → whether it is local to this host."""
    found: dict[str, bool] = {}
    for vip in vips:
        for real in vip.reals:
            found[real.address] = found.get(real.address, False) or real.local
        for address in (*vip.down_reals, *reals_of(vip.quic_lb)):
            found.setdefault(address, False)
    return found


def ring_members(vip: Vip, words: Words) -> list[tuple[str, int]]:
    """(address, weight) of the reals that take new flows: active and of positive weight; sorted by address."""
    reals = words.combined(vip).reals
    return sorted((real.address, real.weight) for real in reals if real.weight > 0 and real.state == "active")


def down_members(vip: Vip, words: Words) -> set[str]:
    """The reals whose UDP flows are moved away: listed as down_reals, or in state down."""
    return {*vip.down_reals, *(real.address for real in words.combined(vip).reals if real.state == "down")}


def ring_inputs(vip: Vip, size: int, members: Sequence[tuple[str, int]], ids: Sequence[int]) -> str:
    """The digest of everything that a VIP's ring is made of."""
    return hashlib.sha256(repr((vip.hash, size, list(members), list(ids))).encode()).hexdigest()


REAL_COUNTERS = ("reals_stats", "lru_miss_stats")
_VIP_COUNTERS = ("stats", "server_id_stats", "decap_vip_stats")
BuildRings = Callable[[Sequence[Job]], Generator["array[int]", None, None]]
"""Builds the rings of jobs in their order, one at a time: those that turn out to be there already are not kept."""


@dataclass(frozen=True)
class Recorded:
    """What state.json says of VIPs that the kernel does not, and its ids with what the kernel has beside them.

    `rings`: VIP → digests, as in the state. `learned`: the VIPs that learn no flow, but of which the tables may know
    some.
    """

    real_ids: Ids
    vip_numbers: Ids
    rings: Mapping[str, list[str]]
    learned: Collection[VipKey] = ()


class _VipPlanner:
    """One planning of VIPs; its methods are the phases."""

    def __init__(
        self,
        wanted: Mapping[VipKey, Vip],
        words: Words,
        others: Mapping[str, bool],
        actual: Actual,
        recorded: Recorded,
        build: BuildRings,
    ) -> None:
        self.wanted = wanted
        self.learned = recorded.learned
        self.words = words
        self.actual = actual
        self.real_ids = recorded.real_ids.copy()
        self.vip_numbers = recorded.vip_numbers.copy()
        self.rings = recorded.rings
        self.build = build
        self.slots = SharedSlots(actual.ring_size)
        self.compared: dict[tuple[str, str], int] = {}
        members = {real.address for vip in wanted.values() for real in vip.reals}
        self.refs = references(wanted.values())
        # What others say of a real counts unless a VIP has it; a list of down reals says nothing about it.
        self.refs.update({address: local for address, local in others.items() if address not in members})
        self.appear: list[Operation] = []
        self.go: list[Operation] = []
        self.late: list[Operation] = []
        self.tight = False
        self.before_numbers = {*self.vip_numbers.assigned.values(), *self.vip_numbers.quarantine}
        self.vip_limit = actual.capacity["server_id_stats"]
        self.filters = actual.filters

    def plan(self) -> VipPlan:
        """All phases in order."""
        self._number()
        target = self._target()
        self._clear_rings()
        self._plan_reals()
        new_rings = self._plan_rings()
        self._plan_entries(target)
        operations = self.go + self.appear if self.tight else self._reset_reused() + self.appear + self.go
        operations = self._indexed(operations + self.late, target)
        return VipPlan(operations, self.real_ids, self.vip_numbers, new_rings)

    def _indexed(self, operations: list[Operation], target: Mapping[str, Mapping[bytes, bytes]]) -> list[Operation]:
        """The same with an index of the VIPs after it, and none while they change."""
        if not self.actual.index_slots:
            return operations
        there, index = self.actual.index, self.actual.wanted_index(target)
        changes = any(isinstance(each, (Put, Delete)) and each.map in INDEXED_MAPS for each in operations)
        drop: list[Operation] = [DropIndex()] if there is not None and (changes or index is None) else []
        put: list[Operation] = (
            [PutIndex(tuple(index.items()))] if index is not None and (changes or index != there) else []
        )
        return [*drop, *operations, *put]

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
            resets += [ZeroCounters(name, tuple(sorted(reals))) for name in REAL_COUNTERS]
        if vips:
            counters = (*_VIP_COUNTERS, DENIED_MAP) if self.filters else _VIP_COUNTERS
            resets += [ZeroCounters(name, vips) for name in counters]
            # What a killed run left of the lists of those whose numbers are given to others.
            left = ((name, sources_of(self.reused_vips, self.actual.entries.get(name, {}))) for name in FILTER_MAPS)
            resets += [Delete(name, keys) for name, keys in left if keys]
        return resets

    def _number_of(self, key: VipKey) -> int:
        return self.vip_numbers.assigned[str(key)]

    def _target(self) -> dict[str, dict[bytes, bytes]]:
        """What each entry map should hold."""
        target: dict[str, dict[bytes, bytes]] = {
            name: {} for name in (*VIP_MAPS, *ADDRESS_MAPS, *NUMBER_MAPS, *SERVER_MAPS) if name in self.actual.entries
        }
        for key, vip in self.wanted.items():
            number = self._number_of(key)
            for name, map_key, value in (vip_map_entry(key, self._bits(vip), number), address_entry(key)):
                # A prefix that the program cannot match is kept for one that can.
                if name in target:
                    target[name][map_key] = value
            if key.prefixlen is not None and "cidr_vip_keys" in target:
                target["cidr_vip_keys"][layout.u32(number)] = down_set_key(key)
            if key in self.learned and "vip_learned" in target:
                target["vip_learned"][layout.u32(number)] = layout.u32(1)
            for (name, map_key), value in kernel_entries(vip.quic_lb, number, self.real_ids.assigned).items():
                if name in target:
                    target[name][map_key] = value
        for name, entries in target.items():
            union = len({*entries, *self.actual.entries[name]})
            if name not in NUMBER_MAPS and union > self.actual.capacity[name]:
                self.tight = True
        self.down_target = self._down_target()
        if len({*self.down_target, *self.actual.down}) > self.vip_limit:
            self.tight = True
        return target

    def _bits(self, vip: Vip) -> int:
        """vip_meta.flags. What is there is looked at only where it counts."""
        there = None
        if not self.filters and is_filtered(vip):
            name, map_key, _value = vip_map_entry(vip.key, 0, 0)
            there = self.actual.entries.get(name, {}).get(map_key)
        return vip_bits(vip, self.filters, layout.parse_vip_meta(there)[0] if there else 0)

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
            members = ring_members(vip, self.words)
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
        with closing(self.build([(members, size, kind) for members, kind in jobs.values()])) as built:
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
        put = PutRing(number, ring, ids, 0)
        slots, after = self.slots.of(put), self.slots.digest(put)
        if empty:
            changed = self.actual.ring_size
        elif cleared is not None:
            changed = _differences(memoryview(cleared), slots)
        else:
            # VIPs of the same reals had the same ring, and get the same: it is compared once.
            pair = self.actual.digest(number), after
            if pair not in self.compared:
                self.compared[pair] = _differences(self.actual.ring(number), slots)
            changed = self.compared[pair]
        if changed:
            self.appear.append(PutRing(number, ring, ids, changed))
        return after

    def _plan_entries(self, target: Mapping[str, Mapping[bytes, bytes]]) -> None:
        """VIPs and what belongs to them: addresses and down sets appear before, and go after, the VIP itself."""
        self._plan_down_sets()
        self._plan_sources()
        for name in (*SERVER_MAPS, *NUMBER_MAPS, *ADDRESS_MAPS, *VIP_MAPS):
            self._puts(name, target)
        for name in (*VIP_MAPS, *ADDRESS_MAPS, *NUMBER_MAPS, *SERVER_MAPS):
            self._deletes(name, target)
        self.go += [DeleteDownSet(key) for key in sorted(set(self.actual.down) - set(self.down_target))]
        self.go += self.clearing
        if self.tight:
            self.go += self._reset_reused()
        if self.stale_reals:
            self.go.append(Delete("reals", self.stale_reals))

    def _plan_sources(self) -> None:
        """Lists of clients: what appears comes before their VIPs, and what goes once these are as they will be."""
        read = [name for name in FILTER_MAPS if name in self.actual.entries]
        if read:
            target = source_target(self.wanted, self.vip_numbers.assigned)
            for name in read:
                there = dict(self.actual.entries[name])
                for key in sources_of(self.reused_vips, there):
                    del there[key]
                appear, go = plan_sources(name, target[name], there, self.actual.capacity[name])
                self.appear += appear
                self.late += go

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
                down = down_members(vip, self.words) if "udp_flow_migration" in vip.flags else ()
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
            there, want = self.actual.entries[name], target[name]
            gone = tuple(
                sorted(
                    key
                    for key, value in there.items()
                    if key not in want or (want[key] != value and self._misleads(name, value))
                )
            )
            if gone:
                self.go.append(Delete(name, gone))

    def _misleads(self, name: str, value: bytes) -> bool:
        """Whether an entry leads to an id that another real gets before the entry gets its own."""
        return name in SERVER_MAPS and self.tight and layout.parse_u32(value) in self.gone


def _differences(live: memoryview, slots: bytes) -> int:
    return sum(map(operator.ne, live.cast("Q"), memoryview(slots).cast("Q")))


def plan_vips(
    wanted: Mapping[VipKey, Vip],
    words: Words,
    others: Mapping[str, bool],
    actual: Actual,
    recorded: Recorded,
    build: BuildRings = build_each,
) -> VipPlan:
    """The way from `actual` to `wanted`. `others`: reals that others refer to → whether it is local.

    `build` builds rings as build_each does. What is `recorded` is not changed. PlanError where there is no room.
    """
    return _VipPlanner(wanted, words, others, actual, recorded, build).plan()
