# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What probes say of a real: answers, and what follows from several in a row. Pure: no I/O, no clock."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

STATES = ("active", "draining", "down")


class Answer(t.NamedTuple):
    """What one probe found.

    `state`: active, draining or down, "" where the probe could not be made and so proves nothing; `reason`: why, in a
    few words; `took`: seconds; `expires`: when the certificate ends (seconds since the epoch), 0 where there is none.
    """

    state: str
    reason: str = ""
    took: float = 0.0
    expires: float = 0.0


class Change(t.NamedTuple):
    """One change of a verdict: when (seconds since the epoch), to which state, and why."""

    at: float
    state: str
    reason: str


@dataclass(frozen=True)
class Health:
    """What is known of a target.

    `state`: the verdict, "" before the first; `since`: when it became so (seconds since the epoch); `reason`: why.
    `streak`: the state that the last answers agreed on, `count` of them in a row. `last`: the last answer, `asked`:
    when it was. `history`: the last 20 changes.
    """

    state: str = ""
    since: float = 0.0
    reason: str = ""
    streak: str = ""
    count: int = 0
    last: Answer | None = None
    asked: float = 0.0
    history: tuple[Change, ...] = ()
