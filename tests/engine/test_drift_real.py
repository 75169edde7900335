# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module drift_info on a real: decap, its sources, the VIPs on lo, and what a real needs of its kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._ansible.drift import Drift
from ansible_collections.katran.fleet.plugins.module_utils._engine.host import HostRequest, ensure_host
from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import HostWanted, RealHost
from ansible_collections.katran.fleet.tests.engine.real import LINK, ensure, real_host
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS, run

VIPS = ["198.51.100.1", "2001:db8::1"]


@pytest.fixture(autouse=True)
def real() -> Iterator[None]:
    with real_host():
        ensure(*VIPS, sources=["192.0.2.0/24"])
        ensure_host(HostRequest(HostWanted(real=RealHost((LINK,), vips=tuple(VIPS)))))
        yield


def said() -> list[tuple[str, str, str]]:
    decap: dict[str, Any] = {
        "bpffs": BPFFS,
        "interfaces": [LINK],
        "vips": VIPS,
        "sources": ["192.0.2.0/24"],
        "source_dir": BPF,
    }
    applied = [
        {"module": "host", "options": {"real": {"interfaces": [LINK], "vips": VIPS}}},
        {"module": "decap", "options": decap},
    ]
    found = Drift({"instance": "default", "bpffs": BPFFS, "lock_timeout": 5, "applied": applied}).found()
    return [(each["area"], each["kind"], each["what"]) for each in found["findings"]]


def test_what_somebody_changes_on_a_real_is_told() -> None:
    assert said() == []
    run("ip", "addr", "del", "198.51.100.1/32", "dev", "lo")
    run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0")
    run("ip", "link", "set", LINK, "xdp", "off")
    found = said()
    assert ("host", "changed", "would: net/ipv4/conf/all/arp_ignore 0 → 1") in found
    assert ("decap", "changed", "would: add 198.51.100.1 to lo") in found
    assert any(area == "decap" and kind == "changed" and "attach" in what for area, kind, what in found), found


def test_other_sources_are_told() -> None:
    ensure(*VIPS, sources=["192.0.2.0/24", "203.0.113.0/24"])
    [(area, kind, what)] = said()
    assert (area, kind) == ("decap", "ahead")
    assert "203.0.113.0/24" in what
