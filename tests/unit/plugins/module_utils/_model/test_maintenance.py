# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which balancers are meant, and whether another one is left for each of their VIPs."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.maintenance import (
    chosen_balancers,
    last_ready,
    names_of,
    option_faults,
)

GROUP = ["lb1", "lb2", "lb3"]
ONE, TWO = "198.51.100.1", "198.51.100.2"


def announcing(drained: bool = False, **routes: int) -> dict[str, t.Any]:
    """What a balancer tells: the metric of the first place as `one`, of the second as `two`."""
    places = {ONE: routes.get("one", 0), TWO: routes.get("two", 0)}
    rows = [{"place": place, "route": metric} for place, metric in places.items()]
    return {"drained": {"by": "anna"} if drained else None, "places": rows}


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, []),
        ("", []),
        ("lb1", ["lb1"]),
        ("lb1, lb2", ["lb1", "lb2"]),
        (["lb1", "lb2"], ["lb1", "lb2"]),
        ({"lb1": 1}, None),
        (7, None),
        ([["lb1"]], None),
    ],
)
def test_names(value: t.Any, names: list[str] | None) -> None:
    assert names_of(value) == names


@pytest.mark.parametrize(
    ("asked", "limited", "playing", "hosts", "fault"),
    [
        ("lb2,lb1", False, GROUP, ["lb1", "lb2"], ""),
        ("", True, ["lb2"], ["lb2"], ""),
        ("lb2", True, ["lb2"], ["lb2"], ""),
        ("lb2", True, ["lb1"], ["lb2"], "katran_drain: --limit leaves lb2 out: name it there too, or give no --limit"),
        ("", False, GROUP, [], "which balancers? Name them: --limit lb1, or -e katran_drain=lb1,lb2"),
        ([], True, GROUP, [], "which balancers? Name them: --limit lb1, or -e katran_drain=lb1,lb2"),
        ("lb4", False, GROUP, [], "katran_drain: lb4 is none of the balancers; did you mean lb3?"),
        ("web9x", False, GROUP, [], "katran_drain: web9x is none of the balancers (lb1, lb2, lb3)"),
        (3, False, GROUP, [], "katran_drain: 3 is neither the name of a balancer nor a list of them"),
    ],
)
def test_which_are_meant(asked: t.Any, limited: bool, playing: list[str], hosts: list[str], fault: str) -> None:
    found = chosen_balancers(asked, limited, playing, GROUP)
    assert found == (hosts, [fault] if fault else [])


@pytest.mark.parametrize(
    ("name", "good", "bad", "sentence"),
    [
        (
            "drain_timeout",
            [0, "90", 1.5, None, 86400],
            ["soon", -1, True, [1], 86401, "1_0", "\u0661"],
            "is not a number of seconds",
        ),
        ("drain_flows", [0, "12"], ["few", -1, 1.5, "", "1_0", "\u0661", True], "is not a number of flows"),
        ("drain_last", [True, "yes", "False", 0], ["perhaps", 2, ""], "is neither true nor false"),
        ("drain_withdraw", [False, "on"], ["later"], "is neither true nor false"),
        ("on_timeout", ["stop", "purge", "go_on"], ["", "go on", ["stop"]], "is none of stop, purge, go_on"),
    ],
)
def test_what_is_given_beside(name: str, good: list[t.Any], bad: list[t.Any], sentence: str) -> None:
    assert [option_faults({name: value}) for value in good] == [[]] * len(good)
    for value in bad:
        (fault,) = option_faults({name: value})
        assert fault.startswith(f"katran_{name}: ")
        assert sentence in fault


def test_another_that_is_ready_suffices() -> None:
    both = announcing(one=1, two=1)
    assert last_ready({"lb1": both, "lb2": both}, ["lb1"]) == []
    assert last_ready({"lb1": both, "lb2": both}, []) == []
    # Two that leave together do not count on each other.
    lost = last_ready({"lb1": both, "lb2": both}, ["lb1", "lb2"])
    assert lost == [
        f"{place}: only lb1, lb2 announces it as ready, and no other balancer announces it" for place in (ONE, TWO)
    ]
    assert last_ready({"lb1": both, "lb2": both, "lb3": both}, ["lb1", "lb2"]) == []


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (announcing(one=1), ""),
        (announcing(two=1), "no other balancer announces it"),
        (announcing(drained=True, one=1), "no other balancer announces it"),
        (announcing(drained=True, one=2), "no other balancer announces it"),
        (announcing(one=2), "every other balancer asks traffic to go elsewhere itself"),
        (None, "no other balancer announces it (lb2 did not answer)"),
    ],
)
def test_who_is_another(other: t.Any, why: str) -> None:
    lost = last_ready({"lb1": announcing(one=1), "lb2": other}, ["lb1"])
    assert lost == ([f"{ONE}: only lb1 announces it as ready, and {why}"] if why else [])


def test_where_all_ask_traffic_away_any_other_suffices() -> None:
    asking = announcing(one=2)
    assert last_ready({"lb1": asking, "lb2": asking}, ["lb1"]) == []
    assert len(last_ready({"lb1": asking, "lb2": announcing(drained=True, one=2)}, ["lb1"])) == 1
    # What nobody announces nobody loses.
    assert last_ready({"lb1": announcing(), "lb2": None}, ["lb1"]) == []
    assert last_ready({"lb1": None, "lb2": asking}, ["lb1"]) == []
