# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reals that are taken out of a fleet: which are meant, what balancers say to it, and when they are left. Pure."""

from __future__ import annotations

import difflib
import typing as t
from collections.abc import Mapping, Sequence

from .addresses import read_known_host
from .draining import STARVES
from .faults import counted, some
from .maintenance import names_of
from .written import visible

QUIET_SECONDS = 10.0
"""As long no packet has to go to reals that were left."""

Answer = Mapping[str, t.Any]


class ChosenReals(t.NamedTuple):
    """Addresses of the reals that are meant, each once, and what is wrong with what was said, in sentences."""

    addresses: list[str]
    faults: list[str]


def chosen_reals(asked: t.Any, inventory: Mapping[str, Sequence[str]]) -> ChosenReals:
    """The reals that katran_real names. `inventory`: host → its addresses as a real."""
    names = names_of(asked)
    if names is None:
        return ChosenReals([], [f"katran_real: {visible(str(asked))} is neither the name of a real nor a list of them"])
    if not names:
        return ChosenReals([], ["which reals? Name them: -e katran_real=web1, or -e katran_real=10.0.0.11,10.0.0.12"])
    found: list[str] = []
    faults = []
    for name in dict.fromkeys(names):
        if name in inventory:
            found += inventory[name]
            if not inventory[name]:
                faults.append(f"katran_real: host {name} has no katran_real_address, and so is no real")
            continue
        address = read_known_host(name)
        if not isinstance(address, str):
            found.append(address.text)
            continue
        near = difflib.get_close_matches(name, list(inventory), 1, 0.6)
        meant = f"; did you mean {near[0]}?" if near else ""
        faults.append(f"katran_real: {visible(name)} is neither a host of the inventory nor an address{meant}")
    return ChosenReals(list(dict.fromkeys(found)), faults)


def folded(sentences: Mapping[str, str]) -> list[str]:
    """Host → sentence, as a line for each sentence with the hosts that say it."""
    groups: dict[str, list[str]] = {}
    for host, sentence in sentences.items():
        groups.setdefault(sentence, []).append(host)
    return [f"{some(hosts)}: {sentence}" for sentence, hosts in groups.items()]


class Said(t.NamedTuple):
    """What balancers answered to a word about reals.

    `refused`: lines of those that would have a VIP without a real; `silent`: those that cannot be reached; `broken`:
    those that failed for another reason; `heard`: those that heed it; `back`: balancer → what it has to be told so that
    all is as before.
    """

    refused: list[str]
    silent: list[str]
    broken: list[str]
    heard: list[str]
    back: dict[str, dict[str, list[dict[str, str]]]]


def said(answers: Mapping[str, Answer]) -> Said:
    """Sort what module reals answered, balancer by balancer."""
    refused, silent, broken, heard, back = {}, [], [], [], {}
    for host, answer in answers.items():
        if answer.get("unreachable"):
            silent.append(host)
        elif answer.get("failed"):
            sentence = str(answer.get("msg", ""))
            if STARVES in sentence:
                refused[host] = sentence
            else:
                broken.append(host)
        else:
            heard.append(host)
            before = [dict(each) for each in answer.get("before", ())]
            new = {each["address"] for each in answer.get("after", ())} - {each["address"] for each in before}
            if before or new:
                back[host] = {"merged": before, "deleted": [{"address": address} for address in sorted(new)]}
    return Said(folded(refused), silent, broken, heard, back)


class Progress(t.NamedTuple):
    """How far reals have been left: a line for people, and whether that is the end of it."""

    line: str
    over: bool
    known: bool
    seconds: float
    quiet: float


def progress(answers: Mapping[str, Answer], before: Mapping[str, t.Any], seconds: float, most: int) -> Progress:
    """Put together what module leaving_info counted on all balancers in the same `seconds`.

    `before`: what this made of the time before, or nothing; `most`: as many flows may be left. It is over where there
    are no more than that, or no packet for QUIET_SECONDS.
    """
    rows = [answer for answer in answers.values() if "rates" in answer]
    flows = sum(int(row["flows"]) for row in rows)
    length = max((len(row["rates"]) for row in rows), default=0)
    rates = [sum(float(row["rates"][at]) for row in rows if at < len(row["rates"])) for at in range(length)]
    moving = any(float(row["quiet"]) < seconds for row in rows if row["rates"])
    quiet = min((float(row["quiet"]) for row in rows), default=0.0)
    if not moving and rows:
        quiet = float(before.get("quiet", 0.0)) + seconds
    total = float(before.get("seconds", 0.0)) + seconds
    rate = rates[-1] if rates else 0.0
    tables = f"{counted(flows, 'flow')} in the tables of {counted(len(rows), 'balancer')}"
    line = f"{total:.0f} s: {rate:,.0f} packets/s, {tables}"
    if quiet >= 1:
        line += f", no packet for {quiet:.0f} s"
    over = bool(rows) and (flows <= most or quiet >= QUIET_SECONDS)
    return Progress(line, over, any(row.get("known") for row in rows), total, quiet)
