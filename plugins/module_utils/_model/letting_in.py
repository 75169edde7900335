# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reals that a person lets take new flows again: with which weight they begin. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from .faults import counted, some
from .overlay import Overlay
from .verdicts import WAITING, Verdict
from .vips import Vip, VipKey

OfVips = Mapping[str, Mapping[str, Verdict]]


def let_in(was: Mapping[str, Overlay], now: Mapping[str, Overlay]) -> list[str]:
    """The reals that a word kept out, and none does any more."""
    return sorted(
        address
        for address, word in was.items()
        if word.state != "active" and (address not in now or now[address].state == "active")
    )


def without_waiting(verdicts: OfVips, reals: Collection[str]) -> dict[str, dict[str, Verdict]]:
    """The same where nobody makes the weight of these reals grow: they have it whole."""
    kept = {
        vip: {real: each for real, each in said.items() if real not in reals or each.reason != WAITING}
        for vip, said in verdicts.items()
    }
    return {vip: said for vip, said in kept.items() if said}


def beginnings(vips: Iterable[Vip], verdicts: OfVips, reals: Collection[str], agent: bool) -> dict[str, str]:
    """Real → how soon it has its whole weight, in a sentence, of those that VIPs have. `agent`: whether one runs."""
    slow: dict[str, dict[VipKey, float]] = {}
    at_once: dict[str, int] = {}
    for vip in vips:
        said = verdicts.get(str(vip.key), {})
        for address in {real.address for real in vip.reals}.intersection(reals):
            waiting = address in said and said[address].reason == WAITING
            if agent and waiting and vip.check is not None:
                slow.setdefault(address, {})[vip.key] = vip.check.slow_start
            else:
                at_once[address] = at_once.get(address, 0) + 1
    why = "no check with slow_start" if agent else "the agent does not run"
    found = {}
    for address in sorted({*slow, *at_once}):
        keys, rest = slow.get(address, {}), at_once.get(address, 0)
        if not keys:
            found[address] = f"real {address} has its whole weight at once ({why})"
            continue
        names = some([str(key) for key in sorted(keys)])
        found[address] = f"real {address} has its whole weight in {max(keys.values()):g} s (slow_start) in {names}"
        if rest:
            found[address] += f", and at once in {counted(rest, 'VIP')} ({why})"
    return found
