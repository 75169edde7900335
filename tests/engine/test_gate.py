# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gate finds what the self-test of a program cannot know: faults that concern one VIP, or a part of its packets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine import gate
from ansible_collections.katran.fleet.tests.engine.life import (
    LINK,
    apply,
    changed_sources,
    ensure,
    lead_out,
    roll_back,
    stream,
    vips,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import compiled_once, request, sandbox

REALS6 = ("fc00::1", "fc00::2")
ADDRESSES = [f"198.51.100.{number}" for number in range(1, 6)]


def of_vip(number: int, action: str, where: str = "flow->dst[0]", more: str = "1") -> str:
    """C that does something to the packets of VIP 198.51.100.`number` alone."""
    return f"\tif ({where} == htonl(0xC6336400 + {number}) && {more})\n\t\treturn {action};\n"


FORWARD, COUNTED = "\tcount(COUNT_VIP_PACKETS);\n", "\tif (is_delivered_here(vip, real))"
BEFORE = of_vip(1, "XDP_DROP") + of_vip(2, "XDP_PASS") + of_vip(3, "XDP_DROP", more="flow_sport(p) & htons(1)")
AFTER = of_vip(4, "XDP_DROP", "(__be32)vip->words.low")


@pytest.fixture(scope="module", autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        ensure()
        apply([*(vips(address=each) for each in ADDRESSES), vips(*REALS6, address="2001:db8:1::1")])
        lead_out()
        yield


def test_where_nothing_changed_nothing_is_found() -> None:
    with stream():
        before = gate.look_before(request())
        found = gate.watch(request(), before, 1.5, False)
    assert found.faults == []
    assert found.simulated == 8 * 6
    assert {"frames_seen", f"{ADDRESSES[0]}:80/udp"} <= before.window.steady


def test_planted_faults_are_found_at_once_and_without_traffic() -> None:
    before = gate.look_before(request())
    directory = changed_sources(
        "faulty",
        balancer_bpf_c=(FORWARD, BEFORE + FORWARD),
        send_h=(COUNTED, AFTER + COUNTED),
    )
    ensure(source_dir=directory)
    found = gate.watch(request(), before, 5.0, False)
    roll_back()
    assert [line.partition(" (")[0] for line in found.faults] == [
        "vip 198.51.100.1:80/udp: of 8 simulated packets, 8 dropped, as if for no VIP",
        "vip 198.51.100.2:80/udp: of 8 simulated packets, 8 passed, as if for no VIP",
        "vip 198.51.100.3:80/udp: of 8 simulated packets, 4 dropped, as if for no VIP",
        "vip 198.51.100.4:80/udp: of 8 simulated packets, 8 dropped, on the way to real 10.0.0.1",
    ]
    assert found.seconds < 1.5
