# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people and programs are shown of checks: a line for each real of a VIP that has a check. Pure: no clock."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from .checks_record import STALE_SECONDS, ChecksRecord
from .health import Answer, Change, Health
from .judging import EXTERNAL, Checked, epoch, iso, judge
from .overlay import Overlay
from .verdicts import Verdict
from .vips import VipKey

UNKNOWN = "unknown"
"""The state of a real that was never judged."""


@dataclass(frozen=True)
class CheckRow:
    """A real of a VIP that has a check.

    `state`: the verdict as applied, or unknown; `since`: seconds since the epoch, 0 where nobody knows; `reason`: why;
    `share`: per cent of its weight; `wanted`: another verdict that is about to be applied, "" where there is none;
    `last`: the last answer, `asked`: when it was (epoch, 0: never); `history`: of what was asked, the oldest first.
    """

    vip: str
    real: str
    type: str
    state: str
    since: float = 0.0
    reason: str = ""
    share: int = 100
    wanted: str = ""
    last: Answer | None = None
    asked: float = 0.0
    history: tuple[Change, ...] = ()

    def to_data(self) -> dict[str, t.Any]:
        """For programs: times in ISO 8601, null where there is none."""
        last = None
        if self.last is not None:
            last = {**self.last._asdict(), "at": iso(self.asked), "expires": _iso(self.last.expires)}
        history = [{**change._asdict(), "at": iso(change.at)} for change in self.history]
        found = {**asdict(self), "since": _iso(self.since), "last": last, "history": history}
        return {name: value for name, value in found.items() if name != "asked"}


def _iso(at: float) -> str | None:
    return iso(at) if at else None


class Seen(t.NamedTuple):
    """Where a look at one balancer's checks found it. `record`: None where the agent never wrote."""

    checked: Checked
    overlay: Mapping[str, Overlay]
    stored: Sequence[Verdict]
    record: ChecksRecord | None

    def rows(self, wanted: Callable[[VipKey, str], bool]) -> list[CheckRow]:
        """The rows of the (VIP, real) that are wanted, sorted by VIP, reals as the VIP lists them."""
        record = self.record or ChecksRecord()
        applied = {(each.vip, each.real): each for each in self.stored}
        judged = judge(self.checked, self.overlay, record.healths, record.words, self.stored, record.at)
        coming = {(each.vip, each.real): each for each in judged.verdicts} if self.record else applied
        found = []
        for key in sorted(self.checked.vips):
            kind = self.checked.check(key).probe.type
            for real in self.checked.listed[key]:
                if wanted(key, real):
                    target = self.checked.targets.get((key, real))
                    health = Health() if target is None else record.healths.get(target, Health())
                    pair = str(key), real
                    row = _row(pair, kind, health, applied.get(pair))
                    found.append(_with_coming(row, applied.get(pair), coming.get(pair)))
        return found

    def age(self, now: float) -> float:
        """Seconds since the agent wrote; a clock that went back since makes none."""
        return max(0.0, now - self.record.at) if self.record else float("inf")

    def is_alive(self, now: float) -> bool:
        """Whether the agent wrote lately."""
        return self.age(now) <= STALE_SECONDS


def _row(pair: tuple[str, str], kind: str, health: Health, verdict: Verdict | None) -> CheckRow:
    row = CheckRow(*pair, kind, UNKNOWN, last=health.last, asked=health.asked, history=health.history)
    if verdict is not None:
        since = epoch(verdict.since)
        return replace(row, state=verdict.state, since=since, reason=verdict.reason, share=verdict.share)
    if kind == EXTERNAL:
        return replace(row, state="active", reason="nobody speaks against it")
    if not health.state:
        return replace(row, reason="not judged yet")
    # Where its probes found another state, that is about to be applied.
    since = health.since if health.state == "active" else 0.0
    return replace(row, state="active", since=since, reason=health.reason)


def _with_coming(row: CheckRow, applied: Verdict | None, coming: Verdict | None) -> CheckRow:
    state = coming.state if coming else "active"
    return replace(row, wanted=state) if (applied.state if applied else "active") != state else row


def exit_status(rows: Iterable[CheckRow]) -> int:
    """0 where all reals are active, 1 where some are not, 2 where that is not known of some."""
    states = {row.state for row in rows} | {row.wanted for row in rows if row.wanted}
    if UNKNOWN in states:
        return 2
    return 1 if states - {"active"} else 0
