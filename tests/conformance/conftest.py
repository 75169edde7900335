# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs run on the kernel at hand: as root, on one CPU, in a process that stays there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.katran.fleet.tests.conformance import provision as _provision
from ansible_collections.katran.fleet.tests.conformance.model_program import one_cpu
from ansible_collections.katran.fleet.tests.conformance.provision import Balancer, Scenario

NEEDS_KERNEL = {"provision", "cpu", "kernel"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    for item in items:
        if NEEDS_KERNEL & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.skip(reason="loading programs takes root"))


@pytest.fixture
def kernel() -> None:
    """Marks a test that loads programs itself."""


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
