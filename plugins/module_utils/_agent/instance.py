# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One balancer in the agent: what it knows of it, what it has made of that, and what it shows."""

from __future__ import annotations

import os
import time
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence

from .._kernel.run_files import RunFiles
from .._model.agent_settings import AgentSettings
from .._model.announcing import Seen
from .._model.checks import Target
from .._model.errors import StateError
from .._model.marks import marks_of
from .._model.probe_path import Reach, Way, reach_of
from .._model.verdicts import Verdict, Words, by_vip, degraded
from .._model.vips import VipKey
from .._model.watch import Place
from .announcer import Announcer, Line
from .applying import Runs
from .checking import Checks, told
from .handing import Handing
from .journal import NOTICE, WARNING, Journal
from .known import StateReader
from .services import SyncService
from .sight import Sight
from .troubles import Troubles
from .view import InstanceView
from .worker import Worker

_UNRESOLVED_SECONDS = 5.0
"""As long the kernel may look for the gateway's MAC before it counts as unknown: meanwhile the last one will do."""

_SHARE, _LONGEST_PATIENCE = 5.0, 0.2
"""So many times as long as it takes to judge it is waited before it is done again, and no longer than that (s)."""

NOTHING_SEEN = Way("", attached=False, marks={}, own=frozenset())


class Part(t.NamedTuple):
    """That the agent takes part in a balancer. `number`: of the balancer on this host; `held`: a descriptor."""

    number: int
    held: int


