# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Program root: what is wanted of it, what is there, and the steps between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from .errors import ProgramError
from .map_specs import ROOT_MAPS
from .program_plan import (
    Kind,
    Places,
    ProgramPlan,
    plan_absence,
    plan_interfaces,
    plan_program,
    present,
)
from .root_settings import RootRecord, RootSettings
from .snapshot import ProgramSnapshot
from .steps import Attach, Conclude, Intend

PROGRAM = "root"


@dataclass(frozen=True)
class RootSnapshot(ProgramSnapshot):
    """What there is of root. `slots`: position → the id of the program that runs there."""

    slots: Mapping[int, int] = field(default_factory=dict)


def plan_root(settings: RootSettings, record: RootRecord, seen: RootSnapshot) -> ProgramPlan:
    """Bring root to the interfaces; what is in its slots stays. ProgramError where another's program is there."""
    plan = ProgramPlan()
    # What is kept has no sources.
    interfaces = present(plan, settings.interfaces, seen, boot=not settings.source_dir)
    plan.need(seen.bpffs, seen.attached, seen.digest)
    kind = Kind(PROGRAM, ROOT_MAPS, settings.source_dir, {})
    current = plan_program(plan, kind, seen, record.source_digest)
    places = Places(interfaces, settings.mode, PROGRAM, residents=seen.residents, boot=not settings.source_dir)
    plan_interfaces(plan, places, seen.attachments, seen.ours(record), current)
    plan.before = {"interfaces": record.interfaces, "mode": record.mode} if record.mode else {}
    plan.after = {"interfaces": list(settings.interfaces), "mode": settings.mode}
    if plan.of(Attach):
        interfaces = sorted({*record.interfaces, *settings.interfaces})
        plan.add(Intend(replace(record, interfaces=interfaces)))
    ended = replace(record, interfaces=list(settings.interfaces), mode=settings.mode)
    ended.source_dir = settings.source_dir or record.source_dir
    if plan.changes or ended != record:
        plan.add(Conclude(ended))
    return plan


def plan_removal(record: RootRecord, seen: RootSnapshot, files: Collection[str]) -> ProgramPlan:
    """Take root off the host; ProgramError while a slot is in use: its program would stop running unnoticed."""
    if seen.slots:
        some = ", ".join(f"slot {position} (program id {seen.slots[position]})" for position in sorted(seen.slots))
        raise ProgramError(f"program root still runs {some}: remove that first")
    plan = ProgramPlan()
    plan_absence(plan, PROGRAM, seen, record, files)
    return plan
