# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit of the machine's kernel that hosts meet first: inotify instances, 128 of a user where nobody changed it.

Each laboratory adds what its own hosts need to the limit and takes that back when it goes, so that several may come
and go in any order.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from fleetlab.plan import Lab

_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
# A host's systemd has five, its dbus and logind one each.
_PER_HOST = 8


def _add(number: int) -> None:
    _LIMIT.write_text(str(int(_LIMIT.read_text(encoding="ascii")) + number), encoding="ascii")


def _record(lab: Lab) -> Path:
    return lab.directory / "inotify-instances"


def make_room(lab: Lab) -> None:
    """Raise the limit by what the laboratory's hosts need; once in its life, with the list of laboratories held."""
    number = _PER_HOST * len(lab.hosts)
    # Where a machine's settings are read-only, as many hosts boot as its limit allows, and the next one says why not.
    with contextlib.suppress(OSError):
        _add(number)
        _record(lab).write_text(str(number), encoding="ascii")


def give_back(lab: Lab) -> None:
    """Lower the limit by what make_room added for this laboratory, if it did; with the list of laboratories held."""
    with contextlib.suppress(FileNotFoundError):
        number = int(_record(lab).read_text(encoding="ascii"))
        _record(lab).unlink()
        _add(-number)
