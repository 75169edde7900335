# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent is told of a balancer: agent.json, which it reads as soon as it is another."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .._kernel.agent_lock import is_held, let_go
from .._kernel.lock import LOCK_ROOT, locked
from .._kernel.private import read_private
from .._kernel.state_files import StateFile
from .._kernel.state_folder import StateFolder, instances
from .._kernel.tree import remove_files, remove_folders
from .._kernel.units import change_unit, read_units
from .._model.agent_settings import AGENT_FILE, AgentSettings, settings_changes
from .._model.announcement import Told
from .._model.errors import EngineError, FleetError, HostError, StateError
from .._model.host_plan import AGENT
from .._model.words_file import WORDS_FILE
from .request import Request
from .withdraw import withdrawn

_LET_GO_SECONDS = 10.0


@dataclass
class AgentOutcome:
    """What was, or in check mode would be, done. `left`: the interface whose program healthcheck is needed no more."""

    changes: list[str] = field(default_factory=list)
    before: dict[str, object] = field(default_factory=dict)
    after: dict[str, object] = field(default_factory=dict)
    left: str = ""


def ensure_agent(request: Request, settings: AgentSettings) -> AgentOutcome:
    """Have the agent take part in a balancer with these settings; in check mode only say what that takes."""
    file = StateFile(request.instance, request.bpffs)
    with locked(request.instance, not request.check, request.lock_timeout):
        if not request.check and file.read_file("state.json") is None:
            raise EngineError(
                f"balancer {request.instance} is not on this host: run module katran.fleet.balancer first"
            )
        before, damage = _read(file)
        closed = file.close(request.check)
        outcome = AgentOutcome([*closed, *damage, *settings_changes(before, settings)])
        outcome.before, outcome.after = before.options() if before else {}, settings.options()
        if before is not None and before.interface and not settings.interface:
            outcome.left = before.interface
        if before == settings and not damage:
            return outcome
        _require_free(settings, _listening())
        if not request.check:
            file.write_file(AGENT_FILE, settings.to_json())
            if _is_active():
                change_unit("reload", AGENT)
    return outcome


def with_address(params: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Options of module agent, with the address that peers send to: where none is told, that towards the first."""
    found = dict(params)
    if found["sync"] and not found["sync_address"] and found["sync_peers"]:
        with contextlib.suppress(ValueError):
            found["sync_address"] = source_towards(str(found["sync_peers"][0])) or ""
    return found


def remove_agent(request: Request) -> AgentOutcome:
    """Have the agent let go of a balancer: its routes are withdrawn, and what it keeps of the balancer goes."""
    file = StateFolder(request.instance, request.bpffs)
    folder = os.path.join(LOCK_ROOT, request.instance)
    outcome = AgentOutcome()
    with locked(request.instance, not request.check, request.lock_timeout):
        before, damage = _read(file)
        if before is not None or damage:
            outcome.changes.append("the agent's settings: removed")
            outcome.before = before.options() if before else {}
        outcome.left = before.interface if before else ""
        if os.path.isdir(folder):
            outcome.changes.append(f"remove {folder}")
        if request.check:
            return outcome
        file.forget(AGENT_FILE)
    if outcome.changes and _is_active():
        change_unit("reload", AGENT)
    if os.path.isdir(folder):
        let_go(folder, _LET_GO_SECONDS)
        file.forget(WORDS_FILE)
        with withdrawn(request.instance, _places(folder)):
            pass
        names = [entry.path for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
        words = os.path.join(folder, "verdicts.d")
        remove_files(*names, *(entry.path for entry in _scan(words)))
        remove_folders(words, folder)
    file.remove_if_empty()
    return outcome


def read_settings(instance: str) -> AgentSettings | None:
    """What the agent is told of a balancer, None where nothing. StateError where that is damaged."""
    file = StateFolder(instance, "")
    source = file.read_file(AGENT_FILE)
    return None if source is None else AgentSettings.from_json(source, os.path.join(file.directory, AGENT_FILE))


def _read(file: StateFolder) -> tuple[AgentSettings | None, list[str]]:
    """What was told last, and a line where that is damaged and so written anew."""
    try:
        return read_settings(file.instance), []
    except StateError as error:
        return None, [str(error)]


def _is_active() -> bool:
    # Where no systemd is, somebody else starts the agent, which looks for itself.
    with contextlib.suppress(HostError):
        return read_units([AGENT])[AGENT].active in ("active", "reloading")
    return False


def _listening() -> set[tuple[str, int]]:
    """Where the agent that runs listens, for whichever balancer it takes part in."""
    found: set[tuple[str, int]] = set()
    for name in instances():
        if not is_held(os.path.join(LOCK_ROOT, name)):
            continue
        with contextlib.suppress(FleetError):
            settings = read_settings(name)
            found |= set(settings.metrics.listen if settings else ())
            if settings and settings.sync:
                found.add((settings.sync.address, settings.sync.port))
    return found


def _require_free(settings: AgentSettings, own: Iterable[tuple[str, int]]) -> None:
    """EngineError where somebody else has a port, or the host lacks an address. `own`: where the agent listens."""
    wanted = [("metrics_listen", socket.SOCK_STREAM, place) for place in settings.metrics.listen]
    if settings.sync is not None:
        wanted.append(("sync_address", socket.SOCK_DGRAM, (settings.sync.address, settings.sync.port)))
    faults = []
    for name, kind, place in wanted:
        if place not in own:
            family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
            with socket.socket(family, kind) as one:
                if kind == socket.SOCK_STREAM:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    one.bind(place)
                except OSError as error:
                    faults.append(f"{name}: {_refusal(error, *place)}")
    if faults:
        raise EngineError("; ".join(faults))


def source_towards(address: str) -> str | None:
    """The address from which the host reaches another one, None where it does not."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        # Nothing is sent: the kernel only looks for the way.
        probe.connect((address, 9))
        return str(probe.getsockname()[0])
    return None


def _refusal(error: OSError, address: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {address} is in use by another process of this host (ss -lnp)"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address} is no address of this host"
    return f"port {port} of {address} cannot be used: {error.strerror}"


def _places(folder: str) -> set[str]:
    """What is announced, as far as ready.json says."""
    path = os.path.join(folder, "ready.json")
    with contextlib.suppress(StateError, UnicodeDecodeError):
        source = read_private(path)
        return set(Told.from_json(source, path).places) if source is not None else set()
    return set()


def _scan(folder: str) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError):
        return list(os.scandir(folder))
    return []
