# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs would do to a balancer that is exactly as one configuration says, to make of it what another says.

No host is asked and nothing is changed: the modules' own runs, one after the other as in a play, on maps in memory that
the same runs have filled. So a number, an entry and a sentence are those that the run of a host has.
"""

from __future__ import annotations

import typing as t
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .._kernel.memory_maps import MemoryMaps, PlannedMaps
from .._kernel.ring_workers import build_rings
from .._kernel.state_files import StateFile
from .._model.entries import Asked
from .._model.limits import Limits, limits_of_settings
from .._model.operations import BlankSlots, PutRing, blank
from .._model.ring import Job, hashable_job
from .._model.ring_slots import ring_slots
from .._model.shape import as_told
from .._model.state import State
from .._model.tables import BALANCER_TABLES
from .._model.verdicts import NO_WORDS
from .._model.vip_entries import Actual
from .._model.vip_plan import ring_inputs, ring_members
from .._model.vips import vips_from_config
from .._model.vips_input import Vips
from .request import Clock, Request, Result
from .tables import BalancerTableRun
from .vips import VipRun

INSTANCE, BPFFS = "default", "/sys/fs/bpf"
_SMALL_RING = 3
"""The fewest slots that a ring has: what is in them while the maps are filled, nobody looks at."""


@dataclass(frozen=True)
class Configured:
    """What an inventory tells one balancer.

    `resources`: of each that a variable is about, its entries, valid and as they are written there; `settings`: all of
    module balancer's, in its own form. The rest are options of module vips.
    """

    resources: Mapping[str, Sequence[t.Any]]
    settings: Mapping[str, t.Any]
    min_active: int = 1
    check_defaults: t.Any = None
    max_probes: int | None = None

    @property
    def limits(self) -> Limits:
        """What the balancer can hold."""
        return limits_of_settings(self.settings)

    def asked(self, name: str) -> Asked:
        """What the resource's module is asked. Addresses of the host's own are not known here."""
        options = Vips.options if name == "vips" else BALANCER_TABLES[name].options
        return Asked(
            [as_told(entry, options) for entry in self.resources[name]],
            "overridden",
            allow_empty=True,
            allow_own_addresses=True,
            check_defaults=self.check_defaults,
            max_probes=self.max_probes,
        )


@dataclass(frozen=True)
class Foreseen:
    """What the runs would do.

    `results`: resource → the result of its module. `moved`: VIP, as text, that is there before and after
    → how many of its ring's slots get another real, or another state of being empty. `ring_size`: how many slots a ring
    has. `untouched`: the resources with entries that no variable is about any more: they stay.
    """

    results: Mapping[str, Result] = field(default_factory=dict)
    moved: Mapping[str, int] = field(default_factory=dict)
    ring_size: int = 0
    untouched: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Shape:
    """A balancer's settings, as far as its maps go."""

    sizes: Mapping[str, int]
    features: frozenset[str]
    encapsulation: str
    decap_any: bool

    @classmethod
    def of(cls, settings: Mapping[str, t.Any]) -> _Shape:
        limits = limits_of_settings(settings)
        return cls(limits.sizes, limits.features or frozenset(), settings["encapsulation"], settings["decap_any"])


class _Files(StateFile):
    """The directory of a state in memory: of the state only the last."""

    def __init__(self, state: State) -> None:
        super().__init__(INSTANCE, BPFFS, "/nonexistent")
        self.state = state
        self._files: dict[str, str] = {}

    def read(self) -> State:
        return self.state

    def write(self, state: State) -> None:
        self.state = state

    def read_file(self, name: str) -> str | None:
        return self._files.get(name)

    def write_file(self, name: str, text: str) -> None:
        self._files[name] = text

    def sweep(self) -> None:
        """There are no temporary files."""


