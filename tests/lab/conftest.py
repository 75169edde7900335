# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: a laboratory of the tests' own, and Ansible runs against it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from docpages.fleet import as_announced, left_as_found
from fleetlab import lifecycle, network, routes
from fleetlab.announced import BOTH, IPV4, IPV6, announce, withdraw
from fleetlab.names import TESTED
from fleetlab.plan import PROJECT, Lab, lab_named
from fleetlab.runs import Fleet, Recap, on_host
from fleetlab.system import Progress


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The whole laboratory, up for the length of the session and taken down after it."""
    progress = Progress(TESTED)
    wanted = lab_named(TESTED)
    if wanted.directory.exists():
        # Of a session that was killed; a session that still runs holds it, and this one ends here.
        lifecycle.down(wanted, progress)
    try:
        lifecycle.up(wanted, progress)
        # What is tested is not the announcement, but where fixture bgp takes these away.
        network.route_statically(wanted)
        with lifecycle.hold(wanted, "tests/lab"):
            yield wanted
    finally:
        lifecycle.down(wanted, progress)


@pytest.fixture(scope="session")
def inventory() -> Path:
    return PROJECT / "inventories/lab"


@pytest.fixture(scope="session")
def first_deploy(lab: Lab, inventory: Path) -> dict[str, Recap]:
    """What the first deploy did."""
    return Fleet(lab, inventory).deploy()


@pytest.fixture(scope="session")
def fleet(lab: Lab, inventory: Path, first_deploy: dict[str, Recap]) -> Fleet:
    """The laboratory with the collection deployed."""
    assert first_deploy
    return Fleet(lab, inventory)


@pytest.fixture
def deployed(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet, with the inventory's own VIPs in force again after a test that changed them.

    By the module alone: a test that deploys VIPs without checks, by which their program goes too, has to deploy again.
    """
    yield fleet
    fleet.apply()


@pytest.fixture(scope="module")
def bgp(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet, its VIPs announced by both balancers; the router knows no other way to them.

    The routes are the tests' own: the agent, which would put back what a test takes away, rests meanwhile.
    """
    agent, kept = "/etc/systemd/system/katran-agent.service", "/root/katran-agent.service"
    for host in BOTH:
        # A deploy leaves a unit alone that is masked.
        mask = f"mv {agent} {kept}; ln -s /dev/null {agent}; systemctl daemon-reload"
        on_host(fleet.lab, host, f"systemctl stop katran-agent.service; {mask}")
        announce(fleet.lab, host)
    network.route_as_announced(fleet.lab)
    try:
        routes.wait(fleet.lab, [IPV4, IPV6], BOTH)
        yield fleet
    finally:
        network.route_statically(fleet.lab)
        for host in BOTH:
            withdraw(fleet.lab, host)
            unmask = f"rm {agent}; mv {kept} {agent}; systemctl daemon-reload"
            on_host(fleet.lab, host, f"{unmask}; systemctl start katran-agent.service")


@pytest.fixture(scope="module")
def pages_fleet(fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """The fleet as pages of documentation are about it: the router goes by what balancers announce.

    What a module's pages did, they have undone at its end; `scripts/page` looks at each page by itself.
    """
    with as_announced(fleet):
        yield fleet
        left_as_found(fleet, f"pages of {request.node.name}")


@pytest.fixture
def whole_bgp(bgp: Fleet) -> Iterator[Fleet]:
    """The same, and put right after a test."""
    yield bgp
    for host in BOTH:
        announce(bgp.lab, host)
    routes.wait(bgp.lab, [IPV4, IPV6], BOTH)
