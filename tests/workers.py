# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest's: several sessions share the files of a folder, each of which is run by who comes first.

scripts/workers starts them. KATRAN_WORK: a directory that they have in common; KATRAN_WORKERS: how many there are.
The files that take longest come first, so that all sessions end at about the same time: tests/seconds.json has what
each took when somebody last measured (scripts/workers --measure). Of a file that is not there, its size decides.
Modules that measure how long something takes say ALONE = True: the last session runs them when the others have ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from itertools import groupby
from pathlib import Path

import pytest

_FOLDER = Path(os.environ["KATRAN_WORK"])
_NUMBER = int(os.environ["KATRAN_WORKERS"])
_TESTS = Path(__file__).resolve().parent
_BYTES_A_SECOND = 300
"""Of tests that nobody has measured: about what those of tests/engine have."""


def _known() -> dict[str, float]:
    """File, as tests/seconds.json names it → seconds; empty where the table is missing."""
    try:
        return dict(json.loads((_TESTS / "seconds.json").read_text(encoding="ascii")))
    except FileNotFoundError:
        return {}


def _name(path: Path) -> str:
    return path.relative_to(_TESTS).as_posix()


def _is_first(what: str) -> bool:
    """Whether nobody has claimed this before."""
    try:
        os.close(os.open(_FOLDER / what, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _used() -> float:
    """Seconds that cores have worked for this session, and for those of its children that have ended."""
    return sum(os.times()[:4])


class Sharing:
    """What one session takes of the work."""

    def __init__(self) -> None:
        self._mine: list[pytest.Item] = []
        # Locked by each session until it has ended, whatever becomes of it; not by what it forks.
        self._running = os.open(_FOLDER / "running", os.O_CREAT | os.O_RDWR)
        fcntl.lockf(self._running, fcntl.LOCK_SH)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run what nobody else does; the files that take longest first."""
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            raise session.Interrupted(f"{session.testsfailed} errors during collection")
        files = [(path, list(items)) for path, items in groupby(session.items, lambda item: item.path)]
        known = _known()
        files.sort(key=lambda each: -known.get(_name(each[0]), each[0].stat().st_size / _BYTES_A_SECOND))
        alone = [each for each in files if getattr(each[1][0].getparent(pytest.Module).obj, "ALONE", False)]
        self._share(session, [each for each in files if each not in alone])
        if self._is_last():
            fcntl.lockf(self._running, fcntl.LOCK_UN)
            fcntl.lockf(self._running, fcntl.LOCK_EX)
            self._share(session, alone)
        session.items[:] = self._mine
        return True

    def _share(self, session: pytest.Session, files: list[tuple[Path, list[pytest.Item]]]) -> None:
        for path, items in files:
            if not _is_first(path.name):
                continue
            self._mine += items
            began, used = time.monotonic(), _used()
            for number, item in enumerate(items):
                following = items[number + 1] if number + 1 < len(items) else None
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.shouldfail or session.shouldstop:
                    raise session.Interrupted(session.shouldfail or session.shouldstop)
            took = {"file": _name(path), "seconds": time.monotonic() - began, "cores": _used() - used}
            with open(_FOLDER / "took", "a", encoding="ascii") as table:
                table.write(json.dumps(took) + "\n")

    def _is_last(self) -> bool:
        return next(number for number in range(_NUMBER) if _is_first(f"ended {number}")) == _NUMBER - 1


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Sharing())
