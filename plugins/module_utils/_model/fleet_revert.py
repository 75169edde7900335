# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking back a run in the whole fleet: what is asked, and which run is the last one of all balancers."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping

from .audit import is_run
from .errors import ConfigError
from .history import APPLIED, ENOUGH, Entry

RESTING = frozenset({"reals"})
"""Modules whose word a revert leaves alone: a run of them only is none that could be taken back."""


class Aim(t.NamedTuple):
    """What to go back to: before a run, or a number; neither: before the last run of the fleet."""

    before_run: str | None = None
    to: int | None = None


def read_aim(before_run: t.Any, to: t.Any) -> Aim:
    """What the operator says. ConfigError where it cannot be meant."""
    if before_run is not None and to is not None:
        raise ConfigError("katran_rollback_run and katran_rollback_to exclude each other: give one of them, or neither")
    if before_run is not None:
        text = str(before_run)
        if not is_run(text) or len(text) < ENOUGH:
            raise ConfigError(
                f"katran_rollback_run is not the id of a run, or the first {ENOUGH} characters of one (katran history)"
            )
        return Aim(before_run=text)
    if to is not None:
        # On the command line every value is a text.
        text = str(to)
        if isinstance(to, bool) or not re.fullmatch(r"0|[1-9][0-9]{0,8}", text, re.ASCII):
            raise ConfigError("katran_rollback_to is not the number of an applied configuration (katran history)")
        return Aim(to=int(text))
    return Aim()


def told_of(entry: Entry) -> dict[str, t.Any]:
    """What module history_info tells of an entry."""
    return {
        "number": entry.number,
        "kind": entry.kind,
        "began": entry.began,
        "run": entry.run,
        "user": entry.user,
        "revision": entry.revision,
        "modules": sorted({step.module for step in entry.steps}),
        "what": entry.summary,
        "seconds": entry.seconds,
    }


Told = Mapping[str, t.Any]


def newest(histories: Iterable[Iterable[Told]]) -> Told | None:
    """The last entry of all balancers that a revert can take back; None where there is none.

    Of runs, one is the last by the clocks of the hosts.
    """
    found = [
        entry
        for entries in histories
        for entry in entries
        if entry["kind"] == APPLIED and entry["run"] and not RESTING.issuperset(entry["modules"])
    ]
    return max(found, key=lambda entry: str(entry["began"]), default=None)
