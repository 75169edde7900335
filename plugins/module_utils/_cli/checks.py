# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran checks: what is known of each real of each VIP that has a check.

It reads what the agent keeps in /run and what the last run left in state.json, so it works without the agent too, and
then says how old what it shows is.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import typing as t
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .._kernel.kept_balancers import kept_balancers
from .._kernel.run_files import RunFiles
from .._kernel.state_files import StateFile
from .._kernel.state_folder import read_bpffs
from .._model.checks import Target
from .._model.checks_view import CheckRow, Seen, exit_status
from .._model.errors import EngineError, StateError
from .._model.faults import counted
from .._model.health import Health
from .._model.judging import Checked, iso
from .._model.options import is_instance
from .._model.overlay import overlay_of
from .._model.verdicts import Verdict
from .._model.vips import VipKey, vips_from_config
from .._model.which import read_which
from .._model.written import visible
from .command import Command
from .tables import moment, span, table
from .values import seconds_until

CANNOT_TELL = 2
_LOOK_SECONDS = 0.1
_NOTHING = Health()
_HEADER = ("VIP", "REAL", "STATE", "SINCE", "REASON", "LAST ANSWER")


@dataclass
class Shown:
    """One balancer. `notes`: sentences for people, `sure`: whether what is shown is so at this moment."""

    instance: str
    seen: Seen
    rows: list[CheckRow]
    notes: list[str]
    sure: bool = True


