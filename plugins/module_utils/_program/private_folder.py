# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder that nobody else can reach, for as long as a compiler works in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping

from .._kernel.lock import LOCK_ROOT
from .._kernel.private import make_private
from .._model.errors import ProgramError

_PREFIX = "compile-"


@contextlib.contextmanager
def private_folder(files: Mapping[str, bytes], root: str = LOCK_ROOT) -> Iterator[str]:
    """A folder of our own with these files, relative name → content. ProgramError where it cannot be made."""
    try:
        make_private(root)
        _require_ours(root)
        # One at a time, so that nobody sweeps a folder away before its owner holds it.
        with _held(root):
            _sweep(root)
            # Not where TMPDIR says: that may be anybody's.
            folder = tempfile.mkdtemp(prefix=_PREFIX, dir=root)
            held = _hold(folder)
    except OSError as error:
        raise ProgramError(f"the compiler gets no folder in {root}: {error.strerror}") from error
    try:
        try:
            for name, content in files.items():
                path = os.path.join(folder, name)
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                with open(path, "xb") as target:
                    target.write(content)
        except OSError as error:
            raise ProgramError(f"the sources cannot be copied to {folder}: {error.strerror}") from error
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _hold(folder: str, wait: int = 0) -> int:
    """A descriptor that holds a folder while it is open, also in children. BlockingIOError where another holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | wait)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def _held(folder: str) -> Iterator[None]:
    descriptor = _hold(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _require_ours(root: str) -> None:
    """What is in a folder that somebody else can write could be put aside for something else."""
    status = os.stat(root, follow_symlinks=False)
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise ProgramError(f"{root} must be owned by root and not writable by others: programs are compiled there")


def _sweep(root: str) -> None:
    """Remove what runs left that were killed. A process id would not tell: a container's are not ours."""
    for name in os.listdir(root):
        if not name.startswith(_PREFIX):
            continue
        path = os.path.join(root, name)
        with contextlib.suppress(OSError):
            held = _hold(path, fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
            os.close(held)
