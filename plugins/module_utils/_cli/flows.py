# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran flows: which flows go to which real, how full their tables are, and which of them today's ring contradicts."""

from __future__ import annotations

import argparse
import sys
import typing as t
from dataclasses import asdict, dataclass, field

from .._engine.flows import Found
from .._engine.flows_info import MAX_LIMIT, flows_found
from .._engine.look import looking
from .._engine.request import Request
from .._kernel.state_folder import read_bpffs
from .._model.faults import counted
from .._model.flow_selection import parse_filters
from .command import Command
from .shared import CANNOT_TELL, WELL, WRONG, balancers, common_arguments, lines_of, number, percent, write_json
from .tables import YELLOW, screen_width, span, table
from .values import whole

_HEADER: tuple[str, ...] = ("CLIENT", "VIP", "REAL", "RING SAYS", "IDLE", "TABLE")
_REMEDY = (
    "an entry of TCP has no age: of these, some may be connections that live and keep their real, the others are left"
    " behind, and a connection from the same port that another balancer began is sent to the real of before when it"
    " moves here. Where clients report resets, drain this balancer (katran drain), and once traffic has left, remove"
    " the flows: module katran.fleet.flows with allow_all: true, or with a real or a client alone"
)


@dataclass
class _Shown:
    """One balancer."""

    instance: str
    found: Found
    notes: list[str] = field(default_factory=list)
    sure: bool = True


def run(options: argparse.Namespace) -> int:
    """Show them; with --stale 1 where there are some."""
    params = {name: getattr(options, name) for name in ("vip", "real", "client", "limit", "stale")}
    parse_filters(params, (), {})
    shown = [_look(name, params) for name in balancers(options.instance)]
    if options.json:
        write_json([_data(each) for each in shown])
    else:
        sys.stdout.write("\n".join(_text(each, len(shown) > 1, options) for each in shown))
    if not all(each.sure for each in shown):
        return CANNOT_TELL
    return WRONG if options.stale and any(each.found.total for each in shown) else WELL


def _look(instance: str, params: dict[str, t.Any]) -> _Shown:
    shown = _Shown(instance, Found())
    with looking(instance, shown.notes) as alone:
        shown.sure = alone
        shown.found = flows_found(Request(instance, read_bpffs(instance), 0, False), params)
    shown.notes += shown.found.warnings
    return shown


def _data(shown: _Shown) -> dict[str, t.Any]:
    found = asdict(shown.found)
    del found["warnings"]
    return {"instance": shown.instance, "sure": shown.sure, "notes": shown.notes, **found}


def _text(shown: _Shown, several: bool, options: argparse.Namespace) -> str:
    title = f"instance {shown.instance}\n" if several else ""
    found = shown.found
    rows, header = [_row(flow) for flow in found.flows], _HEADER
    if any("encapsulated_by" in flow for flow in found.flows):
        header = (*header, "ENCAPSULATED BY")
        rows = [(*row, flow["encapsulated_by"] or "-") for row, flow in zip(rows, found.flows, strict=True)]
    body = table(header, rows, width=screen_width()) if rows else ""
    what = "that today's ring contradicts" if options.stale else "that are meant" if _filters(options) else "in all"
    more = f", of which {len(found.flows)} are shown" if 0 < len(found.flows) < found.total else ""
    body += f"{counted(found.total, 'flow')} {what}{more}\n"
    body += "".join(
        f"  {each['real'] or 'no real (id ' + str(each['id']) + ')'}  {number(each['flows'])}"
        f" ({percent(each['flows'] / found.total)})\n"
        for each in found.reals
    )
    for each in found.tables:
        place = each["table"] if each["cpu"] is None else f"{each['table']} of CPU {each['cpu']}"
        if each["entries"] or not each["table"].startswith("fallback"):
            share = percent(each["entries"] / each["capacity"])
            body += f"{place}: {number(each['entries'])} of {number(each['capacity'])} ({share})\n"
    remedy = [_REMEDY] if options.stale and found.total else []
    return title + body + lines_of("note", [*shown.notes, *remedy], YELLOW)


def _filters(options: argparse.Namespace) -> bool:
    return any((options.vip, options.real, options.client))


def _row(flow: dict[str, t.Any]) -> tuple[str, ...]:
    def end(address: str, port: int) -> str:
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    says = "the same" if not flow["stale"] else flow["ring"] or "no real"
    return (
        end(flow["client"], flow["client_port"]),
        f"{end(flow['vip'], flow['port'])}/{flow['protocol']}",
        flow["real"] or f"id {flow['real_id']}",
        says,
        "-" if flow["idle"] is None else span(flow["idle"]),
        flow["table"] if flow["cpu"] is None else f"CPU {flow['cpu']}",
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vip", help="those to this VIP: an address or prefix, and if need be port and protocol")
    parser.add_argument("--real", metavar="ADDRESS", help="those that go to this real")
    parser.add_argument("--client", metavar="PREFIX", help="those from this address or prefix")
    parser.add_argument("--stale", action="store_true", help="those alone that today's ring would give another real")
    parser.add_argument(
        "--limit", type=whole(0, MAX_LIMIT), default=20, metavar="N", help="list as many (20); all are counted"
    )
    common_arguments(parser)


COMMAND = Command(
    "flows",
    "Search the connection tables: which flows go to which real, and how full the tables are.",
    _arguments,
    run,
    "Exit status: 0 they were searched, 1 with --stale where there are such flows, 2 that cannot be told. A million"
    " flows take a second, with --stale some 5.",
)
