# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run is asked for, and what it answers."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .._kernel.maps import KernelMaps
from .._model.errors import PartialError
from .._model.limits import Limits
from .._model.vips import VipKey


@dataclass(frozen=True)
class Request:
    """What every run says: which balancer, how long to wait for another run (s), and whether only to look."""

    instance: str
    bpffs: str
    lock_timeout: float
    check: bool
    planned: Limits | None = None
    """What the balancer will hold once the same play has run: for check mode, where it does not yet."""
    applied: frozenset[str] = frozenset()
    """The resources that the same play applied before, of which a review finds nothing done yet.

    `balancer` among them: a program that the play loads.
    """
    kept: bool = False
    """What is applied was valid when it was kept: what the program cannot do of it is left out with a warning."""
    min_active: int = 0
    """How many reals that take new flows each listed VIP needs."""
    unready: frozenset[str] = frozenset()
    """Reals to which nothing may lead newly."""
    unseen: frozenset[str] = frozenset()
    """Reals to which something that leads newly is worth a warning."""
    audit: str | None = None
    """What the controller says of who asked; None where nobody did, as at boot: then it is no part of the history."""


Gone = tuple[t.Union[VipKey, None], t.Union[frozenset[int], None]]
"""Flows that lost their place: (VIP, None) all of a VIP, (VIP, ids) those to these reals, (None, ids) of every VIP."""

Purge = Callable[[KernelMaps, Iterable[Gone], bool], dict[str, int]]
"""Removes such flows, or with True only counts them: map → how many."""


@dataclass
class Result:
    """What a run did, or in check mode would do.

    `changes`: one line each; `operations`: map → entries written. Of a resource, `before` and `after` have the changed
    entries in config's own form, of a program its settings. The rest is what a module tells beside that: `drift`, the
    lines about what somebody else changed; `timings` in seconds; `references`: other resource → reals it refers to;
    `by_hand`: words of the fleet about reals, and their ends; `starts`: real that is let in → how soon it has its
    weight; `gone`: whose flows lost their place; `missing`: what a boot had to do without; `program`, `attached`,
    `slots`, `maps`: what is there after a run.
    """

    changes: list[str] = field(default_factory=list)
    operations: dict[str, int] = field(default_factory=dict)
    before: t.Any = field(default_factory=list)
    after: t.Any = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    references: dict[str, list[str]] = field(default_factory=dict)
    by_hand: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    starts: dict[str, str] = field(default_factory=dict)
    gone: list[Gone] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    program: dict[str, t.Any] = field(default_factory=dict)
    attached: list[dict[str, t.Any]] = field(default_factory=list)
    slots: list[dict[str, t.Any]] = field(default_factory=list)
    maps: dict[str, dict[str, int]] = field(default_factory=dict)
    reused_maps: list[str] = field(default_factory=list)
    selftest: dict[str, t.Any] = field(default_factory=dict)
    waits: str = ""
    """Why a Katran was not replaced yet."""

    @property
    def changed(self) -> bool:
        """Whether anything was, or would be, changed."""
        return bool(self.changes or self.operations)

    def lines(self) -> list[str]:
        """The changes of a boot. PartialError where it had to do without something."""
        if self.missing:
            raise PartialError("; ".join(self.missing), self.changes)
        return self.changes

    def explain(self) -> None:
        """Say why there is something to do where neither the configuration nor the file does."""
        if self.operations and not self.changes:
            self.changes.append("what an interrupted run left behind is put in order")


class Clock:
    """Seconds spent in each phase."""

    def __init__(self) -> None:
        self.timings = {"validate": 0.0, "read": 0.0, "plan": 0.0, "write": 0.0}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = round(self.timings[name] + time.monotonic() - started, 4)
