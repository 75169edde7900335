# SPDX-License-Identifier: GPL-3.0-or-later
"""mutmut, with trials that cost milliseconds: tests are collected once, and each trial is a fork of that process.

mutmut's own runner starts pytest anew for each fault, which takes longer than the tests of a pure room. Here the tests
of the file at fault come first and the fast before the slow, and the first that fails ends the trial. With
MUTANTS_NARROW in the environment only the room's own tests are tried.

A test that takes much more of the processor than it does without a fault ends its trial as noticed, by signal: time of
the clock would count what a busy machine takes.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import time
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

import mutmut.__main__ as tool
import pytest
from _pytest.config import _prepareconfig
from mutmut.mutation.data import SourceFileMutationData
from mutmut.runners.harness import PytestRunner
from mutmut.stats import print_stats
from mutmut.utils.file_utils import change_cwd
from mutmut.workers.isolation import ForkServerRunner

ROOM = "module_utils/_model/"
SPARE, TIMES = 5.0, 10.0
"""Seconds of the processor that a test may take, and how many times what it takes without a fault."""


class WarmRunner(PytestRunner):
    """Runs tests that are collected already."""

    def warm_up(self) -> None:
        """Collect all tests, once; forks of this process have them."""
        with change_cwd("mutants"):
            # What mutmut leaves open is no test's fault.
            without = ("-p", "no:unraisableexception", "-p", "no:threadexception")
            arguments = ["--rootdir=.", "-q", *without, *self._pytest_add_cli_args_test_selection]
            config = _prepareconfig([*arguments, *self._pytest_add_cli_args])
            config._do_configure()
            self.session = pytest.Session.from_config(config)
            config.hook.pytest_sessionstart(session=self.session)
            config.hook.pytest_collection(session=self.session)
            known = Path("mutmut-stats.json")
            self.times = json.loads(known.read_text())["duration_by_test"] if known.exists() else {}
        self.items = {item.nodeid: item for item in self.session.items}
        # Pages that are not written to are not copied.
        gc.collect()
        gc.freeze()
        gc.disable()

    def run_tests(self, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        """Try tests, all where none is named, until one fails: 1, or 0 where none does, 33 where there is none.

        34, which mutmut has for what is left out: of the room's own tests none fails, so others are to be tried.
        """
        if not hasattr(self, "session"):
            self.warm_up()
        names = sorted(set(tests) or self.items, key=lambda name: self._rank(name, mutant_name or ""))
        narrow = mutant_name is not None and "MUTANTS_NARROW" in os.environ
        if narrow:
            names = [name for name in names if ROOM in name]
        items = [self.items[name] for name in names if name in self.items]
        with change_cwd("mutants"):
            for item, following in zip_longest(items, items[1:]):
                signal.setitimer(signal.ITIMER_PROF, SPARE + TIMES * self.times.get(item.nodeid, 0.0))
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if self.session.testsfailed:
                    return 1
        if narrow:
            return 34
        return 0 if items else 33

    def _rank(self, test: str, mutant: str) -> tuple[bool, bool, float]:
        """The room's tests first, among them those that are named like the file at fault, then the fast."""
        file = mutant.rpartition(".")[0].rpartition(".")[2]
        return ROOM not in test, f"test_{file}" not in test, self.times.get(test, 0.0)


def runner(jobs: int = 1) -> ForkServerRunner:
    """What mutmut is to run its trials with."""
    return ForkServerRunner(max_workers=jobs, test_runner_class=WarmRunner, test_runner_args={})


class Seldom:
    """mutmut's line about how far it is, which it counts from all faults anew for each."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, found: dict[str, SourceFileMutationData], force_output: bool = False) -> None:
        if force_output or time.monotonic() > self._last + 10:
            self._last = time.monotonic()
            print_stats(found, force_output=True)


if __name__ == "__main__":
    for name, ours in {"get_mutant_runner": runner, "print_stats": Seldom()}.items():
        setattr(tool, name, ours)
    tool.cli()
