# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran history: the configurations that were applied to a balancer, who did it, and how they differ.

It reads what runs left on the host, so it works without Ansible, agent or kernel.
"""

from __future__ import annotations

import argparse
import sys
import typing as t

from .._engine.history_info import History
from .._model.errors import EngineError
from .._model.history import BEFORE, Entry, Known, Opening
from .._model.history_diff import Difference, difference, unified
from .._model.written import visible
from .command import Command
from .instances import one_instance
from .shared import WELL, WRONG, common_arguments, number, write_json
from .tables import GREEN, RED, moment_of, painted, screen_width, table
from .values import whole

_HEADER = ("N", "WHEN", "WHO", "REVISION", "RUN", "WRITTEN", "SECONDS", "WHAT")
_NUMBER = whole(0, 10**9 - 1)
_RUN = 8
"""As much of a run's id is shown in the table, and is enough for module revert."""


def run(options: argparse.Namespace) -> int:
    """Show the history, an entry of it, or what differs."""
    numbers = options.number
    least, most = {None: (0, 0), "show": (1, 1), "diff": (1, 2)}[options.action]
    if not least <= len(numbers) <= most:
        raise EngineError("give history diff one number or two, history show one, and history alone none")
    history = History(one_instance(options.instance))
    if options.action == "show":
        return _show(history.entry(numbers[0]), options.json)
    if options.action == "diff":
        return _diff(history, numbers[0], numbers[1] if len(numbers) > 1 else None, options.json)
    return _list(history.known(), history.opening(), options.json)


def _list(known: Known, opening: Opening | None, for_programs: bool) -> int:
    entries = {each: found for each, found in sorted(known.items(), reverse=True) if isinstance(found, Entry)}
    damaged = {each: found for each, found in sorted(known.items()) if not isinstance(found, Entry)}
    if for_programs:
        write_json({"entries": [_data(each) for each in entries.values()], "damaged": list(damaged.values())})
        return WRONG if damaged else WELL
    if entries:
        sys.stdout.write(table(_HEADER, [_row(each) for each in entries.values()], width=screen_width()))
    elif not damaged:
        sys.stdout.write("nothing was applied to this balancer since its history began\n")
    if opening is not None:
        since = moment_of(opening.began)
        sys.stdout.write(f"{opening.module} began at {since} and has not ended: it is at work, or was killed\n")
    for sentence in damaged.values():
        sys.stdout.write(f"{visible(str(sentence))}\n")
    return WRONG if damaged else WELL


def _row(entry: Entry) -> tuple[str, ...]:
    written = number(sum(entry.operations.values())) if entry.kind != BEFORE else "-"
    took = f"{entry.seconds:.1f}" if entry.kind != BEFORE else "-"
    who, revision, run_id = (each or "-" for each in (entry.user, entry.revision, entry.run[:_RUN]))
    return str(entry.number), moment_of(entry.began), who, revision, run_id, written, took, entry.summary


def _data(entry: Entry) -> dict[str, t.Any]:
    return {
        "number": entry.number,
        "kind": entry.kind,
        "began": entry.began,
        "run": entry.run,
        "user": entry.user,
        "revision": entry.revision,
        "to": entry.to,
        "what": entry.summary,
        "operations": entry.operations,
        "seconds": entry.seconds,
        "steps": [vars(step) for step in entry.steps],
    }


def _show(entry: Entry, for_programs: bool) -> int:
    if for_programs:
        write_json(_data(entry))
        return WELL
    facts = {
        "number": entry.number,
        "began": entry.began,
        "user": entry.user or None,
        "revision": entry.revision or None,
        "run": entry.run or None,
        "back to": entry.to,
    }
    shown = {name: value for name, value in facts.items() if value is not None}
    sys.stdout.write("".join(f"{name}: {visible(str(value))}\n" for name, value in shown.items()))
    if not entry.steps:
        sys.stdout.write(f"{entry.summary}\n")
    for step in entry.steps:
        written = ", ".join(f"{name} {count}" for name, count in sorted(step.operations.items())) or "nothing"
        how = f"{step.seconds:.1f} s, written: {written}" if step.ended else "did not end"
        sys.stdout.write(f"{painted(step.module, GREEN)} ({how})\n")
        sys.stdout.write("".join(f"  {visible(line)}\n" for line in step.changes))
        if step.count > len(step.changes):
            sys.stdout.write(f"  and {step.count - len(step.changes)} more\n")
    return WELL


def _diff(history: History, first: int, second: int | None, for_programs: bool) -> int:
    old = history.configuration(first)
    new = history.now() if second is None else history.configuration(second)
    found = difference(old, new)
    after = "now" if second is None else str(second)
    if for_programs:
        write_json({"from": first, "to": second, **_differences(found)})
    else:
        sys.stdout.write("".join(f"# {visible(line)}\n" for line in found.lines))
        sys.stdout.write("".join(f"{_painted(visible(line))}\n" for line in unified(found, str(first), after)))
    return WRONG if found.lines or found.changes else WELL


def _differences(found: Difference) -> dict[str, t.Any]:
    changes = {name: [each._asdict() for each in entries] for name, entries in found.changes.items()}
    return {"lines": found.lines, "changes": changes}


def _painted(line: str) -> str:
    if line.startswith(("+++", "---")):
        return line
    return painted(line, GREEN if line.startswith("+") else RED if line.startswith("-") else "")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("diff", "show"), help="what to show beside the list")
    parser.add_argument(
        "number",
        nargs="*",
        type=_NUMBER,
        metavar="N",
        help="the number of an applied configuration; diff compares it with a second one, or else with what is now",
    )
    common_arguments(parser)


COMMAND = Command(
    "history",
    "The configurations that were applied to a balancer: when, by whom, at which revision, what, and how they differ.",
    _arguments,
    run,
    "Exit status: 0 all is well, or diff finds no difference; 1 an entry is damaged, or diff finds some; 2 that cannot"
    " be told, and a sentence says why.",
)
