# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran status: is this balancer well, which VIPs does it serve, and what is it as a real."""

from __future__ import annotations

import argparse
import sys
import typing as t
from collections.abc import Sequence

from .._engine.status import BalancerStatus, read_status
from .._model.announcement import drain_effect
from .._model.errors import EngineError
from .._model.faults import some
from .._model.status import VipStatus
from .._model.vips import VipKey
from .._model.which import Which, read_which
from .._model.written import visible
from .command import Command
from .shared import (
    CANNOT_TELL,
    EXIT,
    WELL,
    WRONG,
    chosen_kinds,
    common_arguments,
    lines_of,
    number,
    percent,
    require_found,
    which_argument,
    write_json,
)
from .tables import COLOURS, RED, YELLOW, moment_of, painted, screen_width, table

if t.TYPE_CHECKING:
    from .._engine.real_status import RealHostStatus

_HEADER = ("VIP", "STATE", "REALS IN", "RING", "PACKETS", "BYTES", "WHY")


def run(options: argparse.Namespace) -> int:
    """Show it; 0 where all is well, 1 where something is not, 2 where that cannot be told."""
    which = None if options.which is None else read_which(options.which)
    balancers, reals = [], []
    for name, kind in chosen_kinds(options.instance).items():
        if kind.balancer:
            balancers.append(_of(read_status(name), which))
        if kind.real:
            from .._engine.real_status import read_real  # pylint: disable=import-outside-toplevel  # of reals alone

            reals.append(read_real(name))
    if which is not None and not any(each.vips for each in balancers) and not _is_served(which, reals, balancers):
        require_found(which, False, balancers)
    if options.json:
        write_json({"balancers": [each.to_data() for each in balancers], "reals": [each.to_data() for each in reals]})
    else:
        several = len(balancers) > 1
        texts = [_balancer(each, several) for each in balancers] + [_real(each) for each in reals]
        sys.stdout.write("\n".join(texts))
    if not (all(each.sure for each in balancers) and all(each.sure for each in reals)):
        return CANNOT_TELL
    return WELL if all(each.is_well for each in balancers) and all(each.is_well for each in reals) else WRONG


def _is_served(which: Which, reals: Sequence[RealHostStatus], balancers: Sequence[BalancerStatus]) -> bool:
    """Whether a real here serves what is meant: it knows addresses, and no port. EngineError on a real alone if not."""
    served = sorted({vip for each in reals for vip in each.vips})
    found = getattr(which.name.host, "text", "") in served if which.name is not None else bool(served)
    if not found and reals and not balancers:
        raise EngineError(f"this host, a real, serves no {which.text}; it serves {some(served) or 'no VIP'}")
    return found


def _of(status: BalancerStatus, which: Which | None) -> BalancerStatus:
    if which is not None:
        status.vips = [vip for vip in status.vips if which.means_vip(VipKey.read(vip.vip))]
    return status


def _balancer(status: BalancerStatus, several: bool) -> str:
    lines = [f"balancer {status.instance}"] if several or status.instance != "default" else []
    program = status.program
    if status.loaded:
        runs = ", ".join(
            f"{each['place'].removeprefix('interface ')} ({each['mode'] or 'in slot'})"
            for each in status.attached
            if not each["wrong"]
        )
        lines.append(f"program   {program['tag'] or 'is not pinned'} on {runs or 'nothing'}")
        gateway = program["gateway_mac"] or painted("unknown", RED)
        lines.append(f"sends     {(program['encapsulation'] or '').upper() or 'tunnels'} to the gateway {gateway}")
    lines.append(f"agent     {painted(status.agent, COLOURS.get(status.agent, ''))}")
    if status.drained is not None:
        lines.append(f"drained   {painted(_drained(status.drained), YELLOW)}")
    if status.tables:
        lines.append(f"flows     {_fill(status)}")
    dropped = status.counters.get("frames_dropped", 0)
    if status.counters:
        seen = status.counters.get("frames_seen", 0)
        lines.append(f"frames    {number(seen)} seen, {number(dropped)} dropped")
    states = {state: sum(vip.state == state for vip in status.vips) for state in sorted({v.state for v in status.vips})}
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    lines.append(f"VIPs      {told or 'none'}")
    body = table(_HEADER, [_row(vip) for vip in status.vips], width=screen_width()) if status.vips else ""
    return (
        "".join(f"{line}\n" for line in lines)
        + body
        + lines_of("wrong", status.problems, RED)
        + lines_of("changed by somebody else", status.differences[:20], YELLOW)
        + (f"and {len(status.differences) - 20} more differences\n" if len(status.differences) > 20 else "")
        + lines_of("note", status.notes, YELLOW)
    )


def _drained(drained: dict[str, t.Any]) -> str:
    since = f" since {moment_of(drained['since'])}" if drained["since"] else ""
    return visible(f"by {drained['by']}{since}: {drain_effect(drained['withdraw'])} (katran undrain)")


def _fill(status: BalancerStatus) -> str:
    """How full the tables are that flows of most CPUs are in."""
    names = list(dict.fromkeys(each.table for each in status.tables))
    told = []
    for name in names:
        tables = [each for each in status.tables if each.table == name and each.capacity > 1]
        entries, capacity = sum(each.entries for each in tables), sum(each.capacity for each in tables)
        about = "" if all(each.exact for each in tables) else "about "
        if capacity and (entries or not name.startswith("fallback")):
            told.append(f"{name} {about}{number(entries)} of {number(capacity)} ({percent(entries / capacity)})")
    return ", ".join(told)


def _row(vip: VipStatus) -> tuple[str, ...]:
    state = f"{vip.state}, degraded" if vip.degraded else vip.state
    why = [*vip.reasons]
    if vip.degraded:
        why.append(vip.degraded)
    if vip.edited:
        why.append("its ring was changed by somebody else")
    return (
        vip.vip,
        state,
        f"{vip.reals_in}/{vip.reals}",
        percent(vip.ring_share),
        number(vip.packets),
        number(vip.bytes),
        "; ".join(why) or "-",
    )


def _real(status: RealHostStatus) -> str:
    lines = [f"real {status.instance}", f"decap     {status.way}"]
    lines.append(f"VIPs      {', '.join(status.vips) or 'none'}")
    lines.append(f"sources   {', '.join(status.sources) or 'anybody'}")
    if status.server_id:
        lines.append(f"server id {status.server_id}")
    told = ", ".join(f"{name} {number(value)}" for name, value in status.counters.items())
    lines.append(f"counters  {told or 'none'}")
    if status.naming:
        counted = ", ".join(f"{name} {number(value)}" for name, value in status.naming.get("counters", {}).items())
        lines.append(f"names     {', '.join(status.naming['units']) or 'no unit'} ({counted or 'no counters'})")
    return (
        "".join(f"{visible(line)}\n" for line in lines)
        + lines_of("wrong", status.problems, RED)
        + lines_of("note", status.notes, YELLOW)
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    which_argument(parser)
    common_arguments(parser)


COMMAND = Command(
    "status",
    "Whether this host is well as a balancer and as a real: programs, VIPs, announcements, tables, and what is wrong.",
    _arguments,
    run,
    EXIT,
)
