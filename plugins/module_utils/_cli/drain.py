# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran drain: ask traffic to leave this balancer, and see it go."""

from __future__ import annotations

import argparse
import os
import sys

from .._engine.departure import Wish, come_back, leave
from .._engine.leaving_traffic import STILL_SECONDS
from .._engine.request import Request, Result
from .._kernel.state_folder import read_bpffs
from .._model.errors import EngineError
from .._model.written import visible
from .command import Command
from .shared import WELL, WRONG, balancers, number, write_json
from .values import seconds_until

_LOCK_SECONDS = 10.0


def run(options: argparse.Namespace) -> int:
    """Drain it; 0 where traffic is asked to leave and, with --wait, has left."""
    instance = one_balancer(options.instance)
    wish = Wish(options.by or _somebody(), options.withdraw, wait=options.wait)
    left = leave(
        _request(instance),
        wish,
        lambda line: _say([line], options),
        lambda rate, quiet: _watched(rate, quiet, options),
    )
    if left.trouble:
        _say([left.trouble], options)
    status = WRONG if left.trouble or left.still is False else WELL
    if left.still is not None:
        _say(
            [f"no packet came for {STILL_SECONDS:g} s: the balancer can be taken out of service"]
            if left.still
            else [f"packets still come after {options.wait:g} s: clients or routers that do not heed it"],
            options,
        )
    if options.json:
        found = {"instance": instance, "changed": left.result.changed, "drained": left.result.after}
        write_json({**found, "still": left.still, "peers": left.peers, "trouble": left.trouble})
    return status


def one_balancer(name: str | None) -> str:
    """The balancer that is meant. EngineError where that is not clear."""
    found = balancers(name)
    if len(found) > 1:
        raise EngineError(f"there are several balancers: give --instance with one of {', '.join(found)}")
    return found[0]


def told(result: Result, otherwise: str) -> list[str]:
    """What a run changed, in sentences."""
    return result.changes or [otherwise]


def undo(options: argparse.Namespace) -> int:
    """Let traffic come back; 0 where it is asked to."""
    instance = one_balancer(options.instance)
    back = come_back(_request(instance))
    lines = told(back.result, f"balancer {instance} is not drained")
    _say([*lines, back.trouble] if back.trouble else lines, options)
    if options.json:
        write_json({"instance": instance, "changed": back.result.changed, "drained": None})
    return WRONG if back.trouble else WELL


def _request(instance: str) -> Request:
    return Request(instance, read_bpffs(instance), _LOCK_SECONDS, False)


def _somebody() -> str:
    """Who does it, as far as the host knows."""
    import pwd  # pylint: disable=import-outside-toplevel  # only where nobody says who

    name = os.environ.get("SUDO_USER")
    try:
        return name or pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _watched(rate: float, quiet: float, options: argparse.Namespace) -> None:
    since = f", none for {quiet:.0f} s" if quiet >= 1 else ""
    _say([f"{number(rate)} packets/s{since}"], options)


def _say(lines: list[str], options: argparse.Namespace) -> None:
    """To people at once; programs get the end alone."""
    if not options.json:
        sys.stdout.write("".join(f"{visible(line)}\n" for line in lines))
        sys.stdout.flush()


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--withdraw", action="store_true", help="take its routes away, not only ask to go elsewhere")
    parser.add_argument("--by", metavar="NAME", help="whose word that is, as status shows it; you, without it")
    parser.add_argument(
        "--wait",
        type=seconds_until(86_400),
        metavar="SECONDS",
        help="watch the packets until none comes, so long at most",
    )
    parser.add_argument("--instance", metavar="NAME", help="the balancer, where there are several on this host")
    parser.add_argument("--json", action="store_true", help="for programs")


COMMAND = Command(
    "drain",
    "Ask traffic to leave this balancer: routers are told to prefer others. It outlives a reboot, until undrain.",
    _arguments,
    run,
    "Exit status: 0 traffic is asked to leave, and with --wait has left; 1 nobody heard of it, or packets still come; 2"
    " it cannot be done.",
)
