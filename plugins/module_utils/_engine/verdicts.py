# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way in which verdicts of checks reach the maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from .._kernel.lock import locked
from .._kernel.maps import KernelMaps, Maps
from .._kernel.state_files import StateFile
from .._model.draining import idle_by_word
from .._model.drift import View
from .._model.entries import Asked
from .._model.state import State
from .._model.verdicts import Verdict, Words, by_check, by_vip, degraded, that_count
from .._program.requirements import require_capabilities
from .flows import purge_gone
from .request import Clock, Request, Result
from .resource import with_balancer
from .vips import VipRun


def apply_verdicts(request: Request, verdicts: Sequence[Verdict]) -> Result:
    """Bring the rings to what checks say: these verdicts, and no other of before.

    Those of VIPs without a check, and of reals that the VIP has not, do not count. Where Check.on_down is purge, flows
    to reals that newly went down are removed, unless the VIP's down set moves them. Doing it again writes nothing.
    Every failure is an exception with one sentence.
    """
    require_capabilities()
    with locked(request.instance, not request.check, request.lock_timeout):
        closed = StateFile(request.instance, request.bpffs).close(request.check)

        def work(maps: Maps, file: StateFile, state: State) -> Result:
            run = VerdictRun(request, maps, file, state, Clock())
            run.told = verdicts
            if isinstance(maps, KernelMaps):
                run.purge = partial(purge_gone, maps)
            return run.run(Asked(None))

        result = with_balancer(request, work)
        result.changes[:0] = closed
        return result


class VerdictRun(VipRun):
    """One run of what checks say: the same VIPs under other verdicts."""

    told: Sequence[Verdict] = ()

    def settles(self, state: str) -> Collection[str]:
        """The references that end with this run: a killed one's."""
        del state
        return ("vips",)

    def resolve(self, known: View, asked: Asked) -> View:
        """The VIPs as they are, under these verdicts."""
        del asked
        found = View(known.vips, Words(known.words.overlay, that_count(by_vip(self.told), known.vips)))
        self.result.warnings += [
            f"vip {key} is degraded: {why}" for key, why in degraded(found.vips, found.words).items()
        ]
        self.result.warnings += idle_by_word(found.vips, found.words)
        return found

    def report(self, old: View, new: View) -> None:
        """Say which reals' verdicts change."""
        before, after = old.words.verdicts, new.words.verdicts
        for key in sorted(new.vips) if before or after else ():
            said = before.get(str(key), {}), after.get(str(key), {})
            if said[0] != said[1]:
                self.result.changes += _changes(str(key), *said)


def _changes(vip: str, before: Mapping[str, Verdict], after: Mapping[str, Verdict]) -> list[str]:
    """One line for each real of which checks say something else. That its share grows is no news."""
    lines = []
    for address in sorted({*before, *after}):
        was, now = before.get(address), after.get(address)
        if now is not None and now.state != "active" and (was is None or was.state != now.state):
            lines.append(f"vip {vip}: {address} {by_check(now)}")
        elif was is not None and was.state != "active" and (now is None or now.state == "active"):
            share = f", with {now.share} % of its weight at first" if now is not None else ""
            lines.append(f"vip {vip}: {address} active by check{share}")
    return lines
