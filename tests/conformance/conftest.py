# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs run on the kernel at hand: as root, on one CPU, in a process that stays there."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from ansible_collections.katran.fleet.tests.conformance import provision as _provision
from ansible_collections.katran.fleet.tests.conformance.model_program import one_cpu
from ansible_collections.katran.fleet.tests.conformance.provision import Balancer, Scenario


@dataclass(frozen=True)
class Combination:
    """What a combination of features costs: instructions as loaded, and those that the verifier walked through."""

    features: str
    encapsulation: str
    instructions: int
    verified: int


Sweep = list[Combination]
_SWEEP = pytest.StashKey[Sweep]()


def pytest_configure(config: pytest.Config) -> None:
    """Of several workers (pytest -n) each has a CPU of its own: a test takes the first that it may run on."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is not None:
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cpus[int(worker.removeprefix("gw")) % len(cpus)]})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker hands over what it gathered."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["sweep"] = [vars(each) for each in session.config.stash.get(_SWEEP, [])]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: t.Any) -> None:
    """What a worker handed over, for the summary."""
    told = getattr(node, "workeroutput", {})
    node.config.stash.setdefault(_SWEEP, []).extend(Combination(**each) for each in told.get("sweep", ()))


@pytest.fixture
def sweep(request: pytest.FixtureRequest) -> Sweep:
    """Gathers the combinations of this run, to be printed at its end."""
    return request.config.stash.setdefault(_SWEEP, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(_SWEEP, [])
    if not found:
        return
    width = max(len(each.features) for each in found)
    terminalreporter.section("features: instructions, and those the verifier processed")
    # Workers hand over in any order.
    found.sort(key=lambda each: (each.features.count(","), each.features, each.encapsulation != "ipip"))
    for features in dict.fromkeys(each.features for each in found):
        cells = [
            f"{each.encapsulation} {each.instructions:6,} {each.verified:8,}"
            for each in found
            if each.features == features
        ]
        terminalreporter.write_line(f"{features:<{width}}  {'   '.join(cells)}")


@pytest.fixture
def cpu() -> Iterator[int]:
    """The CPU that this test stays on."""
    with one_cpu() as number:
        yield number


@pytest.fixture
def provision() -> Iterator[Callable[..., Balancer]]:
    """provision(scenario, cpu=None): see provision.py; everything is closed after the test."""
    opened = []

    def make(scenario: Scenario, cpu: int | None = None) -> Balancer:
        opened.append(_provision.provision(scenario, cpu))
        return opened[-1]

    yield make
    for balancer in opened:
        balancer.close()
