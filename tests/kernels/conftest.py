# SPDX-License-Identifier: GPL-3.0-or-later
"""One machine for all tests, and the table of what ran on it at the end."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.kernels import table, work
from ansible_collections.katran.fleet.tests.kernels.debian import KernelError

SERIES = "6.1"
TABLE = pytest.StashKey[list[str]]()


def jobs() -> list[work.Job]:
    every = work.none_and_all()
    made = [work.combination_job(combination) for combination in every]
    return [
        *made,
        *work.other_jobs(),
        work.interfaces_job(),
        work.life_job(),
        work.real_job(),
        work.compile_job(every[0]),
    ]


@pytest.fixture(scope="session")
def outcomes(pytestconfig: pytest.Config) -> dict[str, dict[str, Any]]:
    """What each job came to, by its name."""
    printed = pytestconfig.stash[TABLE] = []
    found = {}
    try:
        for outcome in table.outcomes(SERIES, jobs()):
            printed += table.lines(outcome)
            found[outcome.get("job", "")] = outcome
    except KernelError as error:
        pytest.fail(str(error), pytrace=False)
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(TABLE, []):
        terminalreporter.write_line(line)
