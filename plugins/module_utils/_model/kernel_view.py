# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel has, in config's own form, and in which sentences that differs from the state.

The kernel knows no weights and no hashes: where it has what the last run left, the state's words for it are right.
"""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from . import layout
from .addresses import address_order
from .drift import Left, View, reals_drift, table_drift, vip_drift
from .errors import PlanError
from .lru_history import may_be_known
from .ring import build_each
from .ring_count import count_slots
from .source_entries import FILTER_MAPS, filter_entries, filter_map
from .state import State
from .table import Table
from .table_plan import plan_entries
from .verdicts import Words, words_of
from .vip_entries import VIP_MAPS, Actual, adopt, down_set_key, known_keys, real_of, vip_map_entry, vips_in_kernel
from .vip_plan import BuildRings, Recorded, down_members, plan_vips, references, ring_members
from .vips import Vip, VipKey, VipReal, vips_from_config

Entries = Mapping[str, Mapping[bytes, bytes]]


@dataclass(frozen=True)
class KernelView:
    """What the kernel has of a balancer's VIPs beside what its state says; `others`: reals of other resources."""

    state: State
    actual: Actual
    others: Mapping[str, bool]

    def vips(self) -> list[Vip]:
        """The VIPs that packets meet, sorted, with the reals that they lead to."""
        actual, numbers, ids = self.actual, self.state.vip_numbers.assigned, self.state.real_ids.assigned
        known, words = vips_from_config(self.state.vips), words_of(self.state)
        there, live = self._reals(), vips_in_kernel(actual)
        found = []
        for key in sorted({*known, *live}):
            vip = known.get(key)
            if vip is None:
                found.append(live[key])
            elif vip_map_entry(key, 0, 0)[0] not in actual.entries:
                # The program cannot match it: it is kept for one that can.
                found.append(vip)
            elif key in live:
                number = self._number(key)
                ring = self.state.rings.get(str(key), ["", ""])[1]
                sound = number == numbers.get(str(key)) and self._is_ring(number, ring)
                reals = []
                for real in vip.reals if sound else _in_ring(vip, words, live[key]):
                    # One of no id is in no map, so that nothing contradicts it.
                    now = there.get(ids[real.address]) if real.address in ids else real
                    reals += [] if now is None else [real._replace(address=now.address, local=now.local)]
                reals.sort(key=lambda real: address_order(real.address))
                down = self._down(vip, words, there)
                quic_lb = live[key].quic_lb if "quic_lb_vips" in actual.entries else vip.quic_lb
                seen = replace(vip, flags=live[key].flags, reals=tuple(reals), down_reals=down, quic_lb=quic_lb)
                found.append(seen if self._is_filtered_so(vip, number) else _with_lists(seen, live[key]))
        return found

    def differences(self, build: BuildRings = build_each) -> list[str]:
        """A sentence for each thing of the VIPs and their reals that is not as the last run left it."""
        state, actual = self.state, self.actual
        if state.lost:
            return []
        if not state.is_sure_of("vips"):
            return ["vips: a run was interrupted; the next one puts in order what it left"]
        view = View(vips_from_config(state.vips), words_of(state))
        names = {key: str(vip) for key, vip in known_keys(actual).items()}
        ids, numbers = adopt(actual, state.real_ids, state.vip_numbers, names)
        marked = may_be_known(view.vips.values(), state.learned)
        try:
            recorded = Recorded(ids, numbers, state.rings, marked)
            plan = plan_vips(view.vips, view.words, self.others, actual, recorded, build)
        except PlanError as error:
            return [str(error)]
        lines = vip_drift(
            Left(view, state.vip_numbers, state.rings, marked, state.real_ids.assigned), view, plan, actual
        )
        if state.is_sure:
            local = {**self.others, **references(view.vips.values())}
            lines += reals_drift(plan.operations, local, actual.entries["reals"], state.real_ids)
        return list(map(as_found, lines))

    def rings(self) -> list[dict[str, t.Any]]:
        """For each VIP that packets meet, how many slots of its ring each real has; "" of those that lead to none."""
        there = {number: real.address for number, real in self._reals().items()}
        found = []
        # VIPs of the same reals and weights have the same ring.
        counted: dict[bytes, dict[int, int]] = {}
        for key in sorted(self._in_kernel()):
            ring = bytes(self.actual.ring(self._number(key)))
            if ring not in counted:
                counted[ring] = count_slots(ring)
            slots: dict[str, int] = {}
            for number, count in counted[ring].items():
                address = there.get(number, "")
                slots[address] = slots.get(address, 0) + count
            reals = [{"address": each, "slots": slots[each]} for each in sorted(slots, key=_by_address)]
            found.append({"vip": str(key), "reals": reals})
        return found

    def _in_kernel(self) -> list[VipKey]:
        """The VIPs that have a ring there."""
        visible, entries = known_keys(self.actual), self.actual.entries
        return [
            visible[key]
            for name in VIP_MAPS
            for key, value in entries.get(name, {}).items()
            if key in visible and layout.parse_vip_meta(value)[1] < self.actual.capacity["server_id_stats"]
        ]

    def _number(self, key: VipKey) -> int:
        return layout.parse_vip_meta(self._meta(key))[1]

    def _meta(self, key: VipKey) -> bytes:
        name, map_key, _value = vip_map_entry(key, 0, 0)
        return self.actual.entries[name][map_key]

    def _reals(self) -> dict[int, VipReal]:
        """Id → the real that the kernel has under it."""
        return {
            layout.parse_u32(key): real_of(*layout.parse_real_definition(value))
            for key, value in self.actual.entries["reals"].items()
        }

    def _is_filtered_so(self, vip: Vip, number: int) -> bool:
        """Whether the kernel has a VIP's lists of clients as they are told, or no map for them."""
        name, ipv6 = filter_map(vip.key.ipv6), vip.key.ipv6
        if name not in self.actual.entries:
            return True
        bits = layout.parse_vip_meta(self._meta(vip.key))[0]
        there = self._sources.get(number, {}) if bits & layout.SOURCE_FILTER else {}
        return there == filter_entries(vip, ipv6, number)

    @cached_property
    def _sources(self) -> dict[int, dict[bytes, bytes]]:
        """VIP number → the entries of its lists of clients."""
        found: dict[int, dict[bytes, bytes]] = {}
        for name in FILTER_MAPS:
            for key, value in self.actual.entries.get(name, {}).items():
                found.setdefault(layout.parse_source_filter_key(key)[2], {})[key] = value
        return found

    def _is_ring(self, number: int, digest: str) -> bool:
        return self.actual.digest(number) == digest if digest else self.actual.is_empty(number)

    def _down(self, vip: Vip, words: Words, there: Mapping[int, VipReal]) -> tuple[str, ...]:
        """The reals that are listed as down, of those whose flows the kernel moves away."""
        ids = self.state.real_ids.assigned
        expected = down_members(vip, words) if "udp_flow_migration" in vip.flags else set()
        live = self.actual.down.get(down_set_key(vip.key), frozenset())
        if "vip_to_down_reals_map" not in self.actual.entries or live == {ids.get(each) for each in expected}:
            return vip.down_reals
        stated = down_members(replace(vip, down_reals=()), words)
        found = {there[number].address for number in live if number in there} - stated
        return tuple(sorted(found, key=address_order))


