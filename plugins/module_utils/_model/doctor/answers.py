# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible has of a host's answer to module doctor_info, as a report. Pure."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .finding import Finding
from .fleet import Report

DECAPSULATED = ("decap_v4", "decap_v6")
_LONGEST = 300


@dataclass(frozen=True)
class Answered:
    """A host. `result`: of module doctor_info, or of a task that failed before; `after`: of its counters, later."""

    host: str
    roles: Collection[str]
    result: Mapping[str, t.Any]
    after: Mapping[str, t.Any] | None = None

    @property
    def arrived(self) -> int | None:
        """The packets that decap took out of tunnels between the two; None where that is not known."""
        before = (self.result.get("seen") or {}).get("real", {}).get("counters")
        later = (self.after or {}).get("counters")
        if not before or not later or DECAPSULATED[0] not in before:
            return None
        return sum(int(later.get(name, 0)) - int(before.get(name, 0)) for name in DECAPSULATED)


def report_of(answered: Answered) -> Report:
    """The report. A host that did not answer has said why, in Ansible's words."""
    result = answered.result
    if "findings" not in result:
        # Of a module that failed altogether, what it wrote last names the fault.
        wrote = str(result.get("module_stderr") or result.get("exception") or "").strip().rpartition("\n")[2]
        words = " ".join(str(result.get("msg") or wrote or "no reason was given").split())
        return Report(
            answered.host,
            answered.roles,
            words[:_LONGEST],
            reached=_reached(result),
        )
    findings = tuple(
        Finding(**{name: each[name] for name in Finding._fields if name in each}) for each in result["findings"]
    )
    return Report(answered.host, answered.roles, "", findings, result["seen"], _skew(result))


def _reached(result: Mapping[str, t.Any]) -> bool:
    """Whether a host without an answer was reached: its task failed, and not for want of time."""
    return "failed" in result and not result.get("unreachable") and "timedout" not in result


def _skew(result: Mapping[str, t.Any]) -> float:
    """Seconds that the host's clock is ahead of the controller's: it looked between being asked and answering."""
    at, asked, later = (result["seen"].get("at"), result.get("asked"), result.get("answered"))
    if at is None or asked is None or later is None:
        return 0.0
    return float(at - later) if at > later else float(min(at - asked, 0.0))
