# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links that are too small for a packet in its tunnel: the numbers, and the remedies."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import (
    HostSnapshot,
    HostWanted,
    RealHost,
    plan_host,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.link_mtu import Links, Tunnel, link_faults

OVERHEADS = {("ipip", False): 20, ("ipip", True): 40, ("gue", False): 28, ("gue", True): 48}


@pytest.mark.parametrize(("encapsulation", "ipv6"), OVERHEADS)
@pytest.mark.parametrize("max_frame", [1514, 9014])
def test_what_fits_to_the_byte(encapsulation: str, ipv6: bool, max_frame: int) -> None:
    tunnel = Tunnel(encapsulation, max_frame, ipv6)
    need = max_frame - 14 + OVERHEADS[encapsulation, ipv6]
    assert tunnel.outer() == need
    assert link_faults(Links("warn", tunnel), {"eth0": need, "eth1": need + 1, "gone": None}) == []
    assert len(link_faults(Links("warn", tunnel), {"eth0": need, "eth1": need - 1})) == 1
    assert link_faults(Links("off", tunnel), {"eth0": 576}) == []


def test_the_sentence() -> None:
    assert link_faults(Links("warn", Tunnel()), {"eth1": 1500, "eth0": 1400, "eth2": 1520}) == [
        f"interface {name} has MTU {mtu}, but packets of 1500 bytes (max_frame 1514) take 1520 with 20 of ipip over"
        " IPv4: raise the MTU of the links between balancers and reals to 1520, let VIPs announce an MSS of"
        f" {mss} at most (katran_real_mss, module host; TCP alone), or set katran_max_frame to {frame} with feature"
        " icmp_too_big"
        for name, mtu, mss, frame in (("eth0", 1400, 1340, 1394), ("eth1", 1500, 1440, 1494))
    ]
    (line,) = link_faults(Links("fail", Tunnel("gue", 1514, True), 0, "raise it"), {"eth0": 1500})
    assert "take 1548 with 48 of gue over IPv6: raise it to 1548, let VIPs announce an MSS of 1392 at most" in line
    assert "katran_max_frame to 1466 " in line


@pytest.mark.parametrize("tunnel", [Tunnel(*key[:1], 1514, key[1]) for key in OVERHEADS])
def test_each_remedy_that_is_named_does(tunnel: Tunnel) -> None:
    mtus = {"eth0": 1500}
    (line,) = link_faults(Links("warn", tunnel), mtus)
    words = line.replace(",", "").split()
    mss, frame = (int(words[words.index(word) + 2]) for word in ("MSS", "katran_max_frame"))
    assert link_faults(Links("warn", tunnel, mss), mtus) == []
    (more,) = link_faults(Links("warn", tunnel, mss + 1), mtus)
    assert f"(MSS {mss + 1}) take 1501" in more
    smaller = Tunnel(tunnel.encapsulation, frame, tunnel.ipv6)
    assert link_faults(Links("warn", smaller), mtus) == []
    assert len(link_faults(Links("warn", Tunnel(tunnel.encapsulation, frame + 1, tunnel.ipv6)), mtus)) == 1
    # A larger bound than the packets themselves changes nothing.
    assert link_faults(Links("warn", tunnel, 9000), mtus) == [line]


@pytest.mark.parametrize(
    ("real", "fits"),
    [
        (RealHost(("eth0",)), False),
        (RealHost(("eth0",), mtu=1519), False),
        (RealHost(("eth0",), mtu=1520), True),
        (RealHost(("eth0",), mss=1440), True),
        (RealHost(("eth0",), mss=1441), False),
    ],
)
@pytest.mark.parametrize("check", ["warn", "fail", "off"])
def test_a_real(real: RealHost, fits: bool, check: str) -> None:
    wanted = HostWanted(real=real, links=Links(check, Tunnel(), real.mss))
    plan = plan_host(wanted, HostSnapshot(sysctls=real.sysctls(), mtus={"eth0": 1500}))
    found = {"warn": plan.warnings, "fail": plan.faults}.get(check, [])
    assert [*plan.warnings, *plan.faults] == found
    assert len(found) == (0 if fits or check == "off" else 1)