def _in_ring(vip: Vip, words: Words, live: Vip) -> list[VipReal]:
    """The VIP's reals as a ring that somebody changed has them: those that are not in it have weight 0."""
    slots = {real.address: real for real in live.reals}
    members = {address for address, _weight in ring_members(vip, words)}
    mine = [
        real._replace(weight=0) if real.address in members and real.address not in slots else real for real in vip.reals
    ]
    names = {real.address for real in vip.reals}
    return mine + [real for address, real in slots.items() if address not in names]


def _with_lists(vip: Vip, live: Vip) -> Vip:
    return replace(vip, allow=live.allow, deny=live.deny)


def _by_address(address: str) -> tuple[bool, bytes]:
    return address_order(address) if address else (False, b"")


def as_found(line: str) -> str:
    """A line of drift before anybody repaired it."""
    return (
        line.removesuffix(", repaired")
        .replace(": not ours, removed from ", ": not ours, in ")
        .replace(" that are not ours, removed from ", " that are not ours, in ")
    )


def table_differences(
    table: Table[t.Any, t.Any], known: Collection[t.Any], state: State, actual: Entries, capacity: Mapping[str, int]
) -> list[str]:
    """A sentence for each entry of a table that is not as the last run left it. `known`: its items."""
    names = [name for name in table.maps if name in actual]
    if not names or state.lost:
        return []
    if not state.is_sure_of(table.name):
        return [f"{table.name}: a run was interrupted; the next one puts in order what it left"]
    values = {address: layout.u32(number) for address, number in state.real_ids.assigned.items()}
    entries = [
        entry
        for entry in map(table.entry, known)
        if entry.real is None or (entry.real in values and entry.map in names)
    ]
    operations = plan_entries(entries, names, actual, capacity, values)
    return list(map(as_found, table_drift(operations, set(), actual, table)))
