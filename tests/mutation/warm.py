# SPDX-License-Identifier: GPL-3.0-or-later
"""mutmut, with trials that cost milliseconds: tests are collected once, and each trial is a fork of that process.

mutmut's own runner starts pytest anew for each fault, which takes longer than the tests of a pure room. Here the tests
of the file at fault come first and the fast before the slow, and the first that fails ends the trial. With
MUTANTS_NARROW in the environment only the room's own tests are tried, as many as take no longer than it says.

A test that takes much more of the processor than it does without a fault ends its trial as noticed, by signal: time of
the clock would count what a busy machine takes.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout, suppress
from itertools import accumulate, zip_longest
from pathlib import Path

import mutmut.__main__ as tool
import pytest
from _pytest.config import _prepareconfig
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.trampoline import get_mutant_under_test, set_mutant_under_test
from mutmut.runners.harness import PytestRunner
from mutmut.state import state
from mutmut.stats import print_stats
from mutmut.utils.file_utils import change_cwd
from mutmut.utils.format_utils import mangled_name_from_mutant_name
from mutmut.workers.isolation import ForkServerRunner, MutantResult

ROOM = "module_utils/_model/"
LOOK = float(os.environ.get("MUTANTS_NARROW", "0"))
"""Seconds that tests of a first look may take together; 0 where this is none."""
LONG = 300.0
"""Seconds that all of the room's tests may take, on a busy machine."""
SPARE, TIMES = 1.0, 10.0
"""Seconds of the processor that a test may take, and how many times what it takes without a fault."""


class FirstFailure:
    """A plugin of pytest's that ends the process with the first failure."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> None:
        """End it."""
        if call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception):
            os._exit(1)


class WarmRunner(PytestRunner):
    """Runs tests that are collected already."""

    def warm_up(self) -> None:
        """Collect all tests, once; forks of this process have them."""
        with change_cwd("mutants"):
            # What mutmut leaves open is no test's fault.
            without = ("-p", "no:unraisableexception", "-p", "no:threadexception")
            # Nobody reads why a test fails: to say it takes longer than the test.
            arguments = ["--rootdir=.", "-q", "--assert=plain", *without, *self._selection()]
            config = _prepareconfig([*arguments, *self._pytest_add_cli_args])
            config._do_configure()
            config.pluginmanager.register(FirstFailure())
            self.session = pytest.Session.from_config(config)
            config.hook.pytest_sessionstart(session=self.session)
            before = get_mutant_under_test()
            set_mutant_under_test("stats")
            config.hook.pytest_collection(session=self.session)
            set_mutant_under_test(before)
            self.importing = set(state()._stats)
            state()._stats.clear()
            known = Path("mutmut-stats.json")
            self.times = json.loads(known.read_text())["duration_by_test"] if known.exists() else {}
        self.items = {item.nodeid: item for item in self.session.items}
        # Pages that are not written to are not copied.
        gc.collect()
        gc.freeze()
        gc.disable()

    def _selection(self) -> list[str]:
        """What to collect: a small process is forked sooner."""
        every: list[str] = self._pytest_add_cli_args_test_selection
        return [f"{every[0]}/{ROOM}"] if LOOK else every

    def run_tests(self, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        """Try tests, all where none is named, until one fails: 1, or 0 where none does, 33 where there is none.

        34, which mutmut has for what is left out: none fails of those of a first look.
        """
        if not hasattr(self, "session"):
            self.warm_up()
        names = [name for name in set(tests) or self.items if name in self.items]
        names.sort(key=lambda name: self._rank(name, mutant_name or ""))
        if LOOK:
            # Without a fault, each that a first look may have time for.
            quick = [name for name in names if self.times.get(name, 0.0) <= LOOK]
            names = self._within(names) if mutant_name else quick
        items = [self.items[name] for name in names]
        with change_cwd("mutants"):
            for item, following in zip_longest(items, items[1:]):
                signal.setitimer(signal.ITIMER_PROF, SPARE + TIMES * self.times.get(item.nodeid, 0.0))
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if LOOK and mutant_name:
            return 34
        if mutant_name and mangled_name_from_mutant_name(mutant_name) in self.importing:
            return self._run_anew()
        return 0 if items else 33

    def _run_anew(self) -> int:
        """Try the room's tests in a new process: what ran at import ran without the fault."""
        room = f"{self._pytest_add_cli_args_test_selection[0]}/{ROOM}"
        command = [sys.executable, "-m", "pytest", "--rootdir=.", "-qx", "--assert=plain", room]
        try:
            with change_cwd("mutants"):
                ended = subprocess.run(
                    [*command, *self._pytest_add_cli_args], check=False, capture_output=True, timeout=LONG
                )
        except subprocess.TimeoutExpired:
            return 1
        return int(ended.returncode != 0)

    def _within(self, names: list[str]) -> list[str]:
        """As many tests, the first of these, as take no longer than a first look may."""
        sums = accumulate(self.times.get(name, 0.0) for name in names)
        return [name for name, so_far in zip(names, sums, strict=True) if so_far <= LOOK]

    def _rank(self, test: str, mutant: str) -> tuple[bool, bool, float]:
        """The room's tests first, among them those that are named like the file at fault, then the fast."""
        file = mutant.rpartition(".")[0].rpartition(".")[2]
        return ROOM not in test, f"test_{file}" not in test, self.times.get(test, 0.0)


