# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's marks in hc_reals_map: they follow the VIPs' checks, and others' marks stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.probe_destinations import keep_probe_destinations
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError
from ansible_collections.katran.fleet.plugins.module_utils._model.marks import MARK_BASE
from ansible_collections.katran.fleet.tests.engine.life import vips
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    BPFFS,
    compiled_once,
    ensure_balancer,
    killed_after,
    request,
    run,
    sandbox,
)
from ansible_collections.katran.fleet.tests.engine.test_healthcheck import MAPS, destinations, ensure

A, B, C = (f"10.0.0.{last}" for last in range(1, 4))
CHECK = {"type": "tcp"}


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox("out"), compiled_once():
        run("ip", "addr", "add", "198.18.7.1/24", "dev", "out")
        run("ip", "route", "add", "default", "via", "198.18.7.254")
        run("ip", "neigh", "add", "198.18.7.254", "lladdr", "02:00:00:00:00:09", "dev", "out")
        ensure_balancer()
        deploy(vips(A, B, check=CHECK), vips(C, address="198.51.100.2"))
        yield


def deploy(*config: dict[str, Any]) -> None:
    apply_resource("vips", request(), Asked(list(config), "overridden", allow_empty=True))


def marks() -> dict[int, str]:
    """Mark → real, as the kernel has them."""
    with KernelMaps(MAPS) as maps:
        return {
            layout.parse_u32(key): layout.unpack_address(layout.parse_real_definition(value)[0], False)
            for key, value in maps.entries("hc_reals_map").items()
        }


def expected(*reals: str) -> dict[int, str]:
    ids = StateFile("default", BPFFS).read().real_ids.assigned
    return {MARK_BASE | ids[real]: real for real in reals}


def test_they_follow_the_checks() -> None:
    ensure()
    destinations((1, C))
    foretold = keep_probe_destinations(request(check=True))
    assert marks() == {1: C}
    done = keep_probe_destinations(request())
    assert (done.changes, done.operations) == (foretold.changes, {"hc_reals_map": 2})
    assert marks() == {1: C, **expected(A, B)}
    again = keep_probe_destinations(request())
    assert (again.changed, again.operations) == (False, {})
    # A user's run leaves them, whatever it says.
    destinations((2, C))
    assert marks() == {2: C, **expected(A, B)}
    assert not keep_probe_destinations(request()).changed
    # One that asks nobody needs no mark, and a real that goes gives its own up.
    deploy(vips(A, check=CHECK), vips(B, C, address="198.51.100.2", check={"type": "external"}))
    assert keep_probe_destinations(request()).operations == {"hc_reals_map": 1}
    assert marks() == {2: C, **expected(A)}
    deploy()
    keep_probe_destinations(request())
    assert marks() == {2: C}


def test_those_that_the_agent_names() -> None:
    ensure()
    keep_probe_destinations(request())
    keep_probe_destinations(request(), {C: MARK_BASE | 9})
    assert marks() == {MARK_BASE | 9: C}


@pytest.mark.parametrize("steps", range(6))
def test_a_run_that_was_killed_is_taken_up(steps: int) -> None:
    ensure()
    if killed_after(steps, lambda: keep_probe_destinations(request())):
        keep_probe_destinations(request())
    assert marks() == expected(A, B)
    assert not keep_probe_destinations(request()).changed


def test_without_the_program_there_is_a_sentence() -> None:
    with pytest.raises(EngineError, match="program healthcheck of default is not loaded on this host"):
        keep_probe_destinations(request())
