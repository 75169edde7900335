# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one way in which verdicts of checks reach the maps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from .._kernel.lock import locked
from .._kernel.maps import KernelMaps, Maps
from .._kernel.state_files import StateFile
from .._model.addresses import address_order
from .._model.draining import idle_by_word
from .._model.drift import View
from .._model.entries import Asked
from .._model.state import State
from .._model.verdicts import Verdict, Words, by_check, by_vip, that_count, told_degraded
from .._model.vips import Vip
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

    def reads_lists(self) -> bool:
        """Only where a killed run may have left them as they are not to be."""
        return not self.state.is_sure_of("vips")

    def settles(self, state: str) -> Collection[str]:
        """The references that end with this run: a killed one's."""
        del state
        return ("vips",)

    def resolve(self, known: View, asked: Asked) -> View:
        """The VIPs as they are, under these verdicts."""
        del asked
        found = View(known.vips, Words(known.words.overlay, that_count(by_vip(self.told), known.vips)))
        self.result.warnings += told_degraded(found.vips, found.words)
        self.result.warnings += idle_by_word(found.vips, found.words)
        return found

    def report(self, old: View, new: View) -> None:
        """Say which reals' verdicts change."""
        before, after = old.words.verdicts, new.words.verdicts
        for key in sorted(new.vips) if before or after else ():
            if before.get(str(key), {}) != after.get(str(key), {}):
                lines = _changes(new.vips[key], old.words, new.words)
                self.result.changes += [f"vip {key}: {line}" for line in lines]


def _changes(vip: Vip, before: Words, after: Words) -> list[str]:
    """One line for each real of which checks say something else, or for which the floor has another answer."""
    said, says = before.verdicts.get(str(vip.key), {}), after.verdicts.get(str(vip.key), {})
    held, holds = before.combined(vip).held, after.combined(vip).held
    floor = f"min_healthy is {vip.check.min_healthy} %" if vip.check is not None else ""
    lines = []
    for address in sorted({*said, *says}, key=address_order):
        was, now = said.get(address, _PLAIN), says.get(address, _PLAIN)
        if now.state != "active":
            if now.state != was.state:
                lines.append(f"{address} {by_check(now)}{f', but stays in: {floor}' if address in holds else ''}")
            elif (address in held) != (address in holds):
                lines.append(f"{address} {f'stays in: {floor}' if address in holds else 'goes out as well'}")
        elif now.state != was.state:
            lines.append(f"{address} active by check{f', with {now.share} % of its weight' if now.share < 100 else ''}")
        elif now.share != was.share:
            lines.append(f"{address} has {now.share} % of its weight")
    return lines


_PLAIN = Verdict("", "", "active", "")
"""What is not said."""