class _FilledMaps(MemoryMaps):
    """Maps whose rings are built when they are looked at: of most VIPs nobody does.

    `tokens`: VIP number → what stands for the digest of its ring, the same for the same slots.
    """

    def __init__(self, shape: _Shape) -> None:
        super().__init__(shape)
        self._ring_size = _SMALL_RING
        self._jobs: dict[int, tuple[Job, tuple[int, ...]]] = {}
        self._built: dict[Job, array[int]] = {}
        self._slots: dict[tuple[Job, tuple[int, ...]], memoryview] = {}
        self.tokens: dict[int, str] = {}

    def settle(self, state: State) -> State:
        """Take the VIPs of this state for what the rings are of; the state with the rings' digests."""
        size = self._ring_size = self._shape.sizes["ring"]
        self._rings.clear()
        rings = {}
        for key, vip in vips_from_config(state.vips).items():
            members = ring_members(vip, NO_WORDS)
            ids = tuple(state.real_ids.assigned[address] for address, _weight in members)
            number = state.vip_numbers.assigned[str(key)]
            token = ring_inputs(vip, size, members, ids)
            rings[str(key)] = [token, token if members else ""]
            if members:
                self.tokens[number] = token
                self._jobs[number] = (members, size, vip.hash), ids
        return replace(state, rings=rings)

    def build(self, numbers: Iterable[int]) -> None:
        """Build the rings of these VIPs together, which is faster than one by one."""
        jobs = [self._jobs[number][0] for number in numbers if number in self._jobs]
        self._built.update(zip(map(hashable_job, jobs), build_rings(jobs), strict=True))

    def ring(self, number: int) -> memoryview:
        """The slots of a VIP's ring."""
        if number not in self._jobs:
            return super().ring(number)
        job, ids = self._jobs[number]
        key = (hashable_job(job), ids)
        if key not in self._slots:
            if key[0] not in self._built:
                self.build([number])
            self._slots[key] = memoryview(ring_slots(self._built[key[0]], ids))
        return self._slots[key]


class _NextMaps(PlannedMaps):
    """The maps of the balancer that is to come, with what the present one has: written to, but for the rings."""

    def __init__(self, present: _FilledMaps, shape: _Shape) -> None:
        super().__init__(present, shape)
        for name in self.names() & present.names():
            self._entries[name] = present.entries(name)
        self._down = present.down_sets()

    def entries(self, name: str) -> dict[bytes, bytes]:
        """All entries."""
        return dict(self._entries[name])

    def down_sets(self) -> dict[bytes, frozenset[int]]:
        """All sets."""
        return dict(self._down)

    def put_ring(self, number: int, slots: bytes, changed: int) -> None:
        """Nobody looks at a ring after that."""


class _ForeseeingRun(VipRun):
    """A run of module vips that takes the digests of unseen rings for known."""

    tokens: Mapping[int, str] = {}

    def read(self) -> Actual:
        """What the maps have."""
        return replace(super().read(), _digests=dict(self.tokens))