class Trials(ForkServerRunner):
    """Forks a process for each fault from this one, without a server between them, which would have to wake up too."""

    def __init__(self, jobs: int = 1) -> None:
        super().__init__(max_workers=jobs, test_runner_class=WarmRunner, test_runner_args={})
        self._tests = WarmRunner()
        self._running: dict[int, str] = {}
        self._nowhere = os.open(os.devnull, os.O_WRONLY)

    def startup(self) -> None:
        """Collect the tests."""
        # pytest writes there until the end.
        nowhere = os.fdopen(self._nowhere, "w", closefd=False)
        with redirect_stdout(nowhere), redirect_stderr(nowhere):
            self._tests.warm_up()

    def submit(self, mutant_name: str, tests: list[str], cpu_time_limit: int, estimated_time: float) -> None:
        """Begin a trial. It ends by signal should it wait for nothing."""
        del estimated_time
        child = os.fork()
        if child:
            self._running[child] = mutant_name
            return
        signal.alarm(cpu_time_limit + int(LONG))
        set_mutant_under_test(mutant_name)
        code = 255
        with suppress(Exception):
            code = self._tests.run_tests(mutant_name=mutant_name, tests=tests)
        os._exit(code)

    def has_capacity(self) -> bool:
        """Whether another may begin."""
        return len(self._running) < self.max_workers

    def pending_count(self) -> int:
        """How many run."""
        return len(self._running)

    def wait_for_result(self, timeout: float | None = None) -> MutantResult:
        """Wait for the end of one."""
        del timeout
        child, status = os.wait()
        return MutantResult(self._running.pop(child), os.waitstatus_to_exitcode(status), 0.0)

    def stop_all_workers(self) -> None:
        """End what runs."""
        for child in self._running:
            os.kill(child, signal.SIGKILL)

    def shutdown(self) -> None:
        """Wait for what was ended."""
        for child in self._running:
            os.waitpid(child, 0)
        os.close(self._nowhere)


class Seldom:
    """mutmut's line about how far it is, which it counts from all faults anew for each."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, found: dict[str, SourceFileMutationData], force_output: bool = False) -> None:
        if force_output or time.monotonic() > self._last + 10:
            self._last = time.monotonic()
            print_stats(found, force_output=True)


if __name__ == "__main__":
    for name, ours in {"get_mutant_runner": Trials, "print_stats": Seldom()}.items():
        setattr(tool, name, ours)
    tool.cli()
