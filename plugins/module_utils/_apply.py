# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diff and apply: lock → read → plan → (check mode stops here) → save intent → execute → save result → report.

The one code path that writes the maps: the modules, restore at boot and whatever comes later all go through it.
"""

from __future__ import annotations

import errno
import json
import time
import typing as t
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from ansible_collections.katran.fleet.plugins.module_utils import _layout as layout
from ansible_collections.katran.fleet.plugins.module_utils import _plan as planning
from ansible_collections.katran.fleet.plugins.module_utils._config import (
    FEATURES,
    Config,
    DecapDestination,
    Limits,
    Overlay,
    Prefix,
    ServerId,
    SourceRoute,
    Vip,
    VipKey,
    VipReal,
    features_needed,
    hold_back_rows,
    hold_back_vips,
    idle_vips,
    limits_of_settings,
    parse_settings,
    read_prefix,
    resolve_decap_destinations,
    resolve_reals,
    resolve_server_ids,
    resolve_source_routes,
    resolve_vips,
    server_id_warnings,
    shortened,
    vip_changes,
    vip_to_config,
    vips_from_config,
)
from ansible_collections.katran.fleet.plugins.module_utils._drift import Left, View, reals_drift, table_drift, vip_drift
from ansible_collections.katran.fleet.plugins.module_utils._kernel import KernelMaps, is_bpffs
from ansible_collections.katran.fleet.plugins.module_utils._learned import learners, may_be_known
from ansible_collections.katran.fleet.plugins.module_utils._memory import Maps, MemoryMaps, PlannedMaps
from ansible_collections.katran.fleet.plugins.module_utils._pins import (
    Paths,
    require_bpffs,
    require_capabilities,
    running_program,
)
from ansible_collections.katran.fleet.plugins.module_utils._state import Ids, State, StateFile, damaged, locked
from ansible_collections.katran.fleet.plugins.module_utils._swap import Swap


class EngineError(Exception):
    """The engine cannot do what was asked; the text is one sentence for the operator."""


@dataclass(frozen=True)
class Request:
    """What every run says: which balancer, how long to wait for another run (s), and whether only to look."""

    instance: str
    bpffs: str
    lock_timeout: float
    check: bool
    planned: Limits | None = None
    """What the balancer will hold once the same play has run: for check mode, where it does not yet."""
    kept: bool = False
    """What is applied was valid when it was kept: what the program cannot do of it is left out with a warning."""
    min_active: int = 0
    """How many reals that take new flows each listed VIP needs."""
    unready: frozenset[str] = frozenset()
    """Reals to which nothing may lead newly."""
    unseen: frozenset[str] = frozenset()
    """Reals to which something that leads newly is worth a warning."""


Gone = tuple[t.Union[VipKey, None], t.Union[frozenset[int], None]]
"""Flows that lost their place: (VIP, None) all of a VIP, (VIP, ids) those to these reals, (None, ids) of every VIP."""

Purge = Callable[[KernelMaps, Iterable[Gone], bool], dict[str, int]]
"""Removes such flows, or with True only counts them: map → how many."""


@dataclass
class Result:
    """What a run did, or in check mode would do. `before` and `after`: changed entries in config's own form."""

    before: list[dict[str, t.Any]] = field(default_factory=list)
    after: list[dict[str, t.Any]] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    operations: dict[str, int] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    references: dict[str, list[str]] = field(default_factory=dict)
    gone: list[Gone] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything was, or would be, changed."""
        return bool(self.changes or self.operations)

    def explain(self) -> None:
        """Say why there is something to do where neither the configuration nor the file does."""
        if self.operations and not self.changes:
            self.changes.append("what an interrupted run left behind is put in order")


@dataclass(frozen=True)
class _CheckShape:
    """The balancer that check mode plans for where none is loaded: default sizes, every feature."""

    sizes: Mapping[str, int]
    features: frozenset[str]
    encapsulation: str = "gue"
    decap_any: bool = False


class Clock:
    """Seconds spent in each phase."""

    def __init__(self) -> None:
        self.timings = {"validate": 0.0, "read": 0.0, "plan": 0.0, "write": 0.0}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = round(self.timings[name] + time.monotonic() - started, 4)


def is_loaded(paths: Paths) -> bool:
    """Whether the maps that every balancer has are there: the first and the last that are made."""
    return paths.has_map("vip_map") and paths.has_map("ctl_array")


def lost_maps(paths: Paths, state: State) -> dict[str, int]:
    """The maps that the running program has though their pins are gone: name → id."""
    if not state.settings or not state.program.get("tag"):
        return {}
    specs = list(layout.balancer_maps(parse_settings(state.settings)).values())
    if all(map(paths.has_map, (spec.name for spec in specs))):
        return {}
    program_id = running_program(paths, state.program)
    return {} if program_id is None else paths.lost_maps(specs, state.settings["sizes"], program_id)


@contextmanager
def open_maps(request: Request, state: State) -> Iterator[Maps]:
    """The balancer's maps; in check mode, where nothing is loaded, empty ones in memory."""
    paths = Paths(request.bpffs, request.instance, "balancer")
    if not request.check:
        require_bpffs(request.bpffs)
    planned = request.planned if request.check else None
    if request.check and is_bpffs(request.bpffs):
        # The task before would have pinned them again.
        paths.unpinned = lost_maps(paths, state)
    if is_bpffs(request.bpffs) and is_loaded(paths):
        with KernelMaps(paths.maps, paths.unpinned) as maps:
            if planned is None:
                _require_maps(maps, state, paths)
            maps.set_ring_size(maps.capacity("ch_rings") // (maps.capacity("server_id_stats")))
            yield maps if planned is None else PlannedMaps(maps, _shape_of(planned))
        return
    if not request.check:
        raise EngineError(
            f"balancer {request.instance} is not loaded on this host: run module katran.fleet.balancer first"
        )
    yield MemoryMaps(_check_shape(state) if planned is None else _shape_of(planned))


def _check_shape(state: State) -> _CheckShape:
    if state.settings:
        return _shape_of(limits_of_settings(state.settings))
    return _CheckShape(layout.DEFAULT_SIZES, frozenset(FEATURES) - {"server_id_hash"})


def _shape_of(limits: Limits) -> _CheckShape:
    return _CheckShape(limits.sizes, limits.features or frozenset())


_WRITTEN = frozenset(
    {
        *planning.VIP_MAPS,
        *planning.ADDRESS_MAPS,
        *("reals", "ch_rings", "server_id_stats", "stats", "vip_to_down_reals_map"),
        *("lpm_src_v4", "lpm_src_v6", "server_id_map", "decap_dst"),
    }
)
"""The maps without which the engine cannot say what there is."""


def _require_maps(maps: Maps, state: State, paths: Paths) -> None:
    """EngineError where a map is gone that the loaded program has."""
    shape = _check_shape(state) if state.settings else _CheckShape(layout.DEFAULT_SIZES, frozenset(), "ipip")
    missing = sorted(_WRITTEN.intersection(layout.balancer_maps(shape)) - maps.names())
    if missing:
        raise EngineError(
            f"map {missing[0]} is not pinned in {paths.maps}, but the program uses it: run module katran.fleet.balancer"
        )


def limits_of(request: Request, state: State, maps: Maps) -> Limits:
    """What the balancer can hold: as planned, from its settings, or, where state.json was lost, from its maps."""
    if request.check and request.planned is not None:
        return request.planned
    if state.settings:
        return limits_of_settings(state.settings)
    sizes = dict(layout.DEFAULT_SIZES)
    sizes["vips"] = maps.capacity("server_id_stats")
    sizes["ring"] = maps.capacity("ch_rings") // sizes["vips"]
    sizes["reals"] = maps.capacity("reals")
    for size, name in (("cidr_vips", "vip_lpm_map"), ("source_routes", "lpm_src_v4"), ("server_ids", "server_id_map")):
        if name in maps.names():
            sizes[size] = maps.capacity(name)
    return Limits(sizes, None)


def vips_in_kernel(actual: planning.Actual) -> dict[VipKey, Vip]:
    """The VIPs as far as the kernel tells them: their reals are those in the ring, weights are unknown."""
    found = {}
    visible = planning.known_keys(actual)
    reals = {
        layout.parse_u32(key): layout.parse_real_definition(value) for key, value in actual.entries["reals"].items()
    }
    for name in planning.VIP_MAPS:
        for map_key, value in actual.entries.get(name, {}).items():
            bits, number = layout.parse_vip_meta(value)
            if map_key not in visible or number >= actual.capacity["server_id_stats"]:
                continue
            members = sorted(set(actual.ring(number).cast("Q")) & set(reals))
            down = sorted(actual.down.get(planning.down_set_key(visible[map_key]), frozenset()) & set(reals))
            found[visible[map_key]] = Vip(
                visible[map_key],
                tuple(flag for flag, bit in layout.VIP_FLAGS.items() if bits & bit),
                reals=tuple(_real_of(*reals[member]) for member in members),
                down_reals=tuple(_real_of(*reals[member]).address for member in down),
            )
    return found


def recovered(file: StateFile, state: State, maps: Maps) -> State:
    """Where state.json was lost: the state as far as the kernel tells it, so that nothing live is given up.

    The tables' own files are remembered in `file` and written with the next state. Rings are taken for what their VIPs
    lead to, so that only those change that somebody asks to change; until a run is told all VIPs, every real stays.
    """
    if not state.lost:
        return state
    actual = read_actual(maps)
    names = {map_key: str(key) for map_key, key in planning.known_keys(actual).items()}
    real_ids, numbers = planning.adopt(actual, state.real_ids, state.vip_numbers, names)
    vips = vips_in_kernel(actual)
    reals = [_real_of(*layout.parse_real_definition(value)) for value in actual.entries["reals"].values()]
    references = {
        "lost": sorted(real.address for real in reals if not real.local),
        "lost_local": sorted(real.address for real in reals if real.local),
    }
    for table in TABLES.values():
        entries = {name: maps.entries(name) for name in table.maps if name in maps.names()}
        rows = rows_in_kernel(table, {**entries, "reals": actual.entries["reals"]})
        if rows and file.read_file(f"{table.name}.json") is None:
            file.remember(f"{table.name}.json", table_text(rows))
        references[table.name] = sorted({row["real"] for row in rows if "real" in row})
    return replace(
        state,
        recovered=bool(reals),
        vips=[vip_to_config(vip) for _key, vip in sorted(vips.items())],
        real_ids=real_ids,
        vip_numbers=numbers,
        references=references,
        # Of VIPs that are gone nothing tells but this.
        learned=sorted(
            key
            for key, number in numbers.assigned.items()
            if layout.u32(number) in actual.entries.get("vip_learned", {})
        ),
        rings={str(key): _ring_in_kernel(vip, actual, real_ids, numbers) for key, vip in vips.items()},
    )


def _ring_in_kernel(vip: Vip, actual: planning.Actual, real_ids: Ids, numbers: Ids) -> list[str]:
    members = planning.ring_members(vip, {})
    ids = [real_ids.assigned.get(address, 0) for address, _weight in members]
    number = numbers.assigned.get(str(vip.key))
    inputs = planning.ring_inputs(vip, actual.ring_size, members, ids)
    return [inputs, "" if number is None or not members else actual.digest(number)]


def lost_warnings(state: State) -> list[str]:
    """What to say until all VIPs were told again."""
    if not state.recovered:
        return []
    sentence = (
        f"state.json of balancer {state.instance} was lost: weights, hashes and drained reals of its VIPs"
        " are not known; apply the whole configuration (state overridden)"
    )
    return [sentence]


def _real_of(packed: bytes, flags: int) -> VipReal:
    address = layout.unpack_address(packed, bool(flags & layout.REAL_IPV6))
    return VipReal(address, local=bool(flags & layout.REAL_LOCAL))


def overlay_of(state: State) -> dict[str, Overlay]:
    """The overlay as the last run left it."""
    return {entry["address"]: Overlay(**entry) for entry in state.overlay}


def other_references(state: State, settled: Collection[str]) -> dict[str, bool]:
    """The reals that are referred to by others than the `settled` resources → whether it is local."""
    found: dict[str, bool] = {}
    for name in sorted(set(state.references) - set(settled)):
        for address in state.references[name]:
            found[address] = found.get(address, False) or name == "lost_local"
    return found


def execute(operations: Iterable[planning.Operation], maps: Maps, ring_size: int) -> None:
    """Carry out operations in order. EngineError names the map that refused."""
    for each in operations:
        try:
            _execute_one(each, maps, ring_size)
        except OSError as error:
            sentence = f"map {planning.map_of(each)}: {map_failure(error)}; the next run goes on from here"
            raise EngineError(sentence) from error


def _execute_one(each: planning.Operation, maps: Maps, ring_size: int) -> None:
    match each:
        case planning.Put():
            maps.put(each.map, each.entries)
        case planning.Delete():
            maps.delete(each.map, each.keys)
        case planning.PutRing():
            maps.put_ring(each.number, each.slots(ring_size), each.changed)
        case planning.BlankSlots():
            maps.put_ring(each.number, planning.blank(maps.ring(each.number), each.ids), each.changed)
        case planning.PutDownSet():
            maps.put_down_set(each.key, each.ids)
        case planning.DeleteDownSet():
            maps.delete_down_set(each.key)
        case planning.PurgeFlows():
            maps.purge_flows(each.ids)
        case planning.ZeroCounters():
            maps.zero_counters(each.map, each.indexes)


def map_failure(error: OSError) -> str:
    """What the errno of a refused map operation means to an operator."""
    return {
        errno.E2BIG: "it is full (E2BIG): raise the size of the balancer that limits it",
        errno.ENOSPC: "it is full (ENOSPC): raise the size of the balancer that limits it",
        errno.EPERM: "the kernel does not permit it (EPERM): CAP_BPF is missing, or a lockdown or LSM forbids it",
        errno.EBUSY: "the kernel is busy (EBUSY)",
        errno.ENOMEM: "the kernel has no memory left (ENOMEM)",
    }.get(error.errno or 0, f"the kernel refused ({error.strerror or error})")


def read_actual(maps: Maps) -> planning.Actual:
    """What the kernel has, as far as VIPs go."""
    names = maps.names()
    read = (*planning.VIP_MAPS, *planning.ADDRESS_MAPS, *planning.NUMBER_MAPS, "reals", "vip_to_down_reals_map")
    entries: dict[str, Mapping[bytes, bytes]] = {}
    for name in read:
        if name in names:
            entries[name] = {} if name == "vip_to_down_reals_map" else maps.entries(name)
    capacity = {name: maps.capacity(name) for name in (*entries, "server_id_stats", "ch_rings")}
    return planning.Actual(
        entries=entries,
        down=maps.down_sets() if "vip_to_down_reals_map" in names else {},
        ring=maps.ring,
        capacity=capacity,
        ring_size=capacity["ch_rings"] // (capacity["server_id_stats"]),
    )


class VipRun:
    """One run of module vips: its methods are the phases, in order."""

    def __init__(self, request: Request, maps: Maps, file: StateFile, state: State, clock: Clock) -> None:
        self.request = request
        self.maps = maps
        self.file = file
        self.state = state
        self.clock = clock
        elsewhere = {name: state.references.get(name, []) for name in ("source_routes", "server_ids")}
        self.result = Result(timings=clock.timings, warnings=lost_warnings(state), references=elsewhere)

    def run(self, config: Config | None, how: str, allow_empty: bool) -> Result:
        """Bring the VIPs to what `config` and `how` say; in check mode only say what that takes."""
        with self.clock.phase("read"):
            actual = read_actual(self.maps)
            limits = limits_of(self.request, self.state, self.maps)
            known = View(vips_from_config(self.state.vips), overlay_of(self.state))
        with self.clock.phase("validate"):
            wanted = self.resolve(known, config, how, allow_empty, limits)
            # From here on a VIP that is the same is the same object, and most comparisons cost nothing.
            same = {key: known.vips[key] for key, vip in wanted.vips.items() if known.vips.get(key) == vip}
            wanted = replace(wanted, vips={**wanted.vips, **same})
        with self.clock.phase("plan"):
            names = {key: str(vip) for key, vip in planning.known_keys(actual).items()}
            real_ids, numbers = planning.adopt(actual, self.state.real_ids, self.state.vip_numbers, names)
            settled = self.settles(how)
            others = other_references(self.state, settled)
            learned = learners(
                (*known.vips.values(), *wanted.vips.values()),
                # Unknown features: what the kernel has marked is what they made of it.
                "tcp_server_id" in (limits.features or ()),
                {*self.state.learned, *self.state.learning},
            )
            marked = may_be_known(wanted.vips.values(), learned)
            plan = planning.plan_vips(
                wanted.vips, wanted.overlay, others, actual, real_ids, numbers, self.state.rings, marked
            )
            self.report(known, wanted)
            if self.state.is_sure_of("vips"):
                were_marked = may_be_known(known.vips.values(), self.state.learned)
                left = Left(known, self.state.vip_numbers, self.state.rings, were_marked)
                self.result.drift = vip_drift(left, wanted, plan, actual)
                if self.state.is_sure:
                    local = planning.references(known.vips.values())
                    ids = self.state.real_ids
                    self.result.drift += reals_drift(plan.operations, local, actual.entries["reals"], ids)
                self.result.changes += self.result.drift
            self.result.operations = planning.count(plan.operations)
            self.result.explain()
            entries = dict(zip(known.vips, self.state.vips, strict=True))
            vips = [entries[key] if key in same else vip_to_config(wanted.vips[key]) for key in sorted(wanted.vips)]
        after = replace(
            self.state,
            vips=self.state.vips if vips == self.state.vips else vips,
            overlay=[entry._asdict() for _address, entry in sorted(wanted.overlay.items())],
            real_ids=plan.real_ids.settled(),
            vip_numbers=plan.vip_numbers.settled(),
            rings=plan.rings,
            learned=learned,
            learning=[],
            interrupted=self.state.ended("vips"),
            recovered=self.state.recovered and "lost" not in settled,
            references={name: reals for name, reals in self.state.references.items() if name not in settled},
        )
        if not self.request.check and (plan.operations or self.state.lost or after != self.state):
            with self.clock.phase("write"):
                self._write(plan, after, wanted, actual.ring_size)
        return self.result

    def settles(self, how: str) -> Collection[str]:
        """The references that end with this run: a killed one's, and a lost state's where all VIPs are told."""
        told = how == "overridden" and not self.request.kept
        return ("vips", "lost", "lost_local") if told else ("vips",)

    def resolve(self, known: View, config: Config | None, how: str, allow_empty: bool, limits: Limits) -> View:
        """What is wanted."""
        bounds = replace(limits, features=None) if self.request.kept else limits
        wanted, warnings = resolve_vips(known.vips, config, how, allow_empty, bounds, self.request.min_active)
        wanted, held = hold_back_vips(known.vips, wanted, self.request.unready, self.request.unseen)
        self.result.warnings += warnings + held + idle_vips(wanted.values(), limits)
        self.result.warnings += self._without_source(wanted.values())
        rows = [ServerId(0, address) for address in self.state.references.get("server_ids", ())]
        self.result.warnings += server_id_warnings(rows, wanted.values(), limits)
        self.result.warnings += [
            f"real {address} is {entry.state} by hand since {entry.since} (katran.fleet.reals, state deleted ends it)"
            for address, entry in sorted(known.overlay.items())
        ]
        return View(wanted, known.overlay)

    def _without_source(self, vips: Iterable[Vip]) -> list[str]:
        """The families of reals that GUE has no outer source for."""
        if self.state.settings.get("encapsulation") != "gue" or "pckt_srcs" not in self.maps.names():
            return []
        sources = self.maps.entries("pckt_srcs")
        missing = {ipv6 for ipv6 in (False, True) if layout.u32(int(ipv6)) not in sources}
        found: dict[bool, str] = {}
        for vip in vips:
            for real in vip.reals:
                if (":" in real.address) in missing:
                    found.setdefault(":" in real.address, real.address)
        return [
            f"real {address} needs an IPv{6 if ipv6 else 4} source of GUE, and the balancer has none"
            f" (source_ipv{6 if ipv6 else 4})"
            for ipv6, address in sorted(found.items())
        ]

    def report(self, old: View, new: View) -> None:
        """Say what changes, in config's words."""
        changed = sorted(key for key in {*old.vips, *new.vips} if old.vips.get(key) != new.vips.get(key))
        self.result.before = [vip_to_config(old.vips[key]) for key in changed if key in old.vips]
        self.result.after = [vip_to_config(new.vips[key]) for key in changed if key in new.vips]
        self.result.changes = vip_changes(old.vips, new.vips)
        ids = self.state.real_ids.assigned
        for key in changed:
            if key not in new.vips:
                self.result.gone.append((key, None))
            elif key in old.vips:
                left = {real.address for real in old.vips[key].reals} - {real.address for real in new.vips[key].reals}
                if left:
                    self.result.gone.append((key, frozenset(ids[address] for address in left if address in ids)))

    def _write(self, plan: planning.VipPlan, after: State, wanted: View, ring_size: int) -> None:
        self.file.sweep()
        if plan.operations:
            # What was numbered in vain by a killed run stays numbered; a digest that may be outdated is forgotten.
            sure = {key: known for key, known in self.state.rings.items() if plan.rings.get(key) == known}
            # Reals that are on their way into rings, or out of them, are not another run's to give up.
            coming = {*planning.references(wanted.vips.values()), *self.state.references.get("vips", ())}
            self.file.write(
                replace(
                    self.state,
                    real_ids=plan.real_ids,
                    vip_numbers=plan.vip_numbers,
                    rings=sure,
                    interrupted=self.state.begun("vips"),
                    learning=sorted({*self.state.learning, *after.learned}.difference(self.state.learned)),
                    references={**self.state.references, "vips": sorted(coming)},
                )
            )
            execute(plan.operations, self.maps, ring_size)
        self.file.write(after)


class OverlayRun(VipRun):
    """One run of module reals: the same VIPs under another overlay."""

    def settles(self, how: str) -> Collection[str]:
        """The references that end with this run: a killed one's."""
        del how
        return ("vips",)

    def resolve(self, known: View, config: Config | None, how: str, allow_empty: bool, limits: Limits) -> View:
        """The VIPs as they are, and the overlay that is wanted."""
        since = datetime.now(tz=UTC).isoformat(timespec="seconds")
        present = planning.references(known.vips.values())
        overlay, warnings = resolve_reals(known.overlay, config, how, allow_empty, limits, since, present)
        self.result.warnings += warnings
        return View(known.vips, overlay)

    def report(self, old: View, new: View) -> None:
        """Say which reals' state changes."""
        was = {address: entry.state for address, entry in old.overlay.items()}
        now = {address: entry.state for address, entry in new.overlay.items()}
        changed = sorted(address for address in {*was, *now} if was.get(address) != now.get(address))
        self.result.before = [{"address": address, "state": was[address]} for address in changed if address in was]
        self.result.after = [{"address": address, "state": now[address]} for address in changed if address in now]
        none = "as its VIPs say"
        self.result.changes = [
            f"real {address}: {was.get(address, none)} → {now.get(address, none)}" for address in changed
        ]
        ids = self.state.real_ids.assigned
        out = frozenset(ids[each] for each in changed if now.get(each) in ("draining", "down") and each in ids)
        if out:
            self.result.gone.append((None, out))


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
    entry: Callable[[t.Any], planning.TableEntry]
    row: Callable[[t.Any], dict[str, t.Any]]
    text: Callable[[t.Any], tuple[str, str]]


def rows_in_kernel(table: Table, actual: Mapping[str, Mapping[bytes, bytes]]) -> list[dict[str, t.Any]]:
    """A table's entries as the kernel has them."""
    reals = {key: _real_of(*layout.parse_real_definition(value)).address for key, value in actual["reals"].items()}
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


def known_table(
    table: Table, file: StateFile, state: State, actual: Mapping[str, Mapping[bytes, bytes]]
) -> dict[t.Any, t.Any]:
    """A table's entries as the last run left them; where its file was lost, as the kernel has them."""
    text = file.read_file(f"{table.name}.json")
    if text is not None:
        try:
            return dict(table.item(row) for row in json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(f"{file.directory}/{table.name}.json", error) from error
    if table.name not in state.references:
        return {}
    return dict(table.item(row) for row in rows_in_kernel(table, actual))


class TableRun:
    """One run of a table's module."""

    def __init__(self, table: Table, request: Request, maps: Maps, file: StateFile, state: State, clock: Clock) -> None:
        self.table = table
        self.request = request
        self.maps = maps
        self.file = file
        self.state = state
        self.clock = clock
        self.result = Result(timings=clock.timings, warnings=lost_warnings(state))

    def run(self, config: Config | None, how: str, allow_empty: bool) -> Result:
        """Bring the table to what `config` and `how` say; in check mode only say what that takes."""
        with self.clock.phase("read"):
            limits = limits_of(self.request, self.state, self.maps)
            names = [name for name in self.table.maps if name in self.maps.names()]
            actual = {name: self.maps.entries(name) for name in (*names, "reals")}
            capacity = {name: self.maps.capacity(name) for name in (*names, "reals")}
            on_file = self.file.read_file(f"{self.table.name}.json") is not None
            known = known_table(self.table, self.file, self.state, actual)
        with self.clock.phase("validate"):
            wanted, warnings = self.table.resolve(known, config, how, allow_empty, limits)
            told = wanted
            wanted, early = hold_back_rows(known, told, self.request.unready)
            waiting = [
                f"{self.table.noun} {name}: waits for {real}, not ready (unready_reals)"
                for name, real in (self.table.text(told[key]) for key in early)
            ]
            self.result.warnings += warnings + shortened(waiting, f"and {{}} more {self.table.name}")
            if self.table.name == "server_ids":
                vips = vips_from_config([entry for entry in self.state.vips if ":" in entry["address"]])
                self.result.warnings += server_id_warnings(wanted.values(), vips.values(), limits)
            if wanted and not names:
                if wanted != known:
                    raise EngineError(f"{self.table.name}: needs feature {self.table.feature}")
                self.result.warnings.append(idle_table(self.table, len(wanted)))
        with self.clock.phase("plan"):
            plan = planning.plan_table(
                map(self.table.entry, wanted.values()),
                names,
                self._others(),
                actual,
                capacity,
                self._ids(actual),
            )
            self._report(known, wanted, plan, actual)
        references = sorted({item.real for item in wanted.values() if getattr(item, "real", None)})
        after = replace(
            self.state,
            real_ids=plan.real_ids.settled(),
            interrupted=self.state.ended(self.table.name),
            references={**self.state.references, self.table.name: references},
        )
        if not self.request.check and (plan.operations or not on_file or known != wanted or after != self.state):
            with self.clock.phase("write"):
                self._write(plan, wanted, after)
        return self.result

    def _others(self) -> dict[str, bool]:
        """Reals that VIPs and the other resources refer to."""
        found = other_references(self.state, (self.table.name,))
        vips: dict[str, bool] = {}
        for entry in self.state.vips:
            for real in entry["reals"]:
                vips[real["address"]] = vips.get(real["address"], False) or real["local"]
            for address in entry["down_reals"]:
                found.setdefault(address, False)
        return {**found, **vips}

    def _ids(self, actual: Mapping[str, Mapping[bytes, bytes]]) -> Ids:
        empty = planning.Actual({"reals": actual["reals"]}, {}, self.maps.ring, {}, 0)
        return planning.adopt(empty, self.state.real_ids, self.state.vip_numbers, {})[0]

    def _report(
        self,
        known: Mapping[t.Any, t.Any],
        wanted: Mapping[t.Any, t.Any],
        plan: planning.TablePlan,
        actual: Mapping[str, Mapping[bytes, bytes]],
    ) -> None:
        changed = sorted((key for key in {*known, *wanted} if known.get(key) != wanted.get(key)), key=self._order)
        self.result.before = [self.table.row(known[key]) for key in changed if key in known]
        self.result.after = [self.table.row(wanted[key]) for key in changed if key in wanted]
        for key in changed:
            old, new = known.get(key), wanted.get(key)
            name = self.table.text(new if old is None else old)[0]
            was, now = (self.table.text(item)[1] if item is not None else None for item in (old, new))
            verb = f"added ({now})" if was is None else "removed" if now is None else f"{was} → {now}"
            self.result.changes.append(f"{self.table.noun} {name}: {verb}")
        self.result.operations = planning.count(plan.operations)
        if not plan.operations:
            return
        if not self.state.is_sure_of(self.table.name):
            self.result.explain()
            return
        items = (item for key in changed for item in (known.get(key), wanted.get(key)) if item is not None)
        explained = {(entry.map, entry.key) for entry in map(self.table.entry, items)}
        self.result.drift = table_drift(plan, explained, actual, self.table.noun, table_key)
        if self.state.is_sure:
            self.result.drift += reals_drift(plan.operations, self._others(), actual["reals"], self.state.real_ids)
        self.result.changes += self.result.drift
        self.result.explain()

    @staticmethod
    def _order(key: t.Any) -> tuple[int, t.Any]:
        return (0, key) if isinstance(key, int) else (1, str(key))

    def _write(self, plan: planning.TablePlan, wanted: Mapping[t.Any, t.Any], after: State) -> None:
        self.file.sweep()
        if plan.operations:
            # Until the end the old entries' reals count as referred to, and the new ones' as well.
            mine = {*self.state.references.get(self.table.name, ()), *after.references[self.table.name]}
            self.file.write(
                replace(
                    self.state,
                    real_ids=plan.real_ids,
                    interrupted=self.state.begun(self.table.name),
                    references={**self.state.references, self.table.name: sorted(mine)},
                )
            )
            execute(plan.operations, self.maps, 0)
        rows = [self.table.row(wanted[key]) for key in sorted(wanted, key=self._order)]
        self.file.write_file(f"{self.table.name}.json", table_text(rows))
        self.file.write(after)


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


def _source_route_entry(item: SourceRoute) -> planning.TableEntry:
    address = item.prefix.address
    if address.ipv6:
        return planning.TableEntry("lpm_src_v6", layout.lpm_key(address.packed, item.prefix.length), item.real)
    return planning.TableEntry("lpm_src_v4", layout.lpm_key(address.packed[:4], item.prefix.length), item.real)


def _decap_entry(item: DecapDestination) -> planning.TableEntry:
    value = layout.u32(layout.DECAP_EGRESS if item.egress else 0)
    return planning.TableEntry("decap_dst", layout.pack_address(item.address), None, value)


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
        lambda item: planning.TableEntry("server_id_map", layout.u32(item.id), item.real),
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


def idle_resources(file: StateFile, state: State, limits: Limits) -> list[str]:
    """What was applied to a program that could do more than one of these limits."""
    found = idle_vips(vips_from_config(state.vips).values(), limits)
    for table in TABLES.values():
        if table.feature is not None and not limits.has(table.feature):
            rows = known_table(table, file, state, {"reals": {}})
            if rows:
                found.append(idle_table(table, len(rows)))
    return found


def features_in_use(file: StateFile, state: State, resources: Collection[str]) -> frozenset[str]:
    """The features that what is applied of these resources can use: who reads a server id, the ids do not tell."""
    rows = {name: known_table(table, file, state, {"reals": {}}) for name, table in TABLES.items() if name in resources}
    routes, destinations = (list(rows.get(name, ())) for name in ("source_routes", "decap_destinations"))
    found = features_needed(state.vips if "vips" in resources else (), routes, destinations)
    return frozenset([*found, *(("tcp_server_id", "server_id_hash") if rows.get("server_ids") else ())])


def apply_resource(
    name: str, request: Request, config: Config | None, how: str, allow_empty: bool, purge: Purge | None = None
) -> Result:
    """Apply one resource: `config` with state `how`, and `purge` the flows of what goes.

    Every failure is an exception with one sentence.
    """
    require_capabilities()
    with locked(request.instance, not request.check, request.lock_timeout):
        return apply_locked(name, request, config, how, allow_empty, purge)


@contextmanager
def _told(instance: str) -> Iterator[None]:
    """A map that does not let itself be opened or read, in a sentence; one that refuses a write has its own."""
    try:
        yield
    except OSError as error:
        raise EngineError(f"the maps of balancer {instance} cannot be read: {error.strerror or error}") from error


def apply_locked(
    name: str, request: Request, config: Config | None, how: str, allow_empty: bool, purge: Purge | None = None
) -> Result:
    """The same for a caller that holds the lock."""
    file = StateFile(request.instance, request.bpffs)
    state = file.read()
    if not request.check:
        Swap(file).recover(state)
    with _told(request.instance), open_maps(request, state) as maps:
        state = recovered(file, state, maps)
        clock = Clock()
        if name in ("vips", "reals"):
            kind = VipRun if name == "vips" else OverlayRun
            result = kind(request, maps, file, state, clock).run(config, how, allow_empty)
        else:
            result = TableRun(TABLES[name], request, maps, file, state, clock).run(config, how, allow_empty)
        if purge is not None and result.gone and isinstance(maps, KernelMaps):
            purged = purge(maps, result.gone, request.check)
            for table, number in purged.items():
                result.operations[table] = result.operations.get(table, 0) + number
            if purged:
                result.changes.append(f"{sum(purged.values())} flows of what goes purged")
        return result
