# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run that takes addresses away and the agent that announces them agree, by two files in /run.

leaving.json lists what a run takes away; the run holds a lock on it for as long as that is so, which ends with the run
however that ends. Both change routes under another lock, so that neither acts on what the other is just changing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Collection, Iterator

from .._model.errors import StateError
from .lock import LOCK_ROOT
from .private import make_private

_FILE, _LOCK = "leaving.json", "routes.lock"
_OPENED = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def run_folder(instance: str, root: str = LOCK_ROOT) -> str:
    """Where the agent keeps what need not outlive the host."""
    return os.path.join(root, instance)


@contextlib.contextmanager
def changing_routes(folder: str, timeout: float) -> Iterator[bool]:
    """Be the only one to change an instance's routes; False where somebody else still is after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    try:
        make_private(folder)
        descriptor = os.open(os.path.join(folder, _LOCK), _OPENED, 0o600)
    except OSError as error:
        raise StateError(f"{folder}/{_LOCK} cannot be opened: {error.strerror}") from error
    try:
        taken = _flock(descriptor, fcntl.LOCK_EX)
        while not taken and time.monotonic() < deadline:
            time.sleep(0.01)
            taken = _flock(descriptor, fcntl.LOCK_EX)
        yield taken
    finally:
        os.close(descriptor)


def _flock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def tell_leaving(folder: str, places: Collection[str]) -> int:
    """Say that these addresses are being taken away, until the descriptor that is returned is closed.

    Only where `changing_routes` is so. StateError where it cannot be said.
    """
    path = os.path.join(folder, _FILE)
    try:
        descriptor = os.open(path, _OPENED | os.O_TRUNC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, json.dumps(sorted(places)).encode())
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}") from error
    return descriptor


def read_leaving(folder: str) -> frozenset[str]:
    """What is being taken away, or was until a moment ago. Only where `changing_routes` is so.

    What a run took away counts once more after its end: the caller may know the VIPs as they were before.
    """
    path = os.path.join(folder, _FILE)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return frozenset()
    try:
        with os.fdopen(os.dup(descriptor), encoding="utf-8") as source:
            places = json.load(source)
        if _flock(descriptor, fcntl.LOCK_SH):
            os.unlink(path)
        return frozenset(place for place in places if isinstance(place, str))
    except (OSError, ValueError, TypeError):
        # A run that was killed before it had written took nothing away.
        with contextlib.suppress(OSError):
            os.unlink(path)
        return frozenset()
    finally:
        os.close(descriptor)
