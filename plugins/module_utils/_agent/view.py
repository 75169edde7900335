# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent knows at one moment: what metrics, files and answers to people are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .._model.announcement import Ready
from .._model.checks import Target
from .._model.health import Health
from .._model.verdicts import Verdict
from .._model.vips import Vip, VipKey
from .._model.watch import Place


@dataclass(frozen=True)
class InstanceView:
    """One balancer.

    `vips`: as state.json has them; `targets`: (VIP, real) → what is probed; `healths`: what is known of it; `verdicts`:
    as applied; `active`: VIP → how many reals take its new flows; `degraded`: VIP → why its floor holds reals in;
    `ready`: place → announcement; `places`: where programs are to run → what is wrong there, "" where nothing is;
    `gateway`: MAC, "" while unresolved; `pins`: what is wrong with pins; `drift`: lines of what somebody else changed,
    since the start; `runs`, `failed_runs`: of the engine; `sync`: flow exceptions by name, counters ending in _total.
    """

    name: str
    vips: Mapping[VipKey, Vip] = field(default_factory=dict)
    targets: Mapping[tuple[VipKey, str], Target] = field(default_factory=dict)
    healths: Mapping[Target, Health] = field(default_factory=dict)
    verdicts: Sequence[Verdict] = ()
    active: Mapping[VipKey, int] = field(default_factory=dict)
    degraded: Mapping[VipKey, str] = field(default_factory=dict)
    ready: Mapping[str, Ready] = field(default_factory=dict)
    places: Mapping[Place, str] = field(default_factory=dict)
    gateway: str = ""
    pins: Sequence[str] = ()
    drift: int = 0
    runs: int = 0
    failed_runs: int = 0
    sync: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """All of them.

    `now`: seconds since the epoch; `version`: of the engine; `started`: when the agent was (seconds since the epoch);
    `lag`: the longest that the loop was late lately (s); `probes`: state of answers → how many there were.
    """

    now: float
    version: str
    instances: Mapping[str, InstanceView] = field(default_factory=dict)
    started: float = 0.0
    lag: float = 0.0
    probes: Mapping[str, int] = field(default_factory=dict)
