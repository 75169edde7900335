# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.gate import (
    PARTS,
    Reading,
    Sample,
    Seen,
    Window,
    is_lost,
    is_risen,
    judge,
    may_end_early,
)

VIP, OTHER = "198.51.100.1:443/tcp", "198.51.100.2:443/tcp"


def readings(seconds: float, parts: int, vips: dict[str, int], begin: int = 0, **named: int) -> list[Reading]:
    """Readings of traffic that comes evenly: so many packets in all to each VIP, and so many of each counter."""
    packets = sum(vips.values())
    named = {"frames_seen": packets, "frames_sent": packets, "lru_misses": packets // 10, "frames_dropped": 0, **named}
    return [
        Reading(
            seconds * part / parts,
            {name: begin + number * part // parts for name, number in named.items()},
            {name: begin + number * part // parts for name, number in vips.items()},
            begin + packets * part // parts,
        )
        for part in range(parts + 1)
    ]


def sample(packets: int = 300, life: int = 1_000_000, **options: Any) -> Sample:
    """A balancer that has sent all that came to VIP, evenly."""
    window = Window.between(readings(0.3, PARTS, {VIP: packets, OTHER: 0}))
    whole = {"frames_seen": life, "frames_sent": life, "frames_dropped": 0, "fallback_cache": 0}
    return replace(Sample(True, window, whole), **options)


def seen(packets: int = 5000, **named: int) -> Seen:
    """What it does after the change."""
    window = Window.between(readings(5.0, 1, {VIP: packets, OTHER: 0}, **named))
    return Seen(window, named, vips=frozenset({VIP, OTHER}), agent=True)


def test_where_all_goes_on_nothing_is_found() -> None:
    assert judge(sample(), seen(), True) == []
    assert judge(Sample(), seen(), True) == []


def test_a_vip_that_ceases() -> None:
    after = seen(packets=0, frames_seen=900, frames_sent=0, frames_passed=900, lru_misses=90)
    assert judge(sample(), after, True) == [f"vip {VIP}: no packet in 5.0 s, 1000 a second before"]
    # It may still come; it may be gone from the inventory; it may be led elsewhere; and it may have been a burst.
    assert judge(sample(), after, False) == []
    assert judge(sample(), replace(after, vips=frozenset({OTHER})), True) == []
    assert judge(sample(), after, True, drained=True) == []
    assert judge(sample(packets=20), after, True) == []


def test_new_flows_that_cease_and_a_balancer_that_nothing_reaches() -> None:
    before = sample(packets=3000)
    assert judge(before, seen(lru_misses=0), True) == ["no new flow was balanced in 5.0 s, 1000 a second before"]
    nothing = seen(packets=0, frames_seen=0)
    assert judge(before, nothing, True) == ["no packet reached the program in 5.0 s, 10000 a second before"]
    assert judge(sample(packets=0), nothing, True) == []


@pytest.mark.parametrize(
    "reason", ["ring_slot_empty", "real_outside_map", "encapsulation_failures_v4", "frames_dropped"]
)
def test_drops_that_nothing_before_explains(reason: str) -> None:
    named = {reason: 100, "frames_dropped": 100, "frames_sent": 4900, "frames_seen": 5000}
    found = judge(sample(), seen(4900, **named), False)
    assert len(found) == 1
    assert found[0].startswith("100 of 5000 packets ")
    # As many as before, by the window or by the whole life of the program.
    life = {"frames_seen": 10_000, reason: 300, "frames_dropped": 300}
    assert judge(sample(whole=life), seen(4900, **named), False) == []
    # What a VIP's lists of clients keep out is their purpose.
    denied = {**named, reason: 0, "source_denied": 100, "frames_dropped": 100}
    assert judge(sample(), seen(4900, **denied), False) == []


def test_packets_that_are_counted_and_not_sent() -> None:
    window = Window(5.0, {"to_vips": 5000, "to_reals": 4000, "frames_seen": 5000, "frames_sent": 5000})
    assert judge(Sample(), Seen(window), False) == ["VIPs took 5000 packets, and reals were sent 4000"]
    window = Window(5.0, {"to_vips": 5000, "to_reals": 5000, "frames_sent": 4500, "frames_passed": 100})
    [found] = judge(Sample(), Seen(window), False)
    assert found == "reals were sent 5000 packets by the count, and 4600 left the program"


def test_the_fallback_table() -> None:
    [found] = judge(sample(), seen(fallback_cache=1), False)
    assert found.startswith("1 packets used fallback_cache, 0 before")
    # Where it was always used, as often as ever.
    assert judge(sample(whole={"frames_seen": 1000, "fallback_cache": 500}), seen(fallback_cache=2500), False) == []


def test_checks_and_announcements() -> None:
    before = sample(out=((VIP, "10.0.0.2"),), checked=((("10.0.0.1", "10.0.0.2"), (VIP,)),), ready=("198.51.100.1",))
    out = {(VIP, "10.0.0.1"): "down since now (refused)", (VIP, "10.0.0.2"): "down", (VIP, "10.0.0.3"): "new, and down"}
    after = replace(seen(), out=out, unready={"198.51.100.1": "its ring is empty", "198.51.100.9": "drained"})
    assert judge(before, after, False) == [
        f"check of real 10.0.0.1 in vip {VIP}: down since now (refused)",
        "198.51.100.1 was announced, and is not: its ring is empty",
    ]
    assert len(judge(before, after, False, drained=True)) == 1


def test_an_agent_that_is_gone_at_the_end() -> None:
    before, after = sample(agent=True), replace(seen(), agent=False)
    # Meanwhile it may be starting anew.
    assert judge(before, after, False) == []
    assert judge(before, after, True) == ["the agent ran before, and does not now"]


def test_simulated_flows_need_no_comparison() -> None:
    assert judge(Sample(), Seen(simulated=("vip x: dropped",)), False) == ["vip x: dropped"]


def test_when_a_window_may_end_early() -> None:
    assert may_end_early(Sample())
    assert not may_end_early(sample())
    assert not may_end_early(Sample(True, checked=((("10.0.0.1",), (VIP,)),)))


def test_a_sample_is_handed_through_the_controller() -> None:
    before = sample(out=((VIP, "10.0.0.2"),), checked=((("10.0.0.1",), (VIP, OTHER)),), ready=("a",), agent=True)
    again = Sample.from_data(json.loads(json.dumps(before.to_data())))
    assert again.window.vips == {VIP: 300}
    assert replace(again, window=before.window) == before
    with pytest.raises(ConfigError, match=r"^before: this is not what phase before returned$"):
        Sample.from_data({"loaded": True})


def test_counters_that_began_anew() -> None:
    one = Reading(0.0, {"frames_seen": 1000}, {VIP: 900}, 900)
    two = Reading(1.0, {"frames_seen": 10}, {VIP: 7}, 7)
    assert Window.between([one, two]).counts["frames_seen"] == 10
    assert Window.between([one, two]).vips == {VIP: 7}
    assert Window.between([one]) == Window()


# What never raises an alarm, and what always does


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 2000), st.floats(0, 0.3))
def test_the_same_traffic_raises_no_alarm(seed: int, rate: float, share: float) -> None:
    """The same share of drops and the same rate in both windows, in clumps, however little that is."""
    chance = random.Random(seed)

    def count(seconds: float) -> tuple[int, int]:
        trains = [chance.randint(1, 4) for _each in range(int(rate * seconds / 2.5))]
        return sum(trains), sum(train for train in trains if chance.random() < share)

    def window(seconds: float) -> Window:
        frames, dropped = count(seconds)
        named = {"frames_dropped": dropped, "frames_seen": frames, "frames_sent": frames - dropped}
        return Window.between(readings(seconds, PARTS, {VIP: frames - dropped}, **named))

    frames, dropped = count(3600 / max(rate, 1))
    life = {"frames_seen": frames + 1000, "frames_dropped": dropped + int(1000 * share)}
    before = Sample(True, window(0.3), life)
    assert judge(before, Seen(window(5.0), life, vips=frozenset({VIP})), False) == []


@settings(deadline=None)
@given(st.integers(0, 2000), st.integers(0, 100))
def test_a_burst_is_no_steady_traffic(packets: int, quiet: int) -> None:
    """One client's packets in less than all parts of a window: that they end is no fault."""
    parts = [0] * PARTS
    parts[quiet % (PARTS - 1)] = packets
    found, total = [Reading(0.0, {"frames_seen": 0, "lru_misses": 0}, {VIP: 0}, 0)], 0
    for part, number in enumerate(parts):
        total += number
        found.append(Reading(0.05 * (part + 1), {"frames_seen": total, "lru_misses": total}, {VIP: total}, total))
    after = Seen(Window(5.0, {"frames_seen": 100}), vips=frozenset({VIP}))
    assert judge(Sample(True, Window.between(found), {"frames_seen": total}), after, True) == []


@given(st.integers(50, 10**9), st.floats(0, 1))
def test_a_rise_counts_from_as_many_on_as_chance_explains(of: int, share: float) -> None:
    assert not is_risen(int(of * share), of, share)
    if share <= 0.2:
        assert is_risen(of, of, share) == (of * (1 - share) >= max(30, 5 * (4 * of * share) ** 0.5))


@given(st.integers(0, 10**9))
def test_what_passes_between_two_reads_is_not_lost(taken: int) -> None:
    assert not is_lost(taken, taken)
    assert not is_lost(taken, taken - min(29, taken))
    assert is_lost(taken, 0) == (taken >= 30)
