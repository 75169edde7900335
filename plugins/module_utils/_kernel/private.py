# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders that are root's alone: what they say is run as root, so nobody else may have written it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable

from .._model.errors import StateError
from .._model.folders import PRIVATE, closing

_OTHERS_WRITE = 0o022


def make_private(path: str) -> None:
    """Make a folder, and those above it that are missing, for root alone, whatever the umask."""
    missing = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(each, PRIVATE)
            os.chmod(each, PRIVATE)


def read_private(path: str, most: int | None = None) -> str | None:
    """A file's text, None where there is none. `most`: bytes that it may have.

    StateError where it is not root's alone, too large or cannot be read; UnicodeDecodeError where it is no text.
    """
    try:
        # Without waiting for the other end of what may be a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refusal(path, "it is a symbolic link") from error
        raise StateError(f"{path} cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        _require(path, status, stat.S_IFREG, _OTHERS_WRITE)
        if most is not None and status.st_size > most:
            raise StateError(f"{path} has {status.st_size} bytes, and no more than {most} are read")
    except StateError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, encoding="utf-8") as source:
        return source.read(most)


def require_folder(path: str, closed: bool = False) -> None:
    """StateError where a folder is not root's, or with `closed` where others may write there; it need not exist."""
    with contextlib.suppress(FileNotFoundError):
        _require(path, os.lstat(path), stat.S_IFDIR, _OTHERS_WRITE if closed else 0)


def _require(path: str, status: os.stat_result, kind: int, mode: int) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise _refusal(path, "it is a symbolic link")
    if stat.S_IFMT(status.st_mode) != kind:
        raise _refusal(path, f"it is no {'folder' if kind == stat.S_IFDIR else 'file'}")
    if status.st_uid not in (0, os.geteuid()):
        raise _refusal(path, f"it belongs to user {status.st_uid}")
    if status.st_mode & mode:
        raise _refusal(path, f"others may write there, mode {stat.S_IMODE(status.st_mode):04o}")


def _refusal(path: str, why: str) -> StateError:
    return StateError(
        f"{path} is not root's alone ({why}), so what it says is not believed: look at it, then move it away or give it"
        " back to root (chown root, chmod go-w)"
    )


def open_folders(paths: Iterable[str]) -> dict[str, int]:
    """Those of these folders that are open to others than root → their mode. StateError where one is not root's."""
    found = {}
    for path in paths:
        require_folder(path)
        with contextlib.suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.lstat(path).st_mode)
            if mode != PRIVATE:
                found[path] = mode
    return found


def close_folder(path: str) -> None:
    """Close a folder to all but root."""
    try:
        os.chmod(path, PRIVATE)
    except OSError as error:
        raise StateError(f"{path} cannot be closed to others: {error.strerror}") from error


def close_folders(paths: Iterable[str], check: bool) -> list[str]:
    """Close what is open of these folders, in check mode only say so; one line for each."""
    there = open_folders(paths)
    for path in () if check else there:
        close_folder(path)
    return [closing(path, mode) for path, mode in there.items()]
