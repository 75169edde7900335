# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look at a balancer before a change, and one after it that judges whether it does as before. Nothing is written."""

from __future__ import annotations

import os
import time
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from .._kernel.run_files import RunFiles
from .._kernel.state_files import StateFile
from .._model.errors import StateError
from .._model.gate import PARTS, Reading, Sample, Seen, Window, judge, may_end_early
from .._model.gate_flows import flow_faults, flows_to
from .._model.state import State
from .._model.verdicts import words_of
from .._model.vips import Vip, VipKey, vips_from_config
from .announced import has_agent, read_told
from .counters import CounterReader
from .request import Request
from .simulate import simulate

BEFORE_SECONDS = 0.3
"""How long a look before a change takes: every run begins with one, also one that then has nothing to change."""

_LOOK_SECONDS = 0.5
_EARLIEST = 1.0


@dataclass
class _Records:
    """What state.json and the agent's files say, read again once they are others."""

    request: Request
    state: State = field(init=False)
    _stamp: t.Any = None

    def read(self) -> None:
        """Read state.json where it is another than it was. StateError where it is damaged."""
        file = StateFile(self.request.instance, self.request.bpffs)
        try:
            status = os.stat(file.path)
            stamp: t.Any = (status.st_ino, status.st_mtime_ns, status.st_size)
        except FileNotFoundError:
            stamp = ()
        if stamp != self._stamp:
            self._stamp, self.state = stamp, file.read()

    def out(self) -> dict[tuple[str, str], str]:
        """The (VIP, real) that checks have out, or would but for the floor → why."""
        return {
            (entry["vip"], entry["real"]): f"{entry['state']} since {entry['since']} ({entry['reason']})"
            for entry in self.state.verdicts
            if entry["state"] != "active"
        }

    def checked(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """As Sample has them."""
        found: dict[tuple[str, ...], list[str]] = {}
        for key, vip in vips_from_config(self.state.vips).items():
            if vip.check is not None:
                found.setdefault(tuple(real.address for real in vip.reals), []).append(str(key))
        return tuple((reals, tuple(vips)) for reals, vips in found.items())

    def places(self) -> dict[str, tuple[bool, str]]:
        """Place → whether it is announced, and else why not; none where the agent says nothing."""
        try:
            told = read_told(RunFiles(self.request.instance))
        except StateError:
            return {}
        return {place: (bool(ready.metric), "; ".join(ready.reasons)) for place, ready in told.places.items()}


def _reading(reader: CounterReader) -> Reading:
    at, counted = time.monotonic(), reader.read()
    vips = {str(key): packets for key, (packets, _bytes) in counted.vips.items()}
    return Reading(at, counted.named, vips, sum(packets for packets, _bytes in counted.reals.values()))


def look_before(request: Request) -> Sample:
    """What the balancer does now; an empty sample at once where there is none."""
    reader = CounterReader(request.instance, request.bpffs)
    readings = [_reading(reader)]
    if not readings[0].named:
        return Sample()
    for _part in range(PARTS):
        time.sleep(BEFORE_SECONDS / PARTS)
        readings.append(_reading(reader))
    records = _Records(request)
    records.read()
    ready = tuple(place for place, (announced, _why) in records.places().items() if announced)
    whole = readings[-1].named
    agent = has_agent(request.instance)
    return Sample(True, Window.between(readings), whole, tuple(records.out()), records.checked(), ready, agent)


@dataclass(frozen=True)
class Verdict:
    """What a gate says: sentences of what is worse, after so many seconds, and what came meanwhile."""

    faults: list[str]
    seconds: float
    simulated: int
    window: Window


def watch(request: Request, before: Sample, seconds: float, drained: bool) -> Verdict:
    """Watch a balancer for a time, less where it is clearly bad or nothing could show, and judge it."""
    records = _Records(request)
    records.read()
    vips = vips_from_config(records.state.vips)
    reader = CounterReader(request.instance, request.bpffs)
    first = _reading(reader)
    if not first.named:
        return Verdict(["no balancer is loaded"], 0.0, 0, Window())
    began, suspected = first.at, False
    simulated, number = _simulated(request, records.state, vips)
    names = frozenset(map(str, vips))
    until = min(seconds, _EARLIEST) if may_end_early(before) else seconds
    while True:
        time.sleep(max(0.0, min(_LOOK_SECONDS, began + until - time.monotonic())))
        last = _reading(reader)
        records.read()
        window = Window.between([first, last])
        over = window.seconds >= until
        seen = Seen(
            window,
            last.named,
            tuple(simulated),
            names,
            records.out(),
            _unready(records.places()),
            has_agent(request.instance),
        )
        faults = judge(before, seen, over, drained)
        # What counters say at one look may be the time between two of their reads.
        if over or simulated or (faults and suspected):
            return Verdict(faults, round(window.seconds, 2), number, window)
        suspected = bool(faults)


def _unready(places: Mapping[str, tuple[bool, str]]) -> dict[str, str]:
    return {place: why for place, (announced, why) in places.items() if not announced}


def _simulated(request: Request, state: State, vips: Mapping[VipKey, Vip]) -> tuple[list[str], int]:
    """What is wrong with flows that the loaded bytecode answers for, and how many there were."""
    flows = flows_to(list(vips.values()))
    if not flows:
        return [], 0
    answers = simulate(request, [options for _vip, options in flows], [])
    return flow_faults([vip for vip, _options in flows], answers, vips, words_of(state)), len(flows)
