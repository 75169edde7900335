# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran reals: each real, the VIPs that have it, what was said of it, and what it gets."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from .._engine.status import BalancerStatus, read_reals
from .._model.status import RealStatus
from .._model.vips import VipKey
from .._model.which import Which
from .command import Command
from .shared import (
    EXIT,
    balancers,
    chooser,
    common_arguments,
    exit_status,
    lines_of,
    number,
    require_found,
    which_argument,
    write_json,
)
from .tables import RED, YELLOW, moment_of, screen_width, table

_HEADER = ("REAL", "STATE", "VIPS", "FLOWS", "PACKETS", "BYTES", "BY HAND")


def run(options: argparse.Namespace) -> int:
    """Show them; exit status as of katran status, as far as reals go."""
    which, _chosen = chooser(options.which)
    found = [read_reals(name, not options.no_flows) for name in balancers(options.instance)]
    if which is not None:
        for each in found:
            each.reals = [real for real in each.reals if _means(which, real)]
    require_found(which, any(each.reals for each in found), found)
    if options.json:
        write_json([_data(each) for each in found])
    else:
        sys.stdout.write("\n".join(_text(each, len(found) > 1) for each in found))
    status = exit_status(found)
    if status == 0 and any(set(real.states) - {"active"} for each in found for real in each.reals):
        return 1
    return status


def _means(which: Which, real: RealStatus) -> bool:
    return real.real == which.real or any(which.means_vip(VipKey.read(vip)) for vip in real.vips)


def _data(status: BalancerStatus) -> dict[str, object]:
    return {
        "instance": status.instance,
        "sure": status.sure,
        "problems": status.problems,
        "notes": status.notes,
        "reals": [asdict(real) for real in status.reals],
    }


def _text(status: BalancerStatus, several: bool) -> str:
    title = f"instance {status.instance}\n" if several else ""
    rows = [_row(real) for real in status.reals]
    body = table(_HEADER, rows, width=screen_width()) if rows else "no real\n"
    return title + body + lines_of("wrong", status.problems, RED) + lines_of("note", status.notes, YELLOW)


def _row(real: RealStatus) -> tuple[str, ...]:
    states = [state if len(real.states) == 1 else f"{state} in {count}" for state, count in sorted(real.states.items())]
    hand = f"{real.by_hand['state']} since {moment_of(real.by_hand['since'])}" if real.by_hand else "-"
    return (
        f"{real.real} (local)" if real.local else real.real,
        ", ".join(states) or "of no VIP",
        str(len(real.vips)),
        "-" if real.flows is None else number(real.flows),
        number(real.packets),
        number(real.bytes),
        hand,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    which_argument(parser)
    common_arguments(parser)
    parser.add_argument(
        "--no-flows", action="store_true", help="do not count flows, which takes a second for each million of them"
    )


COMMAND = Command(
    "reals",
    "Each real: the VIPs that have it, its state there, a person's word, packets, bytes, and flows.",
    _arguments,
    run,
    EXIT,
)
