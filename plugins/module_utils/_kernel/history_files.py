# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a balancer's history: entries, and with each the instance's files as they stood after it.

Those files are only ever replaced by renaming, so a second name keeps one as it is and costs nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Mapping

from .._model.errors import StateError
from .._model.history import FOLDER, REMEDY, Entry, Opening
from .._model.records import damaged
from .durable import sync_folder
from .private import make_private
from .state_folder import StateFolder

_ENTRY = re.compile(r"(0|[1-9][0-9]{0,8})\.json", re.ASCII)
_KEPT = re.compile(r"(0|[1-9][0-9]{0,8})\..+", re.ASCII)
_OPENING = "opening.json"


class HistoryFiles(StateFolder):
    """The folder `history` of an instance."""

    def __init__(self, of: StateFolder) -> None:
        super().__init__(FOLDER, of.bpffs, of.directory)
        self._of = of.directory

    def numbers(self) -> list[int]:
        """The numbers of the entries, in order."""
        return sorted(int(match[1]) for name in self._names() if (match := _ENTRY.fullmatch(name)))

    def read(self, number: int) -> Entry:
        """An entry. StateError where it is damaged."""
        name, path = f"{number}.json", os.path.join(self.directory, f"{number}.json")
        source = self.read_file(name)
        if source is None:
            raise StateError(f"{path} is gone")
        found = Entry.from_json(source, path)
        if found.number != number:
            raise damaged(path, f"number: {found.number} is not {number}", REMEDY)
        return found

    def known(self) -> Mapping[int, Entry | str]:
        """Number → an entry, or what is wrong with it."""
        found: dict[int, Entry | str] = {}
        for number in self.numbers():
            try:
                found[number] = self.read(number)
            except StateError as error:
                found[number] = str(error)
        return found

    def read_kept(self, entry: Entry, name: str) -> str | None:
        """A file of the instance as it stood after an entry; None where there was none. StateError where it is gone."""
        if name not in entry.files:
            return None
        kept = f"{entry.number}.{name}"
        found = self.read_file(kept)
        if found is None:
            raise damaged(os.path.join(self.directory, kept), "it is gone", REMEDY)
        return found

    def is_as_now(self, entry: Entry, name: str) -> bool:
        """Whether a file that was kept is the one in use, under its second name."""
        try:
            return os.path.samefile(os.path.join(self.directory, f"{entry.number}.{name}"), self._now(name))
        except OSError:
            return False

    def present(self, names: Iterable[str]) -> list[str]:
        """Those of these files that the instance has now."""
        return [name for name in names if os.path.exists(self._now(name))]

    def keep(self, entry: Entry) -> None:
        """Write an entry, and give the instance's files their second names. StateError where the disk does not."""
        self.write_file(f"{entry.number}.json", entry.to_json())
        self.link(entry)

    def link(self, entry: Entry) -> None:
        """Give the instance's files of now the second names of an entry."""
        try:
            make_private(self.directory)
            for name in entry.files:
                if not self.is_as_now(entry, name):
                    self._link(self._now(name), os.path.join(self.directory, f"{entry.number}.{name}"))
            sync_folder(self.directory)
        except OSError as error:
            raise StateError(f"{self.directory} cannot be written: {error.strerror}") from error

    def drop(self, number: int) -> None:
        """Remove an entry with its files: what names them goes first."""
        self.forget(f"{number}.json")
        for name in self._names():
            match = _KEPT.fullmatch(name)
            if match and int(match[1]) == number:
                self.forget(name)

    def tidy(self) -> None:
        """Remove what a killed run left: temporary files, and files that no entry names."""
        self.sweep()
        numbers = set(self.numbers())
        for name in self._names():
            match = _KEPT.fullmatch(name)
            if match and int(match[1]) not in numbers:
                self.forget(name)

    def sizes(self) -> dict[int, dict[int, int]]:
        """Number of an entry → what its files take: inode → bytes."""
        found: dict[int, dict[int, int]] = {number: {} for number in self.numbers()}
        for name in self._names():
            match = _KEPT.fullmatch(name)
            if match and int(match[1]) in found:
                with contextlib.suppress(FileNotFoundError):
                    status = os.lstat(os.path.join(self.directory, name))
                    found[int(match[1])][status.st_ino] = status.st_size
        return found

    def inodes(self, names: Iterable[str]) -> set[int]:
        """Those of the instance's files."""
        found = set()
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found.add(os.lstat(self._now(name)).st_ino)
        return found

    def opening(self) -> Opening | None:
        """What was about to be done and has not ended; None where nothing was. StateError where it is damaged."""
        source = self.read_file(_OPENING)
        return None if source is None else Opening.from_json(source, os.path.join(self.directory, _OPENING))

    def open(self, opening: Opening) -> None:
        """Write down what is about to be done."""
        self.write_file(_OPENING, opening.to_json())

    def end(self) -> None:
        """That has ended."""
        self.forget(_OPENING)

    def changed_at(self, name: str) -> float | None:
        """When a file of the instance was written, in seconds since the epoch; None where there is none."""
        try:
            return os.lstat(self._now(name)).st_mtime
        except FileNotFoundError:
            return None

    def _now(self, name: str) -> str:
        return os.path.join(self._of, name)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.directory)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(f"{self.directory} cannot be read: {error.strerror}") from error

    def _link(self, source: str, target: str) -> None:
        folder, name = os.path.split(target)
        temporary = os.path.join(folder, f".{name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        try:
            os.link(source, temporary, follow_symlinks=False)
        except OSError:
            # A file system without second names.
            shutil.copyfile(source, temporary, follow_symlinks=False)
            os.chmod(temporary, 0o600)
        os.rename(temporary, target)
