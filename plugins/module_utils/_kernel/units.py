# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units of systemd, by its own properties."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from .._model.errors import HostError
from .._model.host_plan import UnitState
from .systemctl import FOLDER, read_properties, systemctl
from .tree import make_link, read_link

_PROPERTIES = "UnitFileState,ActiveState,DropInPaths,NeedDaemonReload"


def read_units(names: Iterable[str]) -> dict[str, UnitState]:
    """Each unit as it is; of one that systemd does not know, nothing."""
    found = {}
    for name, values in read_properties(names, _PROPERTIES).items():
        found[name] = UnitState(
            read_link(os.path.join(FOLDER, name)),
            values.get("UnitFileState", ""),
            values.get("ActiveState", ""),
            tuple(values.get("DropInPaths", "").split()),
            values.get("NeedDaemonReload") == "yes",
        )
    return found


def link_unit(name: str, target: str) -> None:
    """Make a unit's file a link to this, in one step; a file that was in its place is kept as NAME.before."""
    path = os.path.join(FOLDER, name)
    if read_link(path) == "":
        os.rename(path, f"{path}.before")
    make_link(path, target)


def unlink_unit(name: str) -> None:
    """Disable a unit, end what it does, and remove its file."""
    with contextlib.suppress(HostError):
        # Of a link whose target is gone systemd knows nothing, but the links to it are there.
        systemctl("disable", "--now", name)
    with contextlib.suppress(HostError):
        # One that failed would stay among the failed ones without its file.
        systemctl("reset-failed", name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(FOLDER, name))


def reload_units() -> None:
    """Have systemd read its units anew."""
    systemctl("daemon-reload")


def change_unit(verb: str, name: str) -> None:
    """Enable, disable, start, restart or stop a unit."""
    systemctl(verb, name)
