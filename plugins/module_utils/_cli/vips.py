# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran vips: each VIP with its reals, and whose word each real's state is."""

from __future__ import annotations

import argparse
import sys

from .._engine.status import BalancerStatus, read_vips
from .._model.status import RealOfVip, VipStatus
from .._model.written import visible
from .command import Command
from .shared import (
    EXIT,
    balancers,
    chooser,
    common_arguments,
    exit_status,
    lines_of,
    number,
    percent,
    require_found,
    which_argument,
    write_json,
)
from .tables import RED, YELLOW, moment_of, screen_width, table

_HEADER = ("VIP", "REAL", "STATE", "BY", "WEIGHT", "RING", "PACKETS", "BYTES", "WHY")


def run(options: argparse.Namespace) -> int:
    """Show them; exit status as of katran status."""
    which, chosen = chooser(options.which)
    found = [read_vips(name, chosen) for name in balancers(options.instance)]
    require_found(which, any(each.vips for each in found), found)
    if options.json:
        write_json([_data(each) for each in found])
    else:
        sys.stdout.write("\n".join(_text(each, len(found) > 1) for each in found))
    return exit_status(found)


def _data(status: BalancerStatus) -> dict[str, object]:
    return {
        "instance": status.instance,
        "sure": status.sure,
        "problems": status.problems,
        "notes": status.notes,
        "vips": [vip.to_data() for vip in status.vips],
    }


def _text(status: BalancerStatus, several: bool) -> str:
    title = f"instance {status.instance}\n" if several else ""
    rows = [row for vip in status.vips for row in _rows(vip)]
    body = table(_HEADER, rows, width=screen_width()) if rows else "no VIP\n"
    return title + body + lines_of("wrong", status.problems, RED) + lines_of("note", status.notes, YELLOW)


def _rows(vip: VipStatus) -> list[tuple[str, ...]]:
    why = "; ".join([*vip.reasons, *([vip.degraded] if vip.degraded else [])])
    flags = f" [{', '.join(vip.flags)}]" if vip.flags else ""
    head = (
        vip.vip,
        f"{vip.reals_in} of {vip.reals} in",
        f"{vip.state}, degraded" if vip.degraded else vip.state,
        "",
        "",
        percent(vip.ring_share),
        number(vip.packets),
        number(vip.bytes),
        f"{why}{flags}".strip() or "-",
    )
    return [head, *(_row(real) for real in vip.members)]


def _row(real: RealOfVip) -> tuple[str, ...]:
    why = [real.reason] if real.reason else []
    if real.since:
        why.append(f"since {moment_of(real.since)}")
    if real.held:
        why.append(f"kept in by the VIP's floor, although {real.held}")
    told = visible("; ".join(why)) or "-"
    return ("", real.real, real.state, real.by, str(real.weight), percent(real.share), "", "", told)


def _arguments(parser: argparse.ArgumentParser) -> None:
    which_argument(parser)
    common_arguments(parser)


COMMAND = Command(
    "vips",
    "Each VIP with its reals: weight, share of the ring, state, and whose word that is (inventory, hand, check).",
    _arguments,
    run,
    EXIT,
)
