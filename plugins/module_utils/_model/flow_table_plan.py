# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection tables: each CPU that receives has one, and their sizes add up to what the settings say.

The global table is one that all CPUs share: packets only read it, and whichever CPU a flow's packets come to finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .balancer_snapshot import BalancerSnapshot
from .balancer_steps import MakeTables, SettleTables
from .errors import ProgramError
from .map_specs import MAX_CPUS, NUMA_NODE, balancer_maps
from .program_plan import ProgramPlan
from .settings import BalancerSettings
from .snapshot import MapInfo
from .wanted import Wanted

FLOW_TABLES = {"lru_mapping": "flows", "global_lru_maps": "global_flows", "flow_debug_maps": "flows"}
"""Map of per-CPU tables → the size that is shared out among them."""

SHARED = "global_lru_maps"
"""The map whose slots all have one table, of the whole size."""


def table_sizes(total: int, cpus: Iterable[int]) -> dict[int, int]:
    """CPU → entries of its table; their sum is `total`, or one each where that is less."""
    numbers = sorted(cpus)
    share, rest = divmod(total, max(len(numbers), 1))
    return {cpu: max(share + (index < rest), 1) for index, cpu in enumerate(numbers)}


def cpus_of(settings: BalancerSettings, forwarding: Iterable[int], possible: int) -> tuple[int, ...]:
    """The CPUs that are to have a table. ProgramError where one does not exist. `forwarding`: those that receive."""
    cores = settings.forwarding_cores
    if isinstance(cores, str):
        return tuple(cpu for cpu in forwarding if cpu < MAX_CPUS)
    beyond = [cpu for cpu in cores if cpu >= possible]
    if beyond:
        raise ProgramError(f"forwarding_cores: CPU {beyond[0]} does not exist on this host (0 to {possible - 1})")
    return tuple(sorted(cores))


def wanted_tables(
    settings: BalancerSettings, name: str, cpus: Iterable[int], there: Mapping[int, MapInfo]
) -> dict[int, int]:
    """CPU → entries of its table in a map of tables."""
    chosen = set(cpus)
    if isinstance(settings.forwarding_cores, str):
        # Interrupts may wander: a CPU that received once may do so again.
        chosen |= set(there)
    size = settings.sizes[FLOW_TABLES[name]]
    return dict.fromkeys(sorted(chosen), size) if name == SHARED else table_sizes(size, chosen)


def shrinking(settings: BalancerSettings, cpus: Iterable[int], there: Mapping[int, MapInfo]) -> dict[int, MapInfo]:
    """CPU → its connection table, where it is to be smaller."""
    shares = wanted_tables(settings, "lru_mapping", cpus, there)
    return {cpu: info for cpu, info in there.items() if cpu in shares and shares[cpu] < info.entries}


def numa_flag(settings: BalancerSettings, seen: BalancerSnapshot) -> int:
    """The flag of tables that have a memory node of their own: all tables of a map of maps have it, or none."""
    there = seen.tables.get("lru_mapping")
    if there:
        return next(iter(there.values())).flags & NUMA_NODE
    return NUMA_NODE if settings.numa == "auto" and seen.nodes > 1 else 0


def plan_tables(plan: ProgramPlan, wanted: Wanted, seen: BalancerSnapshot) -> None:
    """Make, replace and take away tables."""
    settings = wanted.settings
    cpus = cpus_of(settings, seen.cpus, seen.possible)
    gone: dict[str, tuple[int, ...]] = {}
    for name, spec in balancer_maps(settings).items():
        if name not in FLOW_TABLES or spec.inner is None:
            continue
        there = seen.tables.get(name, {})
        shares = wanted_tables(settings, name, cpus, there)
        make = {cpu: entries for cpu, entries in shares.items() if cpu not in there or there[cpu].entries != entries}
        if name == SHARED and (make or len({there[cpu].id for cpu in shares}) > 1):
            make = shares
        if make:
            size, by_node = f"sizes.{FLOW_TABLES[name]}", bool(numa_flag(settings, seen))
            step = MakeTables(name, spec.inner, make, size, by_node, shared=name == SHARED)
            some, most = ", ".join(map(str, make)), max(make.values())
            told = f"a table in {name} for CPU {some} together of {most} flows"
            plan.add(step, f"create {told if step.shared else f'tables in {name} for CPU {some} of {most} flows each'}")
            if name == "lru_mapping":
                plan.warnings += _loss(make, seen)
        left = tuple(sorted(set(there).difference(shares)))
        if left:
            gone[name] = left
            plan.changes.append(f"remove tables in {name} for CPU {', '.join(map(str, left))}")
    if seen.unfinished:
        plan.changes.append("copy the rest of the flows that a killed run was copying")
    if gone or seen.unfinished or plan.of(MakeTables):
        plan.add(SettleTables(gone, seen.unfinished))


def _loss(make: Mapping[int, int], seen: BalancerSnapshot) -> list[str]:
    return [
        f"sizes.flows: the table of CPU {cpu} has {seen.flows[cpu]} flows and the new one room for {entries}:"
        " the rest is chosen anew"
        for cpu, entries in make.items()
        if seen.flows.get(cpu, 0) > entries
    ]
