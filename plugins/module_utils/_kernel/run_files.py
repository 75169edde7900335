# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of the agent in /run: what it knows, what others tell it there, and how it is asked to look at once.

They need not outlive the host, so nothing is synced; but each is whole whenever it is read.
"""

from __future__ import annotations

import contextlib
import os

from .._model.checks_record import ChecksRecord
from .._model.errors import StateError
from .._model.external import LARGEST
from .._model.records import damaged
from .lock import LOCK_ROOT
from .private import make_private, read_private, require_folder

_WORDS = ".json"


class RunFiles:
    """/run/katran-fleet/INSTANCE, for root alone."""

    def __init__(self, instance: str, root: str = LOCK_ROOT) -> None:
        self.folder = os.path.join(root, instance)
        self.checks = os.path.join(self.folder, "checks.json")
        self.ready = os.path.join(self.folder, "ready.json")
        self.kick = os.path.join(self.folder, "kick")
        self.hand_over = os.path.join(self.folder, "hand_over")
        self.handed_over = os.path.join(self.folder, "handed_over.json")
        self.words = os.path.join(self.folder, "verdicts.d")

    def read(self, path: str) -> str | None:
        """A file's text, None where there is none. StateError where it is not root's alone or is no text."""
        require_folder(self.folder)
        try:
            return read_private(path)
        except UnicodeDecodeError as error:
            raise damaged(path, error, "the agent makes it afresh") from error

    def write(self, path: str, text: str) -> None:
        """Replace a file (0600). StateError where it cannot be written, with the old one kept."""
        folder, name = os.path.split(path)
        temporary = os.path.join(folder, f".{name}.{os.getpid()}")
        try:
            make_private(folder)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as target:
                os.fchmod(descriptor, 0o600)
                target.write(text)
            os.rename(temporary, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise StateError(f"{path} cannot be written: {error.strerror}") from error

    def read_checks(self) -> ChecksRecord | None:
        """What the agent knows of checks, None where it never wrote. StateError where the file is damaged."""
        source = self.read(self.checks)
        return None if source is None else ChecksRecord.from_json(source, self.checks)

    def life(self) -> str:
        """What this life of /run is called: a reboot begins another. StateError where that cannot be written."""
        path = os.path.join(self.folder, "life")
        found: str | None = None
        with contextlib.suppress(StateError):
            found = self.read(path)
        if not found:
            found = os.urandom(8).hex()
            self.write(path, found)
        return found

    def touch_kick(self) -> None:
        """Ask the agent to ask all targets at once. StateError where the file cannot be touched."""
        self._touch(self.kick)

    def ask_hand_over(self) -> int:
        """Ask the agent to hand flow exceptions over; by which moment its answer is known, in ns since the epoch."""
        self._touch(self.hand_over)
        return _touched(self.hand_over)

    def _touch(self, path: str) -> None:
        try:
            make_private(self.folder)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb"):
                os.utime(path)
        except OSError as error:
            raise StateError(f"{path} cannot be touched: {error.strerror}") from error

    def kicked(self) -> int:
        """When that was asked last, in nanoseconds since the epoch; 0 where it never was."""
        return _touched(self.kick)

    def hand_over_asked(self) -> int:
        """When flow exceptions were last to be handed over, in nanoseconds since the epoch; 0 where they never were."""
        return _touched(self.hand_over)

    def word_files(self) -> dict[str, tuple[int, int, int]]:
        """The files of verdicts.d by name, each with what differs once it is another."""
        found = {}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.words) as entries:
            for entry in entries:
                if entry.name.endswith(_WORDS) and not entry.name.startswith("."):
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        found[entry.name] = (status.st_ino, status.st_mtime_ns, status.st_size)
        return found

    def read_word_file(self, name: str) -> str:
        """The text of a file of verdicts.d. StateError where it is not root's alone, is gone or is no text."""
        require_folder(self.words, closed=True)
        path = os.path.join(self.words, name)
        try:
            found = read_private(path, LARGEST)
        except UnicodeDecodeError as error:
            raise StateError(f"{path} is damaged ({error})") from error
        if found is None:
            raise StateError(f"{path} is gone")
        return found


def _touched(path: str) -> int:
    try:
        return os.lstat(path).st_mtime_ns
    except OSError:
        return 0
