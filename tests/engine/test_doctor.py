# SPDX-License-Identifier: GPL-3.0-or-later
"""What katran doctor finds on a balancer: each fault is planted in a real kernel, and told by name with its remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor.run import examine
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.finding import Finding
from ansible_collections.katran.fleet.tests.engine.host import apply, real, vip
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    compiled_once,
    ensure_balancer,
    request,
    run,
    sandbox,
)

LINK = "lb"
OWN, GATEWAY = "198.18.7.1", "198.18.7.254"
VIPS = [vip("198.51.100.1", real("10.0.0.1"), real("10.0.0.2"))]


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        # As in a container: the clock is somebody else's.
        Path("/run/systemd").mkdir()
        Path("/run/systemd/container").write_text("test")
        run("ip", "link", "set", LINK, "mtu", "1600")
        run("ip", "link", "set", f"{LINK}-peer", "mtu", "1600")
        run("ip", "link", "set", "lo", "up")
        run("ip", "addr", "add", f"{OWN}/24", "dev", LINK)
        run("ip", "route", "add", "default", "via", GATEWAY)
        run("ip", "neigh", "add", GATEWAY, "lladdr", peer_mac(), "dev", LINK, "nud", "permanent")
        yield


def peer_mac() -> str:
    return Path(f"/sys/class/net/{LINK}-peer/address").read_text(encoding="ascii").strip()


@pytest.fixture
def balancer(host: None) -> None:
    del host
    attach()
    apply("vips", VIPS)


def attach(**options: object) -> None:
    ensure_balancer("attached", interfaces=[LINK], **{"gateway_mac": "auto", **options})


def found(probe: bool = False) -> list[Finding]:
    return list(examine(request(True), probe).findings)


def only() -> Finding:
    """The one finding that there is."""
    findings = found()
    assert len(findings) == 1, findings
    return findings[0]


def test_nothing_is_wrong(balancer: None) -> None:
    del balancer
    examination = examine(request(True), False)
    assert (examination.findings, examination.status) == ((), 0)
    seen = examination.seen
    assert seen["roles"] == ["balancer"]
    assert set(seen["balancer"]["rings"]) == {"198.51.100.1:80/tcp"}
    json.dumps(seen)


def test_a_detached_program(balancer: None) -> None:
    del balancer
    run("ip", "link", "set", LINK, "xdp", "off")
    finding = only()
    assert (finding.name, finding.about, finding.error) == ("program_detached", LINK, True)
    assert "systemctl restart katran-restore.service" in finding.remedy
