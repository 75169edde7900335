# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer is taken out of service, and put back: what a person does by module drain, or by katran drain.

Out: routers are asked to send elsewhere (graceful shutdown), the peers hold its flow exceptions and say so, its routes
go, and its counters stand still. A step that does not come to its end is the last one, and traffic is served on.
"""

from __future__ import annotations

import os
import time
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .._kernel.run_files import RunFiles
from .._kernel.state_folder import StateFolder
from .._model.agent_settings import AGENT_FILE, AgentSettings
from .._model.announcement import DRAINING
from .._model.errors import FleetError, StateError
from .._model.faults import counted
from .._model.handed_over import UNREACHABLE, WAITING, HandedOver, handed_sentence, missing_sentence, peers_in
from .announced import has_agent, read_told
from .drain import clear_drain, read_drain, set_drain
from .leaving_traffic import metrics, unannounced, until_still, until_told
from .request import Request, Result

HEARD_SECONDS = 5.0
"""The agent reads a person's word twice a second, and a router hears of it at once."""

HAND_OVER_SECONDS = 30.0
_LOOK_SECONDS = 0.1
NO_AGENT = (
    "the agent does not run, so nobody hears of it yet: it heeds the word once it does (systemctl status katran-agent)"
)


class Wish(t.NamedTuple):
    """How a balancer is to be left.

    `by`: whose word that is; `withdraw`: whether its routes are to go; `hand_over`, `wait`: how many seconds its peers
    may take to confirm its flow exceptions, and its counters to stand still (None: nobody waits for that).
    """

    by: str
    withdraw: bool = False
    hand_over: float = HAND_OVER_SECONDS
    wait: float | None = None


@dataclass
class Departure:
    """What became of it. `trouble`: why it did not come to its end, "" where it did.

    `routes`: place → metric of what is announced at last; `peers`: peer → what it did with flow exceptions; `rates`:
    packets per second, second by second; `still`: whether none came for STILL_SECONDS, None where nobody looked;
    `missing`: place → why it is not announced again.
    """

    result: Result
    trouble: str = ""
    routes: Mapping[str, int] = field(default_factory=dict)
    peers: Mapping[str, str] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    still: bool | None = None
    missing: Mapping[str, str] = field(default_factory=dict)


Say = Callable[[str], None]
Watched = Callable[[float, float], None]


def _nothing(*_told: object) -> None:
    """Nobody listens."""


def leave(request: Request, wish: Wish, say: Say = _nothing, watched: Watched = _nothing) -> Departure:
    """Let traffic leave a balancer, step by step; in check mode only say that it would.

    `say` is told a sentence of each step, `watched` each second the packets per second and for how long none came.
    EngineError where there is no such balancer.
    """
    if request.check:
        return Departure(set_drain(request, wish.by, wish.withdraw))
    before = read_drain(StateFolder(request.instance, request.bpffs))
    sync = _tells_flows(request.instance)
    first = wish.withdraw and before is not None and before.withdraw
    heard = has_agent(request.instance)
    # Where nobody hands anything over, there is no more than the word.
    result = set_drain(request, wish.by, first or (wish.withdraw and not heard and not sync))
    departure = Departure(result)
    goes = heard and wish.withdraw and not first
    for line in result.changes or ([] if goes else [_already(request.instance, result)]):
        say(line)
    if not heard:
        departure.trouble = NO_AGENT
    elif goes:
        _withdraw(request, wish, sync, departure, say)
    else:
        departure.routes = until_told(request.instance, wish.withdraw, HEARD_SECONDS)
    if not departure.trouble:
        departure.trouble = _unheard(request.instance, wish.withdraw, departure.routes)
        say(_announced(departure.routes, wish.withdraw))
    if wish.wait is not None:

        def see(rate: float, quiet: float) -> None:
            departure.rates.append(round(rate, 1))
            watched(rate, quiet)

        departure.still = until_still(request.instance, wish.wait, see)
    return departure


def come_back(request: Request, wait: float | None = None) -> Departure:
    """Let traffic come back, and wait until all is announced that is to be, for so many seconds (None: not at all)."""
    departure = Departure(clear_drain(request))
    if request.check:
        return departure
    if not has_agent(request.instance):
        departure.trouble = "the agent does not run, so nobody hears of it yet (systemctl status katran-agent)"
    elif wait is not None:
        deadline = time.monotonic() + wait
        while True:
            departure.missing = unannounced(request.instance)
            if not departure.missing or time.monotonic() >= deadline:
                break
            if not has_agent(request.instance):
                departure.trouble = "the agent has ended, and announces nothing (systemctl status katran-agent)"
                break
            time.sleep(_LOOK_SECONDS)
        departure.routes = metrics(request.instance)
    return departure


