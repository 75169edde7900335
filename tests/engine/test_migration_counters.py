# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters that packets write while their map is replaced: each once, under its number, and no more than counters."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import FLOOD, PERCPU_ARRAY
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.plugins.module_utils._program.migration import Migration
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS

SENT = 17
Make = Callable[[int], bpf.Map]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes a map `stats` for so many VIPs: their counters, and as many global ones behind them."""
    with ExitStack() as opened:

        def stats(vips: int) -> bpf.Map:
            return opened.enter_context(bpf.Map(bpf.create_map(PERCPU_ARRAY, 4, 16, 2 * vips, 0, "stats")))

        yield stats


def count(stats: bpf.Map, index: int, first: int, second: int = 0, cpu: int = 0) -> None:
    """Give a counter these values on one CPU."""
    value = bytearray(stats.lookup(layout.u32(index)) or b"")
    struct.pack_into("=QQ", value, 16 * cpu, first, second)
    stats.update(layout.u32(index), bytes(value))


def counted(stats: bpf.Map) -> dict[int, list[tuple[int, int]]]:
    """Index → values on each CPU, of the counters that are not zero."""
    return {layout.parse_u32(key): list(struct.iter_unpack("=QQ", value)) for key, value in stats.items() if any(value)}


def migration(old: int, new: int) -> Migration:
    return Migration(State("default", BPFFS), {"vips": old}, {"vips": new}, bpf.map_by_id)


@pytest.mark.parametrize("vips", [24, 32, 48])
def test_what_comes_between_the_copy_and_the_swap_is_counted_once(make: Make, vips: int) -> None:
    source, target, work = make(32), make(vips), migration(32, vips)
    last = len(os.sched_getaffinity(0)) - 1
    count(source, 5, 10, 1000)
    count(source, 32 + SENT, 100, 7)
    work.copy("stats", source, target)
    # The old program goes on, on more than one CPU, and to a VIP without any packet so far.
    count(source, 5, 12, 1200)
    count(source, 5, 3, 300, cpu=last)
    count(source, 6, 1, 60)
    count(source, 32 + SENT, 103, 9)
    # The new program has begun.
    count(target, vips + SENT, 104, 8)
    before = counted(source)
    work.complete()
    work.complete()
    found = counted(target)
    assert {index: found[index] for index in (5, 6)} == {index: before[index] for index in (5, 6)}
    assert found[vips + SENT][0] == (107, 10)
    assert set(found) == {5, 6, vips + SENT}


def test_the_counters_of_a_number_that_no_vip_has_any_more_go_nowhere(make: Make) -> None:
    """In the smaller map, global counters have its place."""
    source, target, work = make(32), make(24), migration(32, 24)
    for index in range(24, 32):
        count(source, index, 77)
    work.copy("stats", source, target)
    assert counted(target) == {}
    for index in range(24, 32):
        count(source, index, 99)
    work.complete()
    assert counted(target) == {}


def test_the_flood_limit_is_no_counter(make: Make) -> None:
    """It has the new flows of this second, and when that began: added up, the time would lie far ahead."""
    source, target, work = make(32), make(48), migration(32, 48)
    count(source, 32 + FLOOD, 40, 5_000_000_000)
    work.copy("stats", source, target)
    count(source, 32 + FLOOD, 3, 6_000_000_000)
    count(target, 48 + FLOOD, 8, 6_000_000_100)
    work.complete()
    assert counted(target)[48 + FLOOD][0] == (8, 6_000_000_100)


def test_other_maps_have_no_flood_limit(make: Make) -> None:
    """The index of that counter is a real's number in the counters of reals."""
    with (
        bpf.Map(bpf.create_map(PERCPU_ARRAY, 4, 16, 64, 0, "reals_stats")) as source,
        bpf.Map(bpf.create_map(PERCPU_ARRAY, 4, 16, 48, 0, "reals_stats")) as target,
    ):
        work = migration(32, 32)
        for index in (32 + FLOOD, 47, 48):
            count(source, index, 1)
        work.copy("reals_stats", source, target)
        for index in (32 + FLOOD, 47, 48):
            count(source, index, 4)
        work.complete()
        assert {index: values[0] for index, values in counted(target).items()} == {34: (4, 0), 47: (4, 0)}