class Instance:
    """One balancer.

    `changed`: called where targets are others than before; `kick`: has some asked at once.
    """

    def __init__(
        self,
        name: str,
        settings: AgentSettings,
        part: Part,
        salt: str,
        worker: Worker,
        journal: Journal,
        changed: Callable[[], None],
        kick: Callable[[Iterable[Target]], None],
    ) -> None:
        self.name, self.number, self.settings = name, part.number, settings
        self.files = RunFiles(name)
        self.troubles = Troubles(journal, name)
        self.checks = Checks(self.files, salt, lambda sentence: self.tell(WARNING, sentence))
        self.runs = Runs(name, worker, self.troubles, journal)
        self.sync = SyncService(name, journal)
        self.handing = Handing(self.files, self.sync, self.troubles)
        self.announcer = Announcer(name, settings.announce_table)
        self.way = NOTHING_SEEN
        self.places: Mapping[Place, str] = {}
        self.gateway = ""
        self.pins: Sequence[str] = ()
        self.looked = self._is_known = False
        self.judging = False
        """Whether it is about to judge."""
        self.patience = 0.0
        """Seconds that an answer may wait for others, to be judged with them."""
        self._looked_at = 0.0
        self._empty: frozenset[str] = frozenset()
        self._sight = Sight(name)
        self._reader = StateReader(name)
        self._journal, self._changed, self._kick = journal, changed, kick
        self._stored: tuple[Verdict, ...] = ()
        self._words = Words()
        self._held: Mapping[VipKey, str] | None = {}
        self._unresolved_since = 0.0
        self._kicked = self.files.kicked()
        self._written = 0.0
        self._dirty = True
        self._descriptor: int | None = part.held
        self.checks.resume()
        self.task = self.runs.start(self._applied)

    @property
    def bpffs(self) -> str:
        """Where its maps are pinned."""
        return self.checks.known.bpffs

    def tell(self, priority: int, message: str, **fields: str | float) -> None:
        """An entry of the journal about this balancer."""
        self._journal.tell(priority, message, instance=self.name, **fields)

    async def close(self, kept: bool = True) -> None:
        """Have no more runs made. Verdicts and flows stay; `kept`: so do routes, and what is known of checks."""
        await self.runs.close()
        await self.handing.close()
        await self.sync.close()
        await self.checks.feeders.close(kept)
        if kept:
            self._write_checks()
        else:
            # Nobody holds them any more to what the balancer is ready for.
            self._tell_lines(self.announcer.stop({}, time.time()))
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def adjust(self, settings: AgentSettings, now: float) -> None:
        """Go on with other settings. `now`: seconds since the epoch."""
        before, self.settings = self.settings, settings
        if before.announce_table != settings.announce_table:
            self._tell_lines(self.announcer.stop({}, now))
            self.announcer = Announcer(self.name, settings.announce_table)

    # What there is

    def refresh(self) -> None:
        """Look whether state.json, others' words or the kick are others than before."""
        try:
            known = self._reader.read()
            self.troubles.end("state")
        except StateError as error:
            self.troubles.begin("state", str(error))
            known = None
        if known is not None:
            self._is_known = True
            before = self.checks.checked
            self._stored = tuple(known.verdicts)
            self._words = Words(known.overlay, by_vip(self._stored))
            self._held = None
            self.checks.take(known)
            if self.checks.checked is not before:
                self._changed()
            self.sync.ring_changed()
            self.want()
        self.checks.read_words()
        self.handing.look()

    def was_kicked(self) -> bool:
        """Whether somebody asks for all checks at once, since this was last asked."""
        before, self._kicked = self._kicked, self.files.kicked()
        return self._kicked not in (0, before)

    def reach(self, target: Target) -> Reach:
        """How a probe gets to its target at present."""
        return reach_of(target, self.way)

    def see(self, look: Mapping[str, t.Any], own: Sequence[str], began: float) -> None:
        """Take what a look found that began at this loop time. `own`: the host's addresses."""
        if "wrong" in look:
            # What cannot be read for the moment was well before.
            self.troubles.begin("look", look["wrong"])
            return
        self.troubles.end("look")
        self.looked, self._looked_at = True, began
        self.pins = look.get("pins", ())
        empty = frozenset(look.get("empty", ()))
        if empty != self._empty:
            self._empty = empty
        self._see_gateway(look, began)
        attached = bool(look.get("attached"))
        self.runs.saw(look.get("marks", {}), began)
        self._go_by(Way(look.get("checker", ""), attached, self.runs.marked if attached else {}, frozenset(own)))
        self.want()

    def _go_by(self, way: Way) -> None:
        """Probes go this way from now on. What could not be asked before is asked at once."""
        before, self.way = self.way, way
        if way != before:
            healths = self.checks.healths
            self._kick(target for target, each in healths.items() if each.last is not None and not each.last.state)

    def _see_gateway(self, look: Mapping[str, t.Any], now: float) -> None:
        mac = look.get("mac", "")
        if not look.get("lost"):
            self._unresolved_since = 0.0
        elif not self._unresolved_since:
            self._unresolved_since = now
        lost = bool(self._unresolved_since) and now - self._unresolved_since > _UNRESOLVED_SECONDS
        before, self.gateway = self.gateway, "" if lost else mac
        if lost and before:
            self.tell(WARNING, f"the gateway's MAC is not known: {look['lost']}", reason=look["lost"])

    # Verdicts

    def want(self) -> None:
        """Have made what differs from what there is; nothing where state.json went, and with it where the maps are."""
        if not self.bpffs:
            return
        reals = {target.real for target in self.checks.checked.pairs} - self.way.own
        ids = self.checks.known.real_ids
        marks = marks_of(reals, ids, self.number) if self.way.device and self.way.attached else None
        verdicts = self.checks.judged.verdicts if self.checks.known.loaded and self.checks.ready else self._stored
        self.runs.want(self.bpffs, marks, verdicts, self._stored, self.checks.known.interrupted)

    def judge(self) -> None:
        """Judge anew where something may have changed, tell it, and have it applied."""
        self.judging = False
        if not self.checks.due(time.time()):
            return
        began = time.monotonic()
        for line, fields in told(self.checks.judge(self._stored)):
            priority = NOTICE if fields["state"] == "active" else WARNING
            self._journal.change(time.monotonic(), priority, line, instance=self.name, **fields)
        self._dirty = True
        self.want()
        self.patience = min(_SHARE * (time.monotonic() - began), _LONGEST_PATIENCE)

    def _applied(self, what: str) -> None:
        """A run ended well."""
        self._dirty = True
        self.refresh()
        if what == "marks" and self.way.attached:
            self._go_by(self.way._replace(marks=self.runs.marked))
        if what == "verdicts":
            self.sync.ring_changed()

    # What others are shown

    def seen(self, others: Mapping[str, int | None]) -> Seen:
        """What its announcements are decided from."""
        return self._sight.of(
            self.checks, self._words, self.places, self.gateway, self._empty, self.sync.in_sync, others, self._looked_at
        )

    def announce(self, others: Mapping[str, int | None], now: float) -> None:
        """Hold routes to what it is ready for, once state.json and the kernel were read. `now`: since the epoch."""
        if not (self.looked and self._is_known):
            return
        self._tell_lines(self.announcer.update(self.seen(others), now))

    def _tell_lines(self, lines: Iterable[Line]) -> None:
        """Tell what became of announcements."""
        for line in lines:
            place = line.places[0] if len(line.places) == 1 else ""
            self.tell(WARNING if line.wrong else NOTICE, line.text, place=place)

    def _degraded(self) -> Mapping[VipKey, str]:
        """The VIPs whose floor keeps reals in, and why."""
        if self._held is None:
            self._held = degraded(self.checks.known.vips, self._words)
        return self._held

    def combine(self) -> None:
        """Have words combined that are new: of hundreds of VIPs that takes a while, and what follows goes by it."""
        self._degraded()

    def write(self, now: float) -> None:
        """Write checks.json, at most once a second, and where nothing changed every other second. `now`: loop time."""
        if now - self._written >= (1.0 if self._dirty else 2.0):
            self._written, self._dirty = now, False
            self._write_checks()

    def _write_checks(self) -> None:
        record = self.checks.record({str(key): why for key, why in self._degraded().items()})
        try:
            self.files.write(self.files.checks, record)
            self.troubles.end("checks.json")
        except StateError as error:
            self.troubles.begin("checks.json", str(error))

    def view(self) -> InstanceView:
        """What it knows at this moment."""
        known = self.checks.known
        active = {
            key: sum(real.state == "active" and real.weight > 0 for real in self._words.combined(vip).reals)
            for key, vip in known.vips.items()
        }
        return InstanceView(
            self.name,
            known.vips,
            self.checks.checked.targets,
            dict(self.checks.healths),
            self._stored,
            active=active,
            degraded=self._degraded(),
            ready=self.announcer.ready,
            places=self.places,
            gateway=self.gateway,
            pins=self.pins,
            drift=self.runs.drift,
            runs=self.runs.done,
            failed_runs=self.runs.failed,
            sync=self.sync.stats(),
        )
