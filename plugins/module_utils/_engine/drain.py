# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A person's word that traffic is to leave a balancer, or may come back: drain.json, which outlives a reboot.

The agent announces a drained balancer with the metric that asks traffic to go elsewhere, or with `withdraw` not at all.
The program goes on serving what still comes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime

from .._kernel.lock import locked
from .._kernel.state_files import StateFile
from .._kernel.state_folder import StateFolder
from .._model.announcement import DRAIN_FILE, Drain
from .._model.drain_file import drain_from_json, drain_to_json
from .._model.errors import EngineError, StateError
from .request import Request, Result


def read_drain(file: StateFolder) -> Drain | None:
    """What a person said of a balancer, None where nothing. A file that is damaged says so: it is drained."""
    path = os.path.join(file.directory, DRAIN_FILE)
    try:
        source = file.read_file(DRAIN_FILE)
        return None if source is None else drain_from_json(source, path)
    except StateError as error:
        return Drain("", f"somebody ({error})")


def set_drain(request: Request, by: str, withdraw: bool = False) -> Result:
    """Let traffic leave a balancer; with `withdraw` its routes go. `by`: whose word that is, as reasons show it.

    A second call changes nothing, and a call with another `withdraw` that alone. EngineError where there is no such
    balancer.
    """
    return _change(request, lambda old: _drained(old, by, withdraw))


def clear_drain(request: Request) -> Result:
    """Let traffic come back; a second call changes nothing."""
    return _change(request, lambda _old: None)


def _drained(old: Drain | None, by: str, withdraw: bool) -> Drain:
    since = old.since if old is not None and old.since else datetime.now(tz=UTC).isoformat(timespec="seconds")
    return Drain(since, old.by if old is not None and old.since else by, withdraw)


def _change(request: Request, word: Callable[[Drain | None], Drain | None]) -> Result:
    file = StateFile(request.instance, request.bpffs)
    with locked(request.instance, not request.check, request.lock_timeout):
        if file.read_file("state.json") is None:
            raise EngineError(f"there is no balancer {request.instance} on this host")
        old = read_drain(file)
        new = word(old)
        result = Result(before=_told(old), after=_told(new))
        if new != old:
            result.changes = [f"balancer {request.instance}: {_sentence(new)}"]
            if not request.check:
                if new is None:
                    file.forget(DRAIN_FILE)
                else:
                    file.write_file(DRAIN_FILE, drain_to_json(new))
        return result


def _told(drain: Drain | None) -> dict[str, object]:
    return {} if drain is None else drain._asdict()


def _sentence(drain: Drain | None) -> str:
    if drain is None:
        return "traffic may come back"
    return f"traffic is asked to leave, by {drain.by}" + (", and its routes are withdrawn" if drain.withdraw else "")
