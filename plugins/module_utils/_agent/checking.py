# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One balancer's checks: what is probed, what is known of it, and the verdicts that follow."""

from __future__ import annotations

import math
import time
import typing as t
from collections.abc import Callable, Mapping, Sequence

from .._kernel.run_files import RunFiles
from .._model.checks import Target
from .._model.checks_record import ChecksRecord
from .._model.errors import StateError
from .._model.health import Answer, Health, first_due, next_due, phase, step
from .._model.judging import Checked, Judged, carried, judge
from .._model.verdicts import Verdict
from .feeders import Feeders
from .known import Known

_NOTHING = Health()


class Checks:
    """Probes' answers and others' words in, verdicts out. `salt`: what tells balancers apart, to spread probes.

    `tell`: told one sentence of each thing that is wrong, when it begins to be.
    """

    def __init__(self, files: RunFiles, salt: str, tell: Callable[[str], None]) -> None:
        self._files, self._salt, self._tell = files, salt, tell
        self.known = Known()
        self.checked = Checked.of({})
        self.healths: dict[Target, Health] = {}
        self.judged = Judged((), math.inf, frozenset())
        self.feeders = Feeders(files, tell)
        self._resumed: dict[Target, Health] = {}
        self._places: dict[Target, float] = {}
        self._names: Mapping[Target, Sequence[str]] = {}
        self.stale = True
        """Whether something happened that may change verdicts."""
        self.ready = False
        """Whether verdicts were judged: until then, those that are applied hold."""
        self.version = 0
        """Differs once a verdict of a target is another."""

    def resume(self) -> None:
        """Go on from what an earlier agent knew."""
        record: ChecksRecord | None = None
        try:
            record = self._files.read_checks()
        except StateError as error:
            self._tell(str(error))
        if record is not None:
            self._resumed = record.resumed()
        self.feeders.resume(record.words if record is not None else {})

    def take(self, known: Known) -> None:
        """Another state.json. What is known of targets that stay is kept."""
        before, self.known = self.checked, known
        if before.vips != {key: vip for key, vip in known.vips.items() if vip.check is not None}:
            self.checked = Checked.of(known.vips)
            self.healths = carried(before, self.checked, {**self._resumed, **self.healths})
            names = {key: str(key) for key in self.checked.vips}
            self._names = {target: [names[key] for key, _real in pairs] for target, pairs in self.checked.pairs.items()}
            self._resumed = {}
        self.stale = True
        self.version += 1

    def first(self, now: float) -> dict[Target, float]:
        """What is probed → when first, in loop time."""
        self._places = {target: phase(target, self._salt) for target in self.checked.pairs}
        return {target: first_due(target, self._salt, now) for target in self.checked.pairs}

    def answered(self, target: Target, answer: Answer, started: float, now: float) -> float:
        """Take an answer; when the target is due again, in loop time."""
        before = self.healths.get(target, _NOTHING)
        health = step(before, target.probe, answer, time.time())
        if target in self.checked.pairs:
            self.healths[target] = health
            if health.state != before.state:
                self.stale = True
                self.version += 1
        return next_due(health, target.probe, started, now, self._places.get(target))

    def read_words(self) -> None:
        """Look whether others say something else."""
        if self.feeders.look(self.checked):
            self.stale = True

    def judge(self, stored: Sequence[Verdict]) -> list[tuple[Verdict | None, Verdict | None]]:
        """Judge anew; which verdicts are others than before, as (before, after). `stored`: as last applied."""
        # What an earlier agent told is no news.
        known = self.judged.verdicts if self.ready else stored
        before = {(each.vip, each.real): each for each in known}
        self.judged = judge(self.checked, self.known.overlay, self.healths, self.feeders.words, stored, time.time())
        self.stale, self.ready = False, True
        after = {(each.vip, each.real): each for each in self.judged.verdicts}
        return [
            (before.get(pair), after.get(pair))
            for pair in dict.fromkeys((*before, *after))
            if before.get(pair) != after.get(pair)
        ]

    def due(self, now: float) -> bool:
        """Whether verdicts are to be judged. `now`: seconds since the epoch."""
        return self.feeders.heard and (self.stale or now >= self.judged.due)

    def record(self, degraded: Mapping[str, str]) -> str:
        """What checks.json is to say."""
        found = ChecksRecord(self.healths, self._names, degraded, self.feeders.words, time.time())
        return found.to_json(self.feeders.text)


def told(changes: Sequence[tuple[Verdict | None, Verdict | None]]) -> list[tuple[str, dict[str, t.Any]]]:
    """A line and its fields for each change of a state: of a real in all the VIPs where it changed alike."""
    groups: dict[tuple[str, str, str, str], list[str]] = {}
    for before, after in changes:
        one = t.cast("Verdict", after or before)
        was, now = before.state if before else "active", after.state if after else "active"
        if was != now:
            reason = after.reason if after and now != "active" else ""
            groups.setdefault((one.real, was, now, reason), []).append(one.vip)
    lines = []
    for (real, was, now, reason), vips in groups.items():
        where = f"vip {vips[0]}" if len(vips) == 1 else f"vip {vips[0]} and {len(vips) - 1} more"
        line = f"{where}: real {real} {was} → {now}" + (f" ({reason})" if reason else "")
        fields = {"vip": vips[0], "vips": len(vips), "real": real, "state": now, "before": was, "reason": reason}
        lines.append((line, fields))
    return lines
