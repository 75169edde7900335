# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of program server_id_option reads and changes beside what every program's does: units and their groups."""

from __future__ import annotations

import contextlib
import os
import typing as t
from collections.abc import Iterable

from .._model.errors import HostError
from .._model.server_id_plan import UnitPlace
from .._model.unit_names import drop_in_name
from . import cgroups
from .edges import Edges, KernelEdges
from .listeners import Listener, listeners
from .systemctl import FOLDER, read_properties, systemctl

_PROPERTIES = "LoadState,ControlGroup,TriggeredBy,DropInPaths,NeedDaemonReload"


class CgroupEdges(Edges, t.Protocol):
    """A host whose units have control groups."""

    def unit_places(self, instance: str, names: Iterable[str], /) -> dict[str, UnitPlace]:
        """Each unit as it is. HostError or ProgramError where the host cannot tell."""

    def told_units(self, instance: str, /) -> list[str]:
        """The units that have a drop-in of ours."""

    def attach_to_group(self, path: str, fd: int, replaced: int = 0, /) -> None:
        """Run a program on the sockets of a group, beside others or in place of the `replaced` one."""

    def detach_from_group(self, path: str, fd: int, /) -> None:
        """Take a program off a group; no failure where either is gone."""

    def put_drop_in(self, instance: str, unit: str, text: str, /) -> None:
        """Write our drop-in of a unit, "" to remove it."""

    def reload_units(self) -> None:
        """Have systemd read its units anew."""

    def restart_unit(self, name: str, /) -> None:
        """Start a unit anew. HostError where it does not start."""


def _drop_in(instance: str, unit: str) -> str:
    return os.path.join(FOLDER, f"{unit}.d", drop_in_name(instance))


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read()
    except FileNotFoundError:
        return None


def _unit_places(instance: str, names: Iterable[str]) -> dict[str, UnitPlace]:
    wanted = sorted(set(names))
    if not wanted:
        return {}
    listening = listeners()
    found = {}
    for name, said in read_properties(wanted, _PROPERTIES).items():
        path = _drop_in(instance, name)
        group = cgroups.group_path(said.get("ControlGroup", ""))
        text = _read(path)
        found[name] = UnitPlace(
            known=said.get("LoadState") != "not-found",
            group=group,
            programs=cgroups.programs_in(group)[0] if group else (),
            blocked=cgroups.blocking(group) if group else "",
            drop_in=text,
            unread=(path in said.get("DropInPaths", "").split()) != (text is not None)
            or (text is not None and said.get("NeedDaemonReload") == "yes"),
            listeners=_listening_in(group, listening) if group else {},
            sockets=tuple(each for each in said.get("TriggeredBy", "").split() if each.endswith(".socket")),
        )
    return found


def _listening_in(group: str, listening: Iterable[Listener]) -> dict[int, int]:
    numbers = cgroups.numbers_below(group)
    return {each.cookie: each.port for each in listening if each.group in numbers}


def _told_units(instance: str) -> list[str]:
    try:
        folders = os.listdir(FOLDER)
    except FileNotFoundError:
        return []
    names = (each.removesuffix(".d") for each in folders if each.endswith(".d"))
    return sorted(name for name in names if os.path.lexists(_drop_in(instance, name)))


def _put_drop_in(instance: str, unit: str, text: str) -> None:
    path = _drop_in(instance, unit)
    folder = os.path.dirname(path)
    try:
        if not text:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            with contextlib.suppress(OSError):
                # What others have there stays.
                os.rmdir(folder)
            return
        os.makedirs(folder, mode=0o755, exist_ok=True)
        temporary = os.path.join(folder, f".{os.path.basename(path)}.{os.getpid()}")
        with open(temporary, "w", encoding="utf-8") as target:
            os.fchmod(target.fileno(), 0o644)
            target.write(text)
        os.rename(temporary, path)
    except OSError as error:
        raise HostError(f"{path} cannot be changed: {error.strerror}") from error


def _restart_unit(name: str) -> None:
    systemctl("restart", name)


def _reload_units() -> None:
    systemctl("daemon-reload")


class KernelCgroupEdges(KernelEdges):
    """The host that this process runs on."""

    unit_places = staticmethod(_unit_places)
    told_units = staticmethod(_told_units)
    attach_to_group = staticmethod(cgroups.attach_to_group)
    detach_from_group = staticmethod(cgroups.detach_from_group)
    put_drop_in = staticmethod(_put_drop_in)
    reload_units = staticmethod(_reload_units)
    restart_unit = staticmethod(_restart_unit)
