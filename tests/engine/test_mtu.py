# SPDX-License-Identifier: GPL-3.0-or-later
"""Links that are too small for what balancers send, through the modules as Ansible runs them, on real links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.tests.engine.host import MAPS, apply, real, vip
from ansible_collections.katran.fleet.tests.engine.host import module_here as module
from ansible_collections.katran.fleet.tests.engine.life import LINK, SIZES
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, GATEWAY, compiled_once, run, sandbox

LB: dict[str, Any] = {
    "interfaces": [LINK],
    "gateway_mac": GATEWAY,
    "source_dir": BPF,
    "source_ipv4": "192.0.2.250",
    "source_ipv6": "2001:db8:2::250",
    "sizes": SIZES,
}
SHORT = f"interface {LINK} has MTU 1500, but packets of 1500 bytes (max_frame 1514) take 15"


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        yield


def warnings(outcome: Any) -> list[str]:
    """The warnings of a module that did its work."""
    return [str(each) for each in outcome["warnings"]] if "warnings" in outcome.result else []


def test_a_balancer() -> None:
    foretold = module("balancer", LB, check=True)
    done = module("balancer", LB)
    for outcome in (foretold, done, module("balancer", LB)):
        (line,) = warnings(outcome)
        assert f"{SHORT}20 with 20 of ipip over IPv4" in line
    gue = {**LB, "encapsulation": "gue", "real_families": ["ipv4", "ipv6"]}
    assert "take 1548 with 48 of gue over IPv6" in warnings(module("balancer", gue, check=True))[0]
    # Nobody says it, but it has such a real.
    apply("vips", [vip("2001:db8::1", real("fc00::1"))])
    assert "take 1540 with 40 of ipip over IPv6" in warnings(module("balancer", LB, check=True))[0]
    for remedy in ({"real_mss": 1400}, {"max_frame": 1474}, {"mtu_check": "off"}):
        assert warnings(module("balancer", {**LB, **remedy}, check=True)) == []
    run("ip", "link", "set", LINK, "mtu", "1540")
    assert warnings(module("balancer", LB)) == []


def test_a_balancer_is_refused_before_anything_is_done() -> None:
    for check in (True, False):
        assert module("balancer", {**LB, "mtu_check": "fail"}, check=check).msg.startswith(f"{SHORT}20 with 20 of ipip")
    assert not os.path.exists(MAPS)


def test_a_real() -> None:
    tunnel = {"encapsulation": "ipip", "max_frame": 1514, "ipv6": False}
    asked = {"real": {"interfaces": [LINK], "tunnel": tunnel}}
    for check in (True, False):
        (line,) = warnings(module("host", asked, check=check))
        assert f"{SHORT}20 with 20 of ipip over IPv4: raise the MTU of the link (katran_real_mtu) to 1520" in line
    refused = {**asked, "mtu_check": "fail"}
    for check in (True, False):
        assert module("host", refused, check=check).msg.startswith(f"{SHORT}20 ")
    # Nobody says what comes here.
    assert warnings(module("host", {"real": {"interfaces": [LINK]}})) == []
    larger = {**refused, "real": {**asked["real"], "mtu": 1520}}
    assert module("host", larger, check=True)["changes"] == [f"MTU of {LINK} 1500 → 1520"]
    assert warnings(module("host", larger)) == []
    assert module("host", larger)["changed"] is False