def run(options: argparse.Namespace) -> int:
    """Show them; 0 where all reals are active, 1 where some are not, 2 where that cannot be told."""
    chosen = filter_of(options.which)
    names = _instances(options.instance)
    found = [_look(name, chosen, options) for name in names]
    if options.which is not None and not any(each.rows for each in found):
        raise EngineError(f"no VIP with a check is {options.which}, and none has such a real")
    status = exit_status(row for each in found for row in each.rows)
    if options.json:
        sys.stdout.write(json.dumps([_data(each) for each in found], indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(_text(each, len(found) > 1) for each in found))
    return status if all(each.sure for each in found) else CANNOT_TELL


def filter_of(which: str | None) -> Callable[[VipKey, str], bool]:
    """Whether a (VIP, real) is asked for: by a VIP's name, whole or less of it, or by a real's address.

    EngineError where it is neither.
    """
    if which is None:
        return lambda _key, _real: True
    return read_which(which).means


def _instances(name: str | None) -> list[str]:
    if name is not None and not is_instance(name):
        raise EngineError(f"{visible(name)} is not the name of an instance")
    there = kept_balancers()
    if name is None and there:
        return there
    if name in there and name is not None:
        return [name]
    raise EngineError(f"there is no balancer{f' {name}' if name else ''} on this host")


def _look(instance: str, chosen: Callable[[VipKey, str], bool], options: argparse.Namespace) -> Shown:
    files, notes, sure = RunFiles(instance), [], True
    seen, fault = _read(instance, files)
    if fault:
        notes.append(fault)
    alive = seen.is_alive(time.time())
    if options.now and seen.checked.pairs and alive:
        seen, missing = _ask_now(instance, files, seen, chosen, options.wait)
        alive, sure = seen.is_alive(time.time()), not missing
        if missing:
            notes.append(f"{counted(missing, 'target')} did not answer to --now within {options.wait:g} s")
    if not seen.checked.vips:
        notes.append("no VIP has a check")
    elif not alive:
        sure = False
        notes.append(_absence(seen))
    if seen.record is not None:
        named = {str(key) for key in seen.checked.vips}
        notes += [f"vip {vip} is degraded: {why}" for vip, why in sorted(seen.record.degraded.items()) if vip in named]
    return Shown(instance, seen, seen.rows(chosen), notes, sure)


def _absence(seen: Seen) -> str:
    remedy = "systemctl status katran-agent says more"
    if seen.record is None:
        return f"the agent is not there and nothing is known of its checks: what was applied last is shown ({remedy})"
    return f"the agent does not run: this is as it was {span(seen.age(time.time()))} ago ({remedy})"


def _read(instance: str, files: RunFiles) -> tuple[Seen, str]:
    """What there is, and what is wrong with checks.json."""
    state = StateFile(instance, read_bpffs(instance)).read()
    fault, record = "", None
    try:
        record = files.read_checks()
    except StateError as error:
        fault = str(error)
    stored = [Verdict(**each) for each in state.verdicts]
    return Seen(Checked.of(vips_from_config(state.vips)), overlay_of(state), stored, record), fault


def _ask_now(
    instance: str, files: RunFiles, seen: Seen, chosen: Callable[[VipKey, str], bool], wait: float
) -> tuple[Seen, int]:
    """Have all targets asked at once; what there is then, and how many of those that are shown were not in time."""
    wanted = {target for (key, real), target in seen.checked.targets.items() if chosen(key, real)}
    begun, deadline = time.time(), time.monotonic() + wait
    files.touch_kick()
    while True:
        time.sleep(_LOOK_SECONDS)
        missing = len(wanted) - _asked_since(files, wanted, begun)
        if not missing or time.monotonic() > deadline:
            return _read(instance, files)[0], missing


def _asked_since(files: RunFiles, wanted: Iterable[Target], begun: float) -> int:
    """Of how many the last probe began after that."""
    try:
        record = files.read_checks()
    except StateError:
        return 0
    found = (record.healths.get(target, _NOTHING) for target in wanted) if record else ()
    return sum(each.last is not None and each.asked - each.last.took >= begun for each in found)


# Shown


def _data(shown: Shown) -> dict[str, t.Any]:
    now, record = time.time(), shown.seen.record
    return {
        "instance": shown.instance,
        "alive": shown.seen.is_alive(now),
        "at": iso(record.at) if record else None,
        "sure": shown.sure,
        "notes": shown.notes,
        "degraded": dict(record.degraded) if record else {},
        "checks": [row.to_data() for row in shown.rows],
    }


def _text(shown: Shown, several: bool) -> str:
    now = time.time()
    title = f"instance {shown.instance}\n" if several else ""
    rows, before = [], ""
    for row in shown.rows:
        since = f"{moment(row.since)}"
        # Of a VIP, the first row alone names it.
        rows.append(("" if row.vip == before else row.vip, row.real, _state(row), since, row.reason, _last(row, now)))
        before = row.vip
    body = table(_HEADER, rows) if rows else ""
    return title + body + "".join(f"{visible(note)}\n" for note in shown.notes)


def _state(row: CheckRow) -> str:
    share = f" {row.share} %" if row.share < 100 else ""
    coming = f" → {row.wanted}" if row.wanted else ""
    return f"{row.state}{share}{coming}"


def _last(row: CheckRow, now: float) -> str:
    if row.last is None:
        return "-"
    what = row.last.state or "not asked"
    why = f": {row.last.reason}" if row.last.reason else ""
    took = f" in {row.last.took * 1000:.1f} ms" if row.last.state and row.last.took else ""
    ends = f", certificate ends {moment(row.last.expires)[:10]}" if row.last.expires else ""
    return f"{what}{why}{took}, {span(now - row.asked)} ago{ends}"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("which", nargs="?", metavar="VIP|REAL", help="one VIP (198.51.100.1:443/tcp) or one real alone")
    parser.add_argument("--instance", metavar="NAME", help="one balancer of this host; all of them without it")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--now", action="store_true", help="have the agent ask all at once, and wait for the answers")
    parser.add_argument(
        "--wait", type=seconds_until(3600), default=10.0, metavar="SECONDS", help="how long --now waits at most (10)"
    )


COMMAND = Command(
    "checks",
    "What checks say of each real, since when, why, and what it last answered.",
    _arguments,
    run,
    "Exit status: 0 all are active, 1 some are not, 2 that cannot be told, because the agent does not run or has not"
    " judged all yet.",
)
