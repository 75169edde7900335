# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What subcommands have in common: which balancers, which VIPs, and how a number is written."""

from __future__ import annotations

import argparse
import json
import sys
import typing as t
from collections.abc import Iterable, Sequence

from .._engine.look import Kind, kinds
from .._model.errors import EngineError
from .._model.options import is_instance
from .._model.vips import VipKey
from .._model.which import Which, read_which, unknown
from .._model.written import visible
from .tables import painted

if t.TYPE_CHECKING:
    from .._engine.status import BalancerStatus, Chosen

WELL, WRONG, CANNOT_TELL = 0, 1, 2
EXIT = "Exit status: 0 all is well, 1 something is wrong, 2 that cannot be told, and a sentence says why."
_UNITS = ("", "k", "M", "G", "T", "P")


def common_arguments(parser: argparse.ArgumentParser) -> None:
    """--instance and --json."""
    parser.add_argument("--instance", metavar="NAME", help="one balancer of this host; all of them without it")
    parser.add_argument("--json", action="store_true", help="for programs")


def which_argument(parser: argparse.ArgumentParser) -> None:
    """The VIPs or the real that is meant."""
    parser.add_argument(
        "which",
        nargs="?",
        metavar="VIP|REAL",
        help="what is called so alone: 198.51.100.1:443/tcp, 198.51.100.1, :443, or a real's address",
    )


def chosen_kinds(name: str | None) -> dict[str, Kind]:
    """Instance → what it is, of the one that is named or of all. EngineError where there is none."""
    if name is not None and not is_instance(name):
        raise EngineError(f"{visible(name)} is not the name of an instance")
    return kinds(name)


def balancers(name: str | None) -> list[str]:
    """The balancers that are meant. EngineError where there is none."""
    found = [each for each, kind in chosen_kinds(name).items() if kind.balancer]
    if not found:
        raise EngineError("there is no balancer on this host, which is a real: katran status shows what it serves")
    return found


def chooser(text: str | None) -> tuple[Which | None, Chosen | None]:
    """What is meant, and whether a (VIP, real) is; None where all are."""
    if text is None:
        return None, None
    which = read_which(text)
    last: list[tuple[VipKey, bool]] = []

    def chosen(key: VipKey, real: str) -> bool:
        # One VIP's reals come one after another.
        if not last or last[0][0] is not key:
            last[:] = [(key, which.means_vip(key))]
        return last[0][1] or real == which.real

    return which, chosen


def require_found(which: Which | None, anything: object, statuses: Iterable[BalancerStatus]) -> None:
    """EngineError with the nearest names where nothing of that name was found."""
    if which is not None and not anything:
        from .._engine.status import names_of  # pylint: disable=import-outside-toplevel  # only where it is told

        raise unknown(which, *names_of(each.instance for each in statuses))


def exit_status(statuses: Sequence[BalancerStatus]) -> int:
    """2 where a picture is not sure, 1 where something is wrong."""
    if not all(each.sure for each in statuses):
        return CANNOT_TELL
    return WELL if all(each.is_well for each in statuses) else WRONG


def write_json(data: t.Any) -> None:
    """For programs."""
    sys.stdout.write(json.dumps(data, indent=2) + "\n")


def number(value: float) -> str:
    """A count in four characters at most and its unit: 812, 1.25k, 33.1M."""
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            if not unit:
                return f"{value:.0f}"
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{unit}"
        value /= 1000
    return ""


def percent(share: float) -> str:
    """A share as per cent: never 0 or 100 where it is not."""
    if 0 < share < 0.001:
        return "<0.1 %"
    if 0.999 < share < 1:
        return ">99.9 %"
    return f"{share * 100:.1f} %".replace(".0 %", " %")


def lines_of(title: str, sentences: Iterable[str], colour: str) -> str:
    """A sentence each line, marked with what it is."""
    return "".join(f"{painted(title, colour)}: {visible(each)}\n" for each in sentences)
