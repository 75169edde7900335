# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are whole whenever they are read, also after a power cut."""

from __future__ import annotations

import contextlib
import os

from .._model.errors import StateError
from .private import make_private


def write_durably(path: str, text: str) -> None:
    """Replace a file (0600), in a directory for root alone: written under another name, synced and renamed.

    StateError where the disk does not take it, with the old file kept.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}")
    try:
        make_private(directory)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as target:
                os.fchmod(descriptor, 0o600)
                target.write(text)
                target.flush()
                os.fsync(target.fileno())
            os.rename(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        sync_folder(directory)
    except OSError as error:
        raise StateError(f"{path} cannot be written: {error.strerror}") from error


def sync_folder(path: str) -> None:
    """Write the names in a directory to the disk."""
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