class _Balancer:
    """A balancer in memory that is as a configuration says."""

    def __init__(self, configured: Configured) -> None:
        self.configured = configured
        settings = {**configured.settings, "sizes": dict(configured.limits.sizes)}
        self.files = _Files(State(INSTANCE, BPFFS, settings=settings))
        self.maps = _FilledMaps(_Shape.of(settings))
        request = Request(INSTANCE, BPFFS, 0, check=False)
        if "vips" in configured.resources:
            VipRun(request, self.maps, self.files, self.files.state, Clock()).run(configured.asked("vips"))
        for name in _tables(configured):
            self._table(name, request, self.maps, configured)
        self.files.state = self.maps.settle(self.files.state)

    def _table(self, name: str, request: Request, maps: MemoryMaps, configured: Configured) -> Result:
        run = BalancerTableRun(BALANCER_TABLES[name], request, maps, self.files, self.files.state, Clock())
        return run.run(configured.asked(name))

    def foresee(self, wanted: Configured) -> Foreseen:
        """Have the modules' runs make of it what is wanted."""
        request = Request(INSTANCE, BPFFS, 0, check=False, min_active=wanted.min_active)
        maps = _NextMaps(self.maps, _Shape.of(wanted.settings))
        before = self.files.state
        self.files.state = replace(before, settings={**wanted.settings, "sizes": dict(wanted.limits.sizes)})
        results: dict[str, Result] = {}
        moved: dict[str, int] = {}
        if "vips" in wanted.resources:
            run = _ForeseeingRun(request, maps, self.files, self.files.state, Clock())
            run.tokens = self.maps.tokens
            self._build_changed(before, wanted)
            results["vips"] = run.run(wanted.asked("vips"))
            moved = self._moved(before, run)
        for name in _tables(wanted):
            results[name] = self._table(name, request, maps, wanted)
        left = {name: rows for name, rows in self.configured.resources.items() if rows}
        untouched = tuple(name for name in left if name not in wanted.resources)
        return Foreseen(results, moved, maps.ring_size(), untouched)

    def _build_changed(self, state: State, wanted: Configured) -> None:
        """Build at once the rings that are sure to be compared: of VIPs whose reals are written otherwise."""
        before = {_place(entry): _of_ring(entry) for entry in self.configured.resources.get("vips", ())}
        after = {_place(entry): _of_ring(entry) for entry in wanted.resources["vips"]}
        names = {(key.address, key.port, key.protocol): str(key) for key in vips_from_config(state.vips)}
        changed = (names.get(place) for place, entry in before.items() if after.get(place) != entry)
        assigned = state.vip_numbers.assigned
        self.maps.build(assigned[name] for name in changed if name in assigned)

    def _moved(self, was: State, run: VipRun) -> dict[str, int]:
        """How many slots of each ring lead elsewhere after the run."""
        if run.plan is None:
            return {}
        now = run.plan
        numbers = was.vip_numbers.assigned
        kept = {numbers[name]: name for name in now.vip_numbers.assigned if name in numbers}
        last: dict[int, PutRing | BlankSlots] = {}
        blanked = set()
        for each in now.operations:
            if isinstance(each, (PutRing, BlankSlots)) and each.number in kept:
                last[each.number] = each
                if isinstance(each, BlankSlots):
                    blanked.add(each.number)
        old, new = (
            {number: address for address, number in ids.assigned.items()} for ids in (was.real_ids, now.real_ids)
        )
        # Where ids were given to other reals, slots are written twice, and one that is written may lead where it did.
        return {
            kept[number]: each.changed if number not in blanked else self._elsewhere(each, old, new)
            for number, each in last.items()
        }

    def _elsewhere(self, each: PutRing | BlankSlots, old: Mapping[int, str], new: Mapping[int, str]) -> int:
        """How many slots of a ring lead to another real once this is the last that was done to it.

        `old`, `new`: real by its id, before and after.
        """
        live = self.maps.ring(each.number)
        slots = blank(live, each.ids) if isinstance(each, BlankSlots) else each.slots(self.maps.ring_size())
        pairs = zip(live.cast("Q"), memoryview(slots).cast("Q"), strict=True)
        return sum(old.get(one) != new.get(other) for one, other in pairs)


def _place(entry: t.Any) -> tuple[str, int, str]:
    """Where a VIP is, if it is written in the one way that most are: others are built one by one."""
    if not isinstance(entry, Mapping):
        return "", 0, ""
    port = entry.get("port")
    return str(entry.get("address")), port if isinstance(port, int) else 0, str(entry.get("protocol"))


def _of_ring(entry: t.Any) -> t.Any:
    return (entry.get("reals"), entry.get("hash")) if isinstance(entry, Mapping) else None


def _tables(configured: Configured) -> list[str]:
    return [name for name in BALANCER_TABLES if name in configured.resources]


def foresee(before: Configured, after: Configured) -> Foreseen:
    """What runs would do to a balancer that is as `before` says, to make of it what `after` says.

    ConfigError, PlanError or EngineError where a run would fail; of `before`, where nobody can say what it left.
    """
    return _Balancer(before).foresee(after)
