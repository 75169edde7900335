# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Going back to an applied configuration: what of its program and settings can come back to this host."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .bytecode import Bytecode
from .settings import parse_settings, with_program_of
from .snapshot import Missing
from .state import State
from .wanted import Wanted


class ProgramBack(t.NamedTuple):
    """`wanted`: what module balancer is to bring, None where nothing differs; `warnings`: what does not come back."""

    wanted: Wanted | None
    warnings: list[str]


def program_back(now: State, then: State | None, previous: Bytecode | Missing) -> ProgramBack:
    """What of the program and settings of `then` can come back. None: nothing was there.

    Without a compiler there are two programs: the present one, and the one before the last upgrade. The settings that
    go with a program come and stay with it, the others are those of `then`.
    """
    if not now.settings or not now.program.tag:
        return ProgramBack(None, [])
    if then is None or not then.settings or not then.program.tag:
        stays = "no balancer was there then: its program stays, and balances nothing (katran.fleet.remove removes it)"
        return ProgramBack(None, [stays])
    before, warnings, back = now.program.previous, [], False
    program, host = parse_settings(now.settings), parse_settings(then.settings)
    source_dir = now.settings["source_dir"]
    if then.program.source_digest != now.program.source_digest:
        back = (
            before is not None
            and before.source_digest == then.program.source_digest
            and not before.migrated
            and isinstance(previous, Bytecode)
        )
        if back and before is not None:
            program, source_dir = parse_settings(before.settings), before.settings["source_dir"]
        else:
            warnings.append(_lost(now, then))
    wanted = Wanted(with_program_of(program, host), then.settings["state"], source_dir, kept=True, back=back)
    # A killed rollback may have left something undone after the program had changed over.
    if not back and not now.program.rolled_back_from and _same(wanted, now):
        return ProgramBack(None, warnings)
    return ProgramBack(wanted, warnings)


def _same(wanted: Wanted, now: State) -> bool:
    there = Wanted(parse_settings(now.settings), now.settings["state"], now.settings["source_dir"])
    return replace(wanted, kept=False).to_config() == there.to_config()


def _lost(now: State, then: State) -> str:
    before = now.program.previous
    if before is not None and before.source_digest == then.program.source_digest and before.migrated:
        why = f"its maps were migrated since ({before.migrated}); set the sizes back"
    else:
        why = "only the program before the last upgrade is kept; deploy the inventory and the collection of then"
    return f"the program stays as it is: that of then (tag {then.program.tag}) cannot come back, because {why}"
