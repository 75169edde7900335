# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What examines one thing of a host, and what all examiners share."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from ..._model.doctor.finding import Finding
from ..request import Request


@dataclass(frozen=True)
class Probing:
    """Which probe flows are sent: to a VIP's name and a real's address alone ("": any), and to so many pairs at most.

    `seconds`: how long an answer is waited for.
    """

    vip: str = ""
    real: str = ""
    most: int = 256
    seconds: float = 0.5


@dataclass
class Visit:
    """One examination. `probing`: None where no probe flow is to be sent.

    `seen`: JSON-able facts, which the comparison of all hosts goes by; each role writes below its own name. `kept`:
    what must stay open until all examiners are done. `services`: (address, protocol, port) of what a real has to serve,
    as far as whoever asks knows it. `proves`: whether the smallest program is compiled, loaded and run.
    """

    request: Request
    probing: Probing | None
    seen: dict[str, t.Any] = field(default_factory=dict)
    kept: ExitStack = field(default_factory=ExitStack)
    services: Sequence[tuple[str, int, int]] = ()
    proves: bool = False


class Examiner(t.NamedTuple):
    """Looks at one thing. `what`: how sentences call it. `unlocked`: it runs once the instance's lock is free again.

    What it raises becomes a finding: a FleetError or OSError is a sentence, anything else a fault of ours.
    """

    what: str
    look: Callable[[], Iterable[Finding]]
    unlocked: bool = False


Role = Callable[[Visit], list[Examiner]]
"""The examiners of a role; none where the host does not have it for this instance."""
