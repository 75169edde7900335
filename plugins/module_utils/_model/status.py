# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown of a balancer: VIPs, reals and what is wrong, of its record and of what the kernel has. Pure.

What differs is found by comparing entries and digests, without planning: balancer_info compares more.
"""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from . import layout
from .addresses import address_order
from .source_entries import FILTER_MAPS
from .state import State
from .verdicts import Combined, Words, degraded
from .vip_entries import real_of, vip_bits, vip_map_entry
from .vips import Vip, VipKey, VipReal

ANNOUNCED, READY, DRAINING, WITHDRAWN, DOWN = "announced", "ready", "draining", "withdrawn", "down"
"""The states of a VIP. Ready: it serves, and nobody announces it from here."""

NO_REALS = "its ring is empty: no real takes new flows"
Pair = tuple[int, int]


class Ring(t.NamedTuple):
    """A VIP's ring in the kernel. `edited`: it is not as the last run left it; `slots`: id → how many, if counted."""

    size: int
    empty: bool
    edited: bool = False
    slots: Mapping[int, int] | None = None

    @property
    def share(self) -> float:
        """The share of its slots that lead to a real: packets of the others are dropped."""
        if self.slots is None or not self.size:
            return 0.0 if self.empty else 1.0
        return 1 - self.slots.get(0, 0) / self.size


class Place(t.NamedTuple):
    """What is announced of an address. `route`: the metric that the kernel has, 0: none."""

    state: str
    reasons: Sequence[str]
    route: int
    since: str = ""


