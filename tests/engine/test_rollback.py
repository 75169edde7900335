# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbook rollback over two balancers, which two on one host of the sandbox stand for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.tests.engine import two_balancers as two
from ansible_collections.katran.fleet.tests.engine.test_drain_real import play
from ansible_collections.katran.fleet.tests.engine.two_balancers import EAST, WEST


@pytest.fixture(autouse=True)
def balancers() -> Iterator[None]:
    with two.two_balancers():
        for instance in (EAST, WEST):
            two.apply(instance, two.vips(1, 2))
        yield


def test_a_run_that_no_balancer_knows_is_an_error(tmp_path: Path) -> None:
    # Somebody waits for what this would take back.
    done = play(tmp_path, "rollback", "katran_rollback_run=0f2b6c1e", limit="balancers")
    assert done.returncode == 2
    assert "run 0f2b6c1e applied nothing to any balancer of this play" in done.stdout
    assert done.stdout.count("nothing was taken back") == done.stdout.count("fatal: ") * 2
    # Where nobody says which, there is nothing to take back.
    assert play(tmp_path, "rollback", limit="balancers").returncode == 0