def _already(instance: str, result: Result) -> str:
    return f"balancer {instance} is drained already, by {result.after.get('by')}"


def _withdraw(request: Request, wish: Wish, sync: bool, departure: Departure, say: Say) -> None:
    """Take the routes away, once routers know of others and the peers know of the flows."""
    departure.routes = until_told(request.instance, False, HEARD_SECONDS)
    departure.trouble = _unheard(request.instance, False, departure.routes)
    if departure.trouble:
        return
    if departure.routes and departure.result.changes:
        say(_announced(departure.routes, False))
        # As long a router may take to find another way before this one is gone.
        time.sleep(read_told(RunFiles(request.instance)).grace)
    if sync:
        departure.trouble = _hand_over(request.instance, wish.hand_over, departure, say)
        if departure.trouble:
            return
    second = set_drain(request, wish.by, True)
    departure.result.after = second.after
    departure.result.changes = second.changes or departure.result.changes
    for line in second.changes:
        say(line)
    departure.routes = until_told(request.instance, True, HEARD_SECONDS)


def _hand_over(instance: str, seconds: float, departure: Departure, say: Say) -> str:
    """Have the peers confirm the flow exceptions; why that did not come to its end, "" where it did."""
    files = RunFiles(instance)
    asked = files.ask_hand_over()
    deadline = time.monotonic() + seconds
    answer = None
    while answer is None or not answer.finished:
        if time.monotonic() >= deadline:
            break
        if not has_agent(instance):
            return "the agent has ended before its peers held its flow exceptions: its routes stay, with metric 2"
        time.sleep(_LOOK_SECONDS)
        answer = _answer(files, asked)
    if answer is None:
        return f"the agent has not begun to hand flow exceptions over in {seconds:g} s: its routes stay, with metric 2"
    departure.peers = answer.peers
    for sentence in (handed_sentence(answer.peers), missing_sentence(answer.peers)):
        if sentence:
            say(sentence)
    waiting = peers_in(answer.peers, WAITING)
    if not answer.finished and not waiting:
        waiting = peers_in(answer.peers, UNREACHABLE)
    if waiting:
        return (
            f"{', '.join(waiting)} has not acknowledged all flow exceptions in {seconds:g} s: the routes stay, with"
            " metric 2"
        )
    return ""


def _answer(files: RunFiles, asked: int) -> HandedOver | None:
    """What the agent answers to that question, None where nothing yet."""
    try:
        source = files.read(files.handed_over)
        found = None if source is None else HandedOver.from_json(source, files.handed_over)
    except StateError:
        # The agent writes it anew.
        return None
    return found if found is not None and found.asked == asked else None


def _tells_flows(instance: str) -> bool:
    """Whether the agent tells peers of flows."""
    folder = StateFolder(instance, "")
    try:
        source = folder.read_file(AGENT_FILE)
        path = os.path.join(folder.directory, AGENT_FILE)
        return source is not None and AgentSettings.from_json(source, path).sync is not None
    except FleetError:
        # The agent goes on with what it knew.
        return False


def _unheard(instance: str, gone: bool, left: Mapping[str, int]) -> str:
    """What is wrong with routes that do not say what they are to, "" where they do."""
    wrong = {place: metric for place, metric in left.items() if gone or metric != DRAINING}
    if not wrong:
        return ""
    if not has_agent(instance):
        return f"the agent has ended, and {counted(len(wrong), 'route')} stayed (systemctl status katran-agent)"
    return (
        f"{counted(len(wrong), 'route')} is as before {HEARD_SECONDS:g} s after the agent was told ({min(wrong)}):"
        " journalctl -u katran-agent may say why"
    )


def _announced(routes: Mapping[str, int], withdraw: bool) -> str:
    if not routes:
        return "no address is announced from here"
    if withdraw:
        return f"{counted(len(routes), 'route')} is still there"
    asked = sum(metric > 1 for metric in routes.values())
    return f"{asked} of {counted(len(routes), 'route')} ask routers to send elsewhere (metric 2, GRACEFUL_SHUTDOWN)"