@dataclass(frozen=True)
class RealOfVip:
    """A real of a VIP.

    `state`: the one that counts; `by`: whose word that is (inventory, hand or check), `since`: when it was said (ISO
    8601), and `reason`: why; `weight`: the inventory's; `slots`, `share`: of the VIP's ring; `held`: why it is out by
    checks, where the VIP's floor keeps it in. `packets`, `bytes`: to the real from all VIPs.
    """

    real: str
    state: str
    by: str
    weight: int
    slots: int = 0
    share: float = 0.0
    since: str | None = None
    reason: str = ""
    held: str = ""
    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class VipStatus:
    """A VIP.

    `reasons`: why it is in this state; `degraded`: why its floor keeps reals in, "" where it does not; `since`: of the
    announcement (ISO 8601); `reals_in`: how many of its `reals` take new flows; `ring_share`: of its ring's slots,
    those that lead to a real; `edited`: somebody else changed the ring.
    """

    vip: str
    state: str
    reasons: tuple[str, ...] = ()
    degraded: str = ""
    since: str | None = None
    reals: int = 0
    reals_in: int = 0
    ring_share: float = 0.0
    edited: bool = False
    flags: tuple[str, ...] = ()
    checked: bool = False
    packets: int = 0
    bytes: int = 0
    members: tuple[RealOfVip, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether it serves as it should."""
        return self.state in (ANNOUNCED, READY) and not self.degraded and not self.edited

    def to_data(self, members: bool = True) -> dict[str, t.Any]:
        """For programs."""
        found = asdict(self)
        if not members:
            del found["members"]
        return found


@dataclass(frozen=True)
class RealStatus:
    """A real of the balancer, in all VIPs that have it.

    `states`: state that counts → in how many VIPs; `by_hand`: the word of a person, None where there is none; `flows`:
    entries of connection tables that lead to it, None where these were not searched.
    """

    real: str
    id: int
    local: bool
    vips: tuple[str, ...]
    states: Mapping[str, int]
    by_hand: Mapping[str, str] | None
    packets: int
    bytes: int
    flows: int | None = None


@dataclass(frozen=True)
class Live:
    """What the kernel has.

    `vips`: VIP → (flags, number); `rings`: number → ring; `reals`: id → real; `vip_counts`, `real_counts`: (packets,
    bytes); `maps`: the names of its maps.
    """

    vips: Mapping[VipKey, Pair] = field(default_factory=dict)
    rings: Mapping[int, Ring] = field(default_factory=dict)
    reals: Mapping[int, VipReal] = field(default_factory=dict)
    vip_counts: Mapping[VipKey, Pair] = field(default_factory=dict)
    real_counts: Mapping[str, Pair] = field(default_factory=dict)
    maps: frozenset[str] = frozenset()


def vip_statuses(
    vips: Mapping[VipKey, Vip],
    words: Words,
    live: Live,
    places: Mapping[str, Place],
    nowhere: str = "",
    chosen: Callable[[VipKey, str], bool] | None = None,
) -> list[VipStatus]:
    """Every VIP on record and every one that packets meet, sorted.

    `nowhere`: why the program runs nowhere, "" where it does; `chosen`: the (VIP, real) of which members are made: a
    VIP none of whose are is left out. None: all VIPs, without members.
    """
    held = {str(key): why for key, why in degraded(vips, words).items()}
    found = []
    for key in sorted({*vips, *live.vips}):
        vip = vips.get(key) or _as_in_kernel(key, live)
        if chosen is not None and not any(chosen(key, real.address) for real in vip.reals or (VipReal(""),)):
            continue
        ring = live.rings.get(live.vips[key][1]) if key in live.vips else None
        combined = words.combined(vip)
        shown = _vip_status(vip, combined, ring, live, places.get(key.address), nowhere)
        shown = replace(shown, degraded=held.get(str(key), ""))
        if chosen is not None:
            wanted = [real.address for real in vip.reals if chosen(key, real.address)]
            members = members_of(vip, words, combined, ring, live)
            shown = replace(shown, members=tuple(each for each in members if each.real in wanted or each.by == "ring"))
        found.append(shown)
    return found


def _as_in_kernel(key: VipKey, live: Live) -> Vip:
    """A VIP that is not on record, as far as the kernel tells it."""
    bits, number = live.vips[key]
    ring = live.rings.get(number)
    reals = tuple(live.reals[each] for each in sorted((ring.slots if ring else None) or ()) if each in live.reals)
    return Vip(key, tuple(flag for flag, bit in layout.VIP_FLAGS.items() if bits & bit), reals=reals)


def _vip_status(
    vip: Vip, combined: Combined, ring: Ring | None, live: Live, place: Place | None, nowhere: str
) -> VipStatus:
    state, reasons = _state_of(ring, place, nowhere, vip_map_entry(vip.key, 0, 0)[0] in live.maps)
    reals_in = sum(real.state == "active" and real.weight > 0 for real in combined.reals)
    if ring is None or ring.empty:
        reals_in = 0
    elif ring.edited and ring.slots is not None:
        reals_in = sum(1 for each in ring.slots if each in live.reals)
    packets, size = live.vip_counts.get(vip.key, (0, 0))
    return VipStatus(
        str(vip.key),
        state,
        reasons,
        since=place.since if place else None,
        reals=len(vip.reals),
        reals_in=reals_in,
        ring_share=round(ring.share, 4) if ring else 0.0,
        edited=bool(ring and ring.edited),
        flags=vip.flags,
        checked=vip.check is not None,
        packets=packets,
        bytes=size,
    )


def _state_of(ring: Ring | None, place: Place | None, nowhere: str, has_map: bool) -> tuple[str, tuple[str, ...]]:
    """The state of a VIP, and why."""
    if ring is None:
        return DOWN, ("it is not in the kernel's map of VIPs" if has_map else "its map is not there (bpffs?)",)
    if nowhere:
        return DOWN, (nowhere,)
    if ring.empty:
        return DOWN, (NO_REALS, *(place.reasons if place else ()))
    if place is None:
        return READY, ()
    if place.route == 0:
        return WITHDRAWN, tuple(place.reasons) or ("its route is missing in the kernel's table",)
    return (DRAINING if place.route > 1 else ANNOUNCED), tuple(place.reasons)


def members_of(vip: Vip, words: Words, combined: Combined, ring: Ring | None, live: Live) -> list[RealOfVip]:
    """The reals of a VIP, and those that only its ring has (`by` is ring: somebody else put them there)."""
    ids = {real.address: number for number, real in live.reals.items()}
    slots = dict((ring.slots if ring else None) or {})
    size = ring.size if ring else 0
    found = []
    for real, whole in zip(vip.reals, combined.reals, strict=True):
        state, by, since, reason = whole.state, "inventory", None, ""
        if real.address in combined.out:
            verdict = combined.out[real.address]
            by, since, reason = "check", verdict.since, verdict.reason
        elif real.address in words.overlay:
            by, since = "hand", words.overlay[real.address].since or None
        kept = combined.held.get(real.address)
        held = f"{kept.state}{f': {kept.reason}' if kept.reason else ''}" if kept else ""
        number = slots.pop(ids.get(real.address, -1), 0)
        counts = live.real_counts.get(real.address, (0, 0))
        share = round(number / size, 4) if size else 0.0
        found.append(RealOfVip(real.address, state, by, real.weight, number, share, since, reason, held, *counts))
    for number, count in sorted(slots.items()):
        if number:
            address = live.reals[number].address if number in live.reals else f"id {number}"
            share = round(count / size, 4)
            found.append(RealOfVip(address, "active", "ring", 0, count, share, reason="somebody put it into the ring"))
    return found


def real_statuses(
    vips: Mapping[VipKey, Vip],
    words: Words,
    live: Live,
    flows: Mapping[int, int] | None = None,
) -> list[RealStatus]:
    """Every real that the kernel or a VIP has, by address. `flows`: real id → entries of the connection tables."""
    has: dict[str, list[str]] = {}
    states: dict[str, Counter[str]] = {}
    for key, vip in sorted(vips.items()):
        name = str(key)
        for real in words.combined(vip).reals:
            has.setdefault(real.address, []).append(name)
            states.setdefault(real.address, Counter())[real.state] += 1
    ids = {real.address: number for number, real in live.reals.items()}
    local = {real.address for real in live.reals.values() if real.local}
    found = []
    for address in sorted({*has, *ids}, key=address_order):
        over = words.overlay.get(address)
        number = ids.get(address, 0)
        packets, size = live.real_counts.get(address, (0, 0))
        found.append(
            RealStatus(
                address,
                number,
                address in local,
                tuple(has.get(address, ())),
                dict(states.get(address, {})),
                {"state": over.state, "since": over.since} if over else None,
                packets,
                size,
                None if flows is None else flows.get(number, 0),
            )
        )
    return found


# What is not as the last run left it


def differences(state: State, vips: Mapping[VipKey, Vip], live: Live, reals: Mapping[bytes, bytes]) -> list[str]:
    """A sentence for each VIP, ring or real that somebody else changed. `reals`: the entries of that map."""
    if state.lost:
        return []
    if not state.is_sure_of("vips"):
        return ["vips: a run was interrupted; the next one puts in order what it left"]
    lines, filters = [], live.maps.issuperset(FILTER_MAPS)
    for key, vip in sorted(vips.items()):
        name, number = vip_map_entry(key, 0, 0)[0], state.vip_numbers.assigned.get(str(key))
        if name not in live.maps:
            continue
        if key not in live.vips:
            lines.append(f"vip {key}: missing in {name}")
        elif live.vips[key] != (vip_bits(vip, filters, live.vips[key][0]), number):
            lines.append(f"vip {key}: changed in {name}")
        elif live.rings[live.vips[key][1]].edited:
            lines.append(f"vip {key}: its ring is not as the last run left it")
    lines += [f"vip {key}: not ours, in {vip_map_entry(key, 0, 0)[0]}" for key in sorted({*live.vips} - {*vips})]
    return [*lines, *(_real_differences(state, reals) if state.is_sure else ())]


def _real_differences(state: State, reals: Mapping[bytes, bytes]) -> Iterable[str]:
    known = {layout.u32(number): address for address, number in state.real_ids.assigned.items()}
    for key, address in sorted(known.items(), key=lambda item: item[1]):
        there = reals.get(key)
        if there is None:
            yield f"real {address}: missing in reals"
        elif real_of(*layout.parse_real_definition(there)).address != address:
            yield f"real {address}: changed in reals"
    for key in sorted(set(reals) - set(known)):
        yield f"real with id {layout.parse_u32(key)}: not ours, in reals"
