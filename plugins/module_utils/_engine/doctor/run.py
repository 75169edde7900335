# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Examine this host: each examiner looks at one thing, and one that fails is a finding like any other."""

from __future__ import annotations

import os
import platform
import time
import typing as t
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ..._kernel.lock import locked
from ..._model.doctor.finding import NOT_EXAMINED, Finding, in_order
from ..._model.errors import EngineError, FleetError, StateError
from ..._program.requirements import require_capabilities
from ..request import Request
from . import balancer, host, real
from .examiner import Examiner, Probing, Role, Visit

ROLES: dict[str, Role] = {"balancer": balancer.examiners, "real": real.examiners}
"""What a host may be for an instance, and who examines that."""


class NothingThereError(EngineError):
    """The host is neither balancer nor real for the instance."""


@dataclass(frozen=True)
class Examination:
    """What was found, errors first, and JSON-able facts for a comparison of hosts.

    `seen`: `host`, `instance`, `at` (seconds since the epoch), `roles`, `versions`, and of each role what it saw.
    """

    findings: tuple[Finding, ...]
    seen: dict[str, t.Any]

    @property
    def status(self) -> int:
        """0 nothing was found, 1 something, 2 nothing but that something could not be examined."""
        names = {finding.name for finding in self.findings}
        return 0 if not names else 2 if names == {NOT_EXAMINED} else 1


def examine(
    request: Request, probe: bool | Probing = True, services: Sequence[tuple[str, int, int]] = (), proves: bool = False
) -> Examination:
    """Examine an instance on this host, and the host itself. Nothing is changed, no map and no file.

    `probe`: whether a flow is sent to each real of each VIP, or to which. `services`, `proves`: as in Visit.
    NothingThereError where there is no such instance.
    """
    require_capabilities()
    wanted = Probing() if probe is True else probe or None
    visit = Visit(request, wanted, services=services, proves=proves)
    visit.seen |= {
        "host": os.uname().nodename,
        "instance": request.instance,
        "at": time.time(),
        "roles": [],
        "versions": {"kernel": os.uname().release, "python": platform.python_version()},
    }
    findings: list[Finding] = []
    with visit.kept:
        later: list[Examiner] = []
        try:
            with locked(request.instance, False, request.lock_timeout):
                for examiner in _examiners(visit, findings):
                    if examiner.unlocked:
                        later.append(examiner)
                    else:
                        findings += _looked(examiner)
        except StateError as error:
            # Of the lock alone: what an examiner raises is a finding already.
            findings.append(_failed(Examiner(f"instance {request.instance}", tuple), str(error)))
        for examiner in later:
            findings += _looked(examiner)
    return Examination(tuple(in_order(findings)), visit.seen)


def _ask(role: Role, visit: Visit, there: list[Examiner]) -> Iterable[Finding]:
    """Add to `there` who examines a role."""
    there += role(visit)
    return ()


def _examiners(visit: Visit, findings: list[Finding]) -> Iterator[Examiner]:
    found: list[Examiner] = []
    for name, role in ROLES.items():
        there: list[Examiner] = []
        faults = _looked(Examiner(f"the {name}", partial(_ask, role, visit, there)))
        if there or faults:
            visit.seen["roles"].append(name)
        findings += faults
        found += there
    if not visit.seen["roles"]:
        raise NothingThereError(
            f"there is no instance {visit.request.instance} on this host, neither balancer nor real"
        )
    yield from host.examiners(visit)
    yield from found


def _looked(examiner: Examiner) -> list[Finding]:
    """What an examiner finds; whatever it raises is a finding."""
    found: list[Finding] = []
    try:
        # What it found before it failed counts: extend() keeps what a generator gave.
        found.extend(examiner.look())
    except (FleetError, OSError) as error:
        found.append(_failed(examiner, str(error)))
    except Exception as error:  # noqa: BLE001 - a fault of ours in one must not hide what the others find
        found.append(_failed(examiner, f"{type(error).__name__}: {error}"))
    return found


def _failed(examiner: Examiner, why: str) -> Finding:
    return Finding(
        NOT_EXAMINED,
        examiner.what,
        f"{examiner.what} could not be examined: {why}",
        "see to what the sentence names, then run katran doctor again; if it stays, report it with katran doctor"
        " --bundle",
    )
