# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What works beside a balancer's program: the agent, and the routing daemon that tells neighbours of VIPs."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
from collections.abc import Iterable

from ..._kernel import bird, bird_view
from ..._kernel.agent_lock import is_held
from ..._kernel.announce_routes import by_place, read_routes
from ..._kernel.kept_balancers import kept_balancers
from ..._kernel.lock import LOCK_ROOT
from ..._kernel.run_files import RunFiles
from ..._kernel.state_files import StateFile
from ..._model.agent_settings import AGENT_FILE
from ..._model.checks_view import Seen
from ..._model.doctor.announced import Session, no_daemon, of_sessions, places, sessions
from ..._model.doctor.finding import Finding
from ..._model.doctor.host import HUNG_SECONDS, Agent, of_agent
from ..._model.errors import HostError, StateError
from ..._model.judging import EXTERNAL, Checked
from ..._model.overlay import overlay_of
from ..._model.state import State
from ..._model.verdicts import Verdict
from ..._model.vips import vips_from_config
from ..announced import read_told
from ..bgp import RECORD

_PATIENCE_SECONDS = 4.0
"""How long an agent that has just started has to write what it knows, and a session that has just ended to come back:
bird is told to try again after a second."""


def look_at_agent(file: StateFile, state: State) -> Iterable[Finding]:
    """Whether an agent takes part, where one is needed."""
    vips = vips_from_config(state.vips).values()
    needed = []
    if any(vip.check is not None for vip in vips):
        needed.append("checks of reals")
    if any(vip.announce is not None for vip in vips):
        needed.append("announcements")
    held = is_held(os.path.join(LOCK_ROOT, file.instance))
    deadline = time.monotonic() + _PATIENCE_SECONDS
    age = _age(file.instance)
    while held and age is not None and age > HUNG_SECONDS and time.monotonic() < deadline:
        time.sleep(0.1)
        age = _age(file.instance)
    return of_agent(file.instance, Agent(file.read_file(AGENT_FILE) is not None, needed, held, age))


def _age(instance: str) -> float | None:
    """Seconds since the agent wrote what it knows of checks."""
    record = None
    # One that is damaged the agent writes anew.
    with contextlib.suppress(StateError):
        record = RunFiles(instance).read_checks()
    return None if record is None else max(0.0, time.time() - record.at)


def failing_checks(file: StateFile, state: State) -> dict[tuple[str, str], str]:
    """(VIP, real) → why its check fails, of those that are out and whose last answer says so still.

    One whose last answer is good is on its way back; what an agent that does not run knew is past.
    """
    record = None
    with contextlib.suppress(StateError):
        record = RunFiles(file.instance).read_checks()
    vips = Checked.of(vips_from_config(state.vips))
    seen = Seen(vips, overlay_of(state), [Verdict(**each) for each in state.verdicts], record)
    if not seen.is_alive(time.time()):
        return {}
    return {
        (row.vip, row.real): row.last.reason or row.reason
        for row in seen.rows(lambda _key, _real: True)
        if row.state == "down" and row.type != EXTERNAL and row.last is not None and row.last.state == "down"
    }


def _patiently() -> list[Session]:
    """The BGP sessions, once they are all up, or will not be in a while."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        found = sessions(bird_view.ask(["show protocols all"])[0])
        if all(session.up for session in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def look_at_sessions(file: StateFile, seen: dict[str, t.Any]) -> Iterable[Finding]:
    """Whether bird tells its neighbours of what the agent announces; nothing where somebody else announces."""
    told = read_told(RunFiles(file.instance))
    routes = by_place(read_routes(told.table))
    ready = [place for place, each in told.places.items() if each.metric]
    seen["announced"] = routes
    if not bird_view.is_there():
        if os.path.exists(RECORD):
            return [no_daemon(told.table, f"there is no {bird.CONTROL}")]
        return of_sessions(ready, routes, told.table, [], {})
    try:
        found = _patiently()
        up = [session.name for session in found if session.up]
        exported = bird_view.ask([f"show route export {name}" for name in up])
    except HostError as error:
        return [no_daemon(told.table, str(error))]
    by_name = {name: places(lines) for name, lines in zip(up, exported, strict=True)}
    seen["sessions"] = {session.name: session.up for session in found}
    shared = any(name != file.instance for name in kept_balancers())
    if shared:
        # Each balancer of the host tells of its own routes; which of them bird announces is what katran_bgp says.
        routes = {place: metric for place, metric in routes.items() if place in told.places}
    return of_sessions(ready, routes, told.table, found if routes or os.path.exists(RECORD) else [], by_name, shared)
