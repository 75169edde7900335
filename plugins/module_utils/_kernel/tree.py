# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of text files, made exactly so."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from .._model.errors import TreeError

_FILE, _FOLDER = 0o644, 0o755


def _present(dest: str) -> dict[str, str | None]:
    """Relative path → content of what is in the folder; None where it is no text file of ours to keep."""
    found: dict[str, str | None] = {}
    for parent, _folders, names in os.walk(dest):
        for name in names:
            path = os.path.join(parent, name)
            content = None
            status = os.lstat(path)
            if status.st_uid == os.geteuid() and status.st_mode & 0o777 == _FILE and not os.path.islink(path):
                with contextlib.suppress(UnicodeDecodeError), open(path, encoding="utf-8") as source:
                    content = source.read()
            found[os.path.relpath(path, dest)] = content
    # Python leaves its caches beside library files that a unit on the host imports.
    return {path: content for path, content in found.items() if "__pycache__" not in path.split(os.sep)}


def make_tree(dest: str, files: Mapping[str, str], check: bool) -> list[str]:
    """Write what differs, remove what is not listed; returns one line for each. TreeError where it cannot be done."""
    for path in files:
        if os.path.isabs(path) or ".." in path.split("/"):
            raise TreeError(f"files: {path} is not a path below {dest}")
    changes = []
    try:
        present = _present(dest)
        for path, content in sorted(files.items()):
            if present.get(path) != content:
                changes.append(f"{'write' if present.get(path) is None else 'rewrite'} {path}")
                if not check:
                    _write(os.path.join(dest, path), content)
        for path in sorted(set(present) - set(files)):
            changes.append(f"remove {path}")
            if not check:
                os.unlink(os.path.join(dest, path))
    except OSError as error:
        raise TreeError(f"{dest}: {error.strerror}: {error.filename}") from error
    return changes


def _write(path: str, content: str) -> None:
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=_FOLDER, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w", encoding="utf-8") as target:
            target.write(content)
        os.chmod(temporary, _FILE)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
