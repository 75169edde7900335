# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of an instance's state."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import typing as t
from collections.abc import Iterable

from .._model.bytecode import Bytecode
from .._model.errors import StateError
from .._model.options import is_instance
from .._model.program_file import ProgramFile
from .._model.records import Fault, damaged
from .._model.records import path as absolute_path
from .durable import write_durably
from .lock import LOCK_ROOT
from .private import close_folders, read_private, require_folder

STATE_ROOT = "/var/lib/katran-fleet"
BPFFS_FILES = ("state.json", "decap.json", "root.json", "healthcheck.json", "server_id_option.json")
"""The files that name the bpffs of an instance."""

_BPFFS = '\n"bpffs": '

R = t.TypeVar("R", bound=ProgramFile)


class StateFolder:
    """The directory of one instance's state, and its files as texts and records."""

    def __init__(self, instance: str, bpffs: str, root: str = STATE_ROOT) -> None:
        self.instance = instance
        self.bpffs = bpffs
        self.directory = os.path.join(root, instance)

    def write_file(self, name: str, text: str) -> None:
        """Replace one file of the directory (0600), durably."""
        write_durably(os.path.join(self.directory, name), text)

    def read_file(self, name: str) -> str | None:
        """The text of one file of the directory, None where there is none."""
        path = os.path.join(self.directory, name)
        require_folder(os.path.dirname(self.directory))
        require_folder(self.directory)
        try:
            return read_private(path)
        except UnicodeDecodeError as error:
            raise damaged(path, error) from error

    def read_record(self, kind: type[R], program: str) -> R:
        """What the last run wrote down of a program; nothing where there was none. StateError if it is damaged."""
        name = f"{program}.json"
        source = self.read_file(name)
        return kind() if source is None else kind.from_json(source, os.path.join(self.directory, name))

    def read_bytecode(self, name: str, *programs: str) -> Bytecode | None:
        """The bytecode of one of these programs, None where there is no such file; StateError if it is damaged."""
        source = self.read_file(name)
        return Bytecode.from_json(source, os.path.join(self.directory, name), *programs) if source is not None else None

    def remove(self, names: Iterable[str]) -> None:
        """Remove these files and folders of files, and the directory unless another program has its state there."""
        try:
            for name in names:
                _remove(os.path.join(self.directory, name))
        except OSError as error:
            raise StateError(f"{self.directory} cannot be cleared: {error.strerror}") from error
        self.sweep()
        self.remove_if_empty()

    def forget(self, name: str) -> None:
        """Remove one file; no failure where it is not there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.directory, name))

    def rename(self, name: str, target: str) -> None:
        """Give one file of the directory another name, in place of what had that; no failure where it is not there."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(os.path.join(self.directory, name), os.path.join(self.directory, target))

    def remove_if_empty(self) -> None:
        """Remove the directory unless another program of the instance keeps its state there."""
        try:
            os.rmdir(self.directory)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise StateError(f"{self.directory} cannot be removed: {error.strerror}") from error

    def exists(self) -> bool:
        """Whether there is such a directory."""
        return os.path.isdir(self.directory)

    def close(self, check: bool) -> list[str]:
        """Close the folders of the instance, in check mode only say so; one line for each that was open to others."""
        pins = os.path.join(self.bpffs, "katran")
        places = os.path.dirname(self.directory), self.directory, LOCK_ROOT, pins, os.path.join(pins, self.instance)
        return close_folders((*places, os.path.join(places[-1], "maps")), check)

    def sweep(self) -> None:
        """Remove temporary files that a killed run left; only under the exclusive lock."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.directory):
                if name.startswith("."):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(self.directory, name))


def _remove(path: str) -> None:
    """Remove a file, or a folder of files."""
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            for name in os.listdir(path):
                os.unlink(os.path.join(path, name))
            os.rmdir(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        pass


def read_bpffs(instance: str, first: str = "state.json", root: str = STATE_ROOT) -> str:
    """The bpffs that an instance's state names, the file `first` before all; the usual one where none does."""
    for name in dict.fromkeys((first, *BPFFS_FILES)):
        with contextlib.suppress(StateError, ValueError, KeyError, TypeError, RecursionError, Fault):
            return absolute_path(_named_bpffs(read_private(os.path.join(root, instance, name)) or ""), "bpffs")
    return "/sys/fs/bpf"


def _named_bpffs(text: str) -> t.Any:
    """What a file says, of which a large one has a line for each key: to read that takes a hundredth of the time."""
    at = text.find(_BPFFS)
    if at < 0:
        return json.loads(text)["bpffs"]
    return json.loads(text[at + len(_BPFFS) :].partition("\n")[0].removesuffix(","))


def instances(root: str = STATE_ROOT) -> list[str]:
    """The names that this host keeps state for, whatever is there under them. StateError where the folder is not ours.

    Nobody but root may have written there: what the files say is run.
    """
    require_folder(root, closed=True)
    try:
        return sorted(name for name in os.listdir(root) if is_instance(name))
    except FileNotFoundError:
        return []
