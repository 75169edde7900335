# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder of text files, made exactly so."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping

from .._model.errors import TreeError

_FILE, _FOLDER = 0o644, 0o755
_CACHE = "__pycache__"
_LONGEST = 1 << 16


def _files(dest: str) -> Iterator[tuple[str, str, bool]]:
    """(relative path, path, whether it is a file of ours to keep) of what is in the folder.

    Python leaves its caches beside library files that are run from there.
    """
    for parent, folders, names in os.walk(dest):
        if _CACHE in folders:
            folders.remove(_CACHE)
        for name in names:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            ours = status.st_uid == os.geteuid() and status.st_mode & 0o777 == _FILE and not os.path.islink(path)
            yield os.path.relpath(path, dest), path, ours


def _present(dest: str) -> dict[str, str | None]:
    """Relative path → content of what is in the folder; None where it is no text file of ours to keep."""
    found: dict[str, str | None] = {}
    for name, path, ours in _files(dest):
        found[name] = None
        if ours:
            with contextlib.suppress(UnicodeDecodeError), open(path, encoding="utf-8") as source:
                found[name] = source.read()
    return found


def read_digests(dest: str) -> dict[str, str | None]:
    """Relative path → SHA-256 of what is in the folder; None where it is no file of ours to keep."""
    found: dict[str, str | None] = {}
    for name, path, ours in _files(dest):
        found[name] = None
        if ours:
            with open(path, "rb") as source:
                found[name] = hashlib.sha256(source.read()).hexdigest()
    return found


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
                    write_file(os.path.join(dest, path), content)
        for path in sorted(set(present) - set(files)):
            changes.append(f"remove {path}")
            if not check:
                os.unlink(os.path.join(dest, path))
    except OSError as error:
        raise TreeError(f"{dest}: {error.strerror}: {error.filename}") from error
    return changes


def remove_files(*paths: str) -> None:
    """Remove files; one that is not there is no failure."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def remove_folders(*paths: str) -> None:
    """Remove those of these folders in which nothing is left."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.rmdir(path)


def remove_tree(dest: str) -> None:
    """Remove a folder with all that is in it. TreeError where it cannot be done."""
    try:
        shutil.rmtree(dest)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise TreeError(f"{dest}: {error.strerror}: {error.filename}") from error


def read_command(path: str) -> str | None:
    """The text of a file that all may run, None where there is none.

    Where it is no such file, the text differs from that of one: it ends with a comment that says what is wrong.
    """
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            return "# no file"
        with open(path, encoding="utf-8") as source:
            text = source.read(_LONGEST)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        return "# no text"
    wrong = status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != _FOLDER
    return f"{text}# mode {stat.S_IMODE(status.st_mode):04o}\n" if wrong else text


def read_link(path: str) -> str | None:
    """Where a symbolic link leads, "" for what is none, None where there is nothing."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError:
        return ""


def make_link(path: str, target: str) -> None:
    """Make a symbolic link in the place of what is there, in one step; its folders are made where they are missing."""
    os.makedirs(os.path.dirname(path), mode=_FOLDER, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    try:
        os.symlink(target, temporary)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def write_file(path: str, content: str, runs: bool = False) -> None:
    """Replace a text file, in one step; its folders are made where they are missing. `runs`: all may run it."""
    os.makedirs(os.path.dirname(path), mode=_FOLDER, exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w", encoding="utf-8") as target:
            target.write(content)
        os.chmod(temporary, _FOLDER if runs else _FILE)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
