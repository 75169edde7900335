# SPDX-License-Identifier: GPL-3.0-or-later
"""A table of announcements that is somebody else's as well, and a large one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent.announcer import Announcer
from ansible_collections.katran.fleet.plugins.module_utils._kernel.announce_routes import by_place, read_routes
from ansible_collections.katran.fleet.plugins.module_utils._model.announcement import READY
from ansible_collections.katran.fleet.plugins.module_utils._model.announcing import Seen, SeenVip
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey
from ansible_collections.katran.fleet.tests.engine.sandbox import run, sandbox

MANY = 100_000
PLACES = [f"198.51.{number >> 8}.{number & 255}" for number in range(100)]
SEEN = Seen(tuple(SeenVip(VipKey.read(f"{place}:443/tcp")) for place in PLACES))
LOOKS = 40


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox("eth0"):
        run("ip", "link", "set", "lo", "up")
        yield


def add(family: str, count: int, first: int = 0) -> None:
    """Routes of protocol 186, as bird's are, in the table."""
    numbers = [(number >> 16, number & 0xFFFF) for number in range(first, first + count)]
    if family == "-4":
        places = [f"10.{high}.{low >> 8}.{low & 255}" for high, low in numbers]
    else:
        places = [f"2001:db8::{high:x}:{low:x}" for high, low in numbers]
    batch = Path("/run/batch")
    batch.write_text("".join(f"route add {place} dev lo proto 186 table 198\n" for place in places), encoding="ascii")
    run("ip", family, "-batch", str(batch))


def cost(announcer: Announcer, start: float) -> float:
    """Seconds of a core that looks take, two a second."""
    began = time.process_time()
    for look in range(LOOKS):
        announcer.update(SEEN, start + look / 2)
    return time.process_time() - began


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_many_routes_of_others_cost_next_to_nothing(family: str) -> None:
    add(family, MANY)
    announcer = Announcer("default")
    assert [line.text for line in announcer.update(SEEN, 1000.0)][1:] == [
        "table 198 has more than 100 routes of others (protocol 186), which routing daemons learn from it as well"
    ]
    assert cost(announcer, 1000.5) < 0.02 * LOOKS / 2


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_routes_are_held_among_many_of_others(family: str) -> None:
    add(family, MANY)
    announcer = Announcer("default")
    announcer.update(SEEN, 1000.0)
    announcer.update(SEEN, 1000.5)
    run("ip", "route", "del", PLACES[0], "table", "198")
    told = [line.text for look in range(20) for line in announcer.update(SEEN, 1001.0 + look / 2)]
    assert told == [f"{PLACES[0]} is announced again: somebody had removed the route"]
    # What is decided is done at once, by what the table is then.
    run("ip", "route", "del", PLACES[1], "table", "198")
    announcer.update(Seen(SEEN.vips[3:]), 1011.0)
    assert by_place(read_routes(198)) == dict.fromkeys(PLACES[3:], READY)


def test_a_few_more_routes_of_others_are_no_news() -> None:
    add("-4", 3)
    announcer = Announcer("default")
    announcer.update(SEEN, 1000.0)
    for step in range(1, 5):
        add("-4", 1, first=10 + step)
        assert announcer.update(SEEN, 1000.0 + 10 * step) == []
    run("ip", "route", "add", "10.9.9.9", "dev", "lo", "proto", "static", "table", "198")
    assert [line.text for line in announcer.update(SEEN, 1100.0)] == [
        "table 198 has 8 routes of others (protocol 4, 186), which routing daemons learn from it as well"
    ]


def test_a_route_that_the_kernel_does_not_take_is_tried_again() -> None:
    add("-4", MANY)
    run("ip", "route", "add", PLACES[0], "dev", "lo", "proto", "static", "metric", "1", "table", "198")
    announcer = Announcer("default")
    announcer.update(SEEN, 1000.0)
    for look in range(10):
        assert announcer.update(SEEN, 1000.5 + look / 2) == []
    assert announcer.ready[PLACES[0]].metric == 0
    run("ip", "route", "del", PLACES[0], "table", "198", "proto", "static")
    told = [line.text for look in range(20) for line in announcer.update(SEEN, 1010.0 + look / 2)]
    assert f"{PLACES[0]} is announced" in told
    assert by_place(read_routes(198)) == dict.fromkeys(PLACES, READY)
