# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest's: several sessions share the files of a folder, each of which is run by who comes first.

scripts/workers starts them. KATRAN_WORK: a directory that they have in common; KATRAN_WORKERS: how many there are.
Modules that measure how long something takes say ALONE = True: the last session runs them when the others have ended.
"""

from __future__ import annotations

import fcntl
import os
from itertools import groupby
from pathlib import Path

import pytest

_FOLDER = Path(os.environ["KATRAN_WORK"])
_NUMBER = int(os.environ["KATRAN_WORKERS"])


def _is_first(what: str) -> bool:
    """Whether nobody has claimed this before."""
    try:
        os.close(os.open(_FOLDER / what, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


class Sharing:
    """What one session takes of the work."""

    def __init__(self) -> None:
        self._mine: list[pytest.Item] = []
        # Locked by each session until it has ended, whatever becomes of it; not by what it forks.
        self._running = os.open(_FOLDER / "running", os.O_CREAT | os.O_RDWR)
        fcntl.lockf(self._running, fcntl.LOCK_SH)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run what nobody else does; the largest files first, so that all end at about the same time.

        How large a module is, its size says, or COST in it, where it has little text and much to do.
        """
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            raise session.Interrupted(f"{session.testsfailed} errors during collection")
        files = [(path, list(items)) for path, items in groupby(session.items, lambda item: item.path)]
        files.sort(key=lambda each: -getattr(each[1][0].getparent(pytest.Module).obj, "COST", each[0].stat().st_size))
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
            for number, item in enumerate(items):
                following = items[number + 1] if number + 1 < len(items) else None
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if session.shouldfail or session.shouldstop:
                    raise session.Interrupted(session.shouldfail or session.shouldstop)

    def _is_last(self) -> bool:
        return next(number for number in range(_NUMBER) if _is_first(f"ended {number}")) == _NUMBER - 1


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Sharing())
