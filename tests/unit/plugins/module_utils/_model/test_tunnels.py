# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's tunnel devices: what is made, repaired, refused and taken away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.program_plan import ProgramPlan
from ansible_collections.katran.fleet.plugins.module_utils._model.tunnels import (
    AddAddress,
    ClosePort,
    Device,
    MakeTunnel,
    OpenPort,
    RaiseTunnel,
    RemoveTunnel,
    SetParameter,
    TunnelsSeen,
    parameters_of,
    plan_closing,
    plan_tunnels,
)

IPIP, IP6TNL = "katran-ipip", "katran-ip6tnl"
PARAMETERS = {**parameters_of(IPIP), **parameters_of(IP6TNL)}
GOOD = TunnelsSeen(
    {IPIP: Device("ipip", True, True), IP6TNL: Device("ip6tnl", True, True)},
    {(4, 6080): True, (6, 6080): True},
    PARAMETERS,
)


def plan(seen: TunnelsSeen, *ours: str, ports: tuple[int, ...] = (6080,)) -> ProgramPlan:
    found = ProgramPlan()
    plan_tunnels(found, ports, seen, ours)
    return found


def test_what_is_there_stays() -> None:
    assert plan(GOOD).steps == []
    assert plan_tunnels(ProgramPlan(), (6080,), GOOD, ()) == [IPIP, IP6TNL]


def test_a_device_is_filtered_before_it_takes_anything() -> None:
    found = plan(TunnelsSeen())
    assert found.changes == [
        f"add the tunnel device {IPIP}",
        f"add the tunnel device {IP6TNL}",
        "take GUE at port 6080 of IPv4 by the kernel",
        "take GUE at port 6080 of IPv6 by the kernel",
    ]
    kinds = [type(step) for step in found.ordered()]
    made = [MakeTunnel, AddAddress, SetParameter]
    assert kinds == [*made, *made, SetParameter, RaiseTunnel, RaiseTunnel, OpenPort, OpenPort]
    assert found.of(RaiseTunnel)[0].phase > found.of(MakeTunnel)[0].phase


def test_a_host_without_ipv6() -> None:
    found = ProgramPlan()
    assert plan_tunnels(found, (6080,), TunnelsSeen(ipv6=False), ()) == [IPIP]
    assert found.of(OpenPort) == [OpenPort(4, 6080)]


def test_what_somebody_changed_is_repaired() -> None:
    spoilt = replace(
        GOOD,
        devices={IPIP: Device("ipip", True, False), IP6TNL: Device("ip6tnl", True, True, addressed=False)},
        ports={(6, 6080): True},
        parameters={**PARAMETERS, f"net/ipv4/conf/{IPIP}/rp_filter": "1"},
    )
    assert plan(spoilt).changes == [
        f"net/ipv4/conf/{IPIP}/rp_filter 1 → 2",
        f"set the tunnel device {IPIP} up",
        f"add 127.0.0.43 to {IP6TNL}",
        "take GUE at port 6080 of IPv4 by the kernel",
    ]
    # One of ours that is something else is made anew; another's is left.
    other = replace(GOOD, devices={**GOOD.devices, IPIP: Device("ipip", False, True)})
    assert plan(other, IPIP).of(MakeTunnel) == [MakeTunnel(IPIP, True)]
    with pytest.raises(ProgramError, match=r"^interface katran-ipip is no ipip device in external mode, and not ours"):
        plan(other)


def test_there_is_room_for_one_device_of_a_kind() -> None:
    taken = TunnelsSeen({"tunl9": Device("ipip", True, True), "other": Device("ip6tnl", False, True)})
    with pytest.raises(ProgramError, match=r"^how kernel: interface tunl9 is an ipip device in external mode"):
        plan(taken)


def test_what_cannot_be() -> None:
    with pytest.raises(ProgramError, match=r"^how kernel: this kernel has no ipip and no fou "):
        plan(TunnelsSeen(lacks=("ipip", "fou")))
    with pytest.raises(ProgramError, match=r"^gue_port: the kernel has port 6080 for something else than GUE"):
        plan(replace(GOOD, ports={(4, 6080): False}))


def test_the_end_of_what_is_ours() -> None:
    found = ProgramPlan()
    seen = replace(GOOD, ports={(4, 6080): True, (6, 6080): False, (4, 6090): True, (4, 7000): True})
    plan_closing(found, seen, [IPIP, "gone"], [6080, 6090], [6090])
    assert found.steps == [ClosePort(4, 6080), RemoveTunnel(IPIP)]
    assert found.changes == [
        "take GUE at port 6080 of IPv4 by the kernel no more",
        f"remove the tunnel device {IPIP}",
    ]
