# SPDX-License-Identifier: GPL-3.0-or-later
"""A balancer that katran doctor examines, in a sandbox: what its tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor.run import examine
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.finding import Finding
from ansible_collections.katran.fleet.tests.engine.host import real, vip
from ansible_collections.katran.fleet.tests.engine.sandbox import (
    compiled_once,
    ensure_balancer,
    request,
    run,
    sandbox,
)

LINK = "lb"
OWN6, GATEWAY6 = "fd00:7::1", "fd00:7::fe"
OWN, GATEWAY = "198.18.7.1", "198.18.7.254"
VIPS = [vip("198.51.100.1", real("10.0.0.1"), real("10.0.0.2"))]


@contextmanager
def balancers_host() -> Iterator[None]:
    """A host with a gateway, and nothing of ours yet."""
    with sandbox(LINK), compiled_once():
        # As in a container: the clock is somebody else's.
        Path("/run/systemd").mkdir()
        Path("/run/systemd/container").write_text("test", encoding="ascii")
        run("ip", "link", "set", LINK, "mtu", "1600")
        run("ip", "link", "set", f"{LINK}-peer", "mtu", "1600")
        run("ip", "link", "set", "lo", "up")
        run("ip", "addr", "add", f"{OWN}/24", "dev", LINK)
        run("ip", "route", "add", "default", "via", GATEWAY)
        run("ip", "neigh", "add", GATEWAY, "lladdr", peer_mac(), "dev", LINK, "nud", "permanent")
        yield


def peer_mac() -> str:
    return Path(f"/sys/class/net/{LINK}-peer/address").read_text(encoding="ascii").strip()


def attach(**options: object) -> None:
    ensure_balancer("attached", interfaces=[LINK], **{"gateway_mac": "auto", **options})


def found() -> list[Finding]:
    """What doctor finds without probe flows."""
    return list(examine(request(True), False).findings)


def only(name: str) -> Finding:
    """The one finding that there is, of that name."""
    findings = found()
    assert [finding.name for finding in findings] == [name], findings
    return findings[0]
