# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.rollout import (
    SERIAL,
    Host,
    Ruling,
    agreed_sizes,
    number_faults,
    rule,
    serial_faults,
    sizes_of,
    told,
)


@pytest.mark.parametrize(
    ("value", "sizes"),
    [(1, [1]), ("2", [2]), ("25%", ["25%"]), ([1, "25%", "100%"], list(SERIAL)), (["1", "50%"], [1, "50%"])],
)
def test_sizes(value: Any, sizes: list[int | str]) -> None:
    assert serial_faults(value) == []
    assert sizes_of(value) == sizes


@pytest.mark.parametrize("value", [0, -1, "0", "0%", "101%", "half", "25 %", True, None, 1.5, {"a": 1}, "٣", "[1, 2]"])
def test_what_is_no_size(value: Any) -> None:
    assert serial_faults([1, value]) == [
        f"katran_serial: {value} is not the size of a batch (a number of hosts from 1, or 1% to 100%)"
    ]
    assert serial_faults([]) == ["katran_serial is empty: it lists the sizes of batches, such as [1, 25%, 100%]"]


def test_what_hosts_agree_upon() -> None:
    assert agreed_sizes({}) == ([1, "25%", "100%"], [])
    assert agreed_sizes({"lb1": "2", "lb2": [2]}) == ([2], [])
    _sizes, faults = agreed_sizes({"lb1": 0, "lb2": 0, "lb3": 1, "lb4": 2})
    assert [each.partition(" (")[0] for each in faults] == [
        "katran_serial: 0 is not the size of a batch",
        "katran_serial is [2] for lb4 and [1] for lb3: it is about the whole run",
    ]


def test_numbers() -> None:
    for good in (0, 3, "2"):
        assert number_faults("katran_max_failed", good, 10, True) == []
    for wrong in (-1, 11, "two", True, 1.5, None, float("nan"), "1_0", "\u0661"):
        assert number_faults("katran_max_failed", wrong, 10, True) == [
            f"katran_max_failed: {wrong} is not a whole number from 0 to 10"
        ]
    assert number_faults("katran_gate_seconds", "2.5", 10, False) == []
    for loose in (float("nan"), "1_0", "\u0661", True, "inf"):
        assert number_faults("katran_gate_seconds", loose, 10, False)


def test_a_batch_in_which_nobody_failed_is_done() -> None:
    assert rule([Host("lb1"), Host("lb2", bare=True)], 0, 0) == Ruling(("lb1", "lb2"))


def test_one_too_many_takes_the_whole_batch_back() -> None:
    found = rule([Host("lb1", "gate"), Host("lb2"), Host("lb3", bare=True), Host("lb4", reached=False)], 0, 0)
    assert (found.done, found.stop) == ((), True)
    assert (found.revert, found.bare, found.lost) == (("lb1", "lb2"), ("lb3",), ("lb4",))
    assert found.failed == {"lb1": "gate", "lb4": "it does not answer"}


def test_one_that_may_fail_goes_back_alone() -> None:
    found = rule([Host("lb1", "gate"), Host("lb2")], 0, 1)
    assert (found.done, found.revert, found.stop) == (("lb2",), ("lb1",), False)
    # Those of earlier batches count.
    assert rule([Host("lb1", "gate"), Host("lb2")], 1, 1).stop


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=8),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_every_host_is_done_or_told_of(what: list[tuple[bool, bool, bool]], before: int, most: int) -> None:
    batch = [Host(f"lb{n}", "x" if bad else "", up, bare) for n, (bad, up, bare) in enumerate(what)]
    found = rule(batch, before, most)
    assert set(found.done) | set(found.failed) | set(found.revert) | set(found.bare) == {host.name for host in batch}
    assert not set(found.done) & {*found.failed, *found.revert, *found.bare, *found.lost}
    assert found.stop == (bool(found.failed) and before + len(found.failed) > most)
    assert not found.stop or not found.done
    assert Ruling.from_data(json.loads(json.dumps(found.to_data()))) == found


def test_what_an_operator_is_told() -> None:
    found = rule([Host("lb2", "gate"), Host("lb3"), Host("lb4", bare=True), Host("lb5", reached=False)], 0, 0)
    lines = told(found, {"lb2": "", "lb3": "it is gone"}, ["lb6", "lb7"], "katran.fleet.deploy", ["lb1"])
    assert lines == [
        "lb2 failed: gate",
        "lb5 failed: it does not answer",
        "lb2: program, VIPs and tables are again what they were before this run, verified",
        "lb3 could not go back: it is gone",
        (
            "lb4: there was nothing before this run to go back to; what this run made stays there, and the run did not"
            " go on to announce it"
        ),
        "lb5: whatever this run did there stays, until it answers again",
        "untouched: lb6, lb7",
        "done, and as they should be: lb1",
        "to resume, mend the cause and run katran.fleet.deploy again: what is done already costs nothing",
    ]
    assert told(found, {}, [], "x")[-2] == "no balancer was left to come"
