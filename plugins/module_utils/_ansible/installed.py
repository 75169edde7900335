# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine that module host installed, in place of the same one in a module's payload: it is compiled already.

Python compiles what it imports from a payload on every run, which takes longer than most runs.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import zipfile
from collections.abc import Iterator

ENGINE = "/usr/lib/katran-fleet/ansible_collections/katran/fleet/plugins/module_utils"
LOCK = "/run/katran-fleet/library.lock"
"""Held shared while the installed engine is used: module host changes it only alone."""

_PACKAGE = "ansible_collections.katran.fleet.plugins.module_utils"
_ROOMS = ("_model", "_kernel", "_program", "_engine")


def prefer_installed(engine: str = ENGINE, lock: str = LOCK, makes: bool = True) -> bool:
    """Import the engine from the host where it has every file of this payload's, byte for byte, and root's alone.

    In any doubt, the payload's own is imported. To be called before anything of the engine is; True where it is used.
    `makes`: whether a lock that is not there is made.
    """
    package = sys.modules[_PACKAGE]
    archive = getattr(package.__spec__ and package.__spec__.loader, "archive", None)
    if archive is None or any(name.startswith(f"{_PACKAGE}.{room}") for name in sys.modules for room in _ROOMS):
        return False
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if makes else 0), 0o600)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        found = _is_of_root_alone(engine) and all(_same(engine, path, data) for path, data in _payload(archive))
    except (OSError, ValueError, zipfile.BadZipFile):
        found = False
    if found:
        # The descriptor stays open, and the lock held, until this process ends.
        package.__path__.insert(0, engine)
    else:
        os.close(descriptor)
    return found


def _payload(archive: str) -> Iterator[tuple[str, bytes]]:
    """(path in module_utils, content) of the engine's files in a payload."""
    prefix = _PACKAGE.replace(".", "/") + "/"
    with zipfile.ZipFile(archive) as payload:
        for name in payload.namelist():
            path = name.removeprefix(prefix)
            if path != name and path.split("/")[0] in _ROOMS:
                yield path, payload.read(name)


def _same(engine: str, path: str, data: bytes) -> bool:
    """Whether the host has the same file, which nobody but root can change."""
    place = os.path.join(engine, path)
    status = os.lstat(place)
    if not stat.S_ISREG(status.st_mode) or not _is_roots(status) or not _is_roots(os.lstat(os.path.dirname(place))):
        return False
    with open(place, "rb") as source:
        return source.read() == data


def _is_of_root_alone(folder: str) -> bool:
    """Whether a folder, and every one above it, is no link and root's alone to change."""
    while True:
        status = os.lstat(folder)
        if not stat.S_ISDIR(status.st_mode) or not _is_roots(status):
            return False
        if folder == "/":
            return True
        folder = os.path.dirname(folder)


def _is_roots(status: os.stat_result) -> bool:
    return status.st_uid == 0 and not status.st_mode & 0o022
