# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reals that are drained in a whole fleet: which, what balancers say to it, and when that has come to its end."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.draining import STARVES
from ansible_collections.katran.fleet.plugins.module_utils._model.leaving_plan import (
    QUIET_SECONDS,
    Said,
    chosen_reals,
    folded,
    progress,
    said,
)

INVENTORY = {"web1": ["10.0.0.1", "fc00::1"], "web2": ["10.0.0.2"], "lb1": []}


@pytest.mark.parametrize(
    ("asked", "addresses", "fault"),
    [
        ("web1", ["10.0.0.1", "fc00::1"], ""),
        ("web1,web2", ["10.0.0.1", "fc00::1", "10.0.0.2"], ""),
        (["web2", "10.0.0.2", "fc00::0:9"], ["10.0.0.2", "fc00::9"], ""),
        ("", [], "which reals? Name them: -e katran_real=web1, or -e katran_real=10.0.0.11,10.0.0.12"),
        (None, [], "which reals? Name them: -e katran_real=web1, or -e katran_real=10.0.0.11,10.0.0.12"),
        (7, [], "katran_real: 7 is neither the name of a real nor a list of them"),
        ("web3", [], "katran_real: web3 is neither a host of the inventory nor an address; did you mean web2?"),
        ("10.0.0", [], "katran_real: 10.0.0 is neither a host of the inventory nor an address"),
        ("lb1", [], "katran_real: host lb1 has no katran_real_address, and so is no real"),
    ],
)
def test_which_are_meant(asked: t.Any, addresses: list[str], fault: str) -> None:
    assert chosen_reals(asked, INVENTORY) == (addresses, [fault] if fault else [])


def test_what_balancers_answer() -> None:
    refusal = f"config: {STARVES} 198.51.100.1:80/tcp"
    entry = {"address": "10.0.0.1", "state": "draining"}
    answers = {
        "lb1": {"before": [], "after": [entry]},
        "lb2": {"failed": True, "msg": refusal},
        "lb3": {"unreachable": True},
        "lb4": {"failed": True, "msg": "there is no balancer"},
        "lb5": {"before": [{"address": "10.0.0.1", "state": "down"}], "after": [entry]},
        "lb6": {"before": [], "after": []},
        "lb7": {"failed": True, "msg": refusal},
    }
    assert said(answers) == Said(
        [f"lb2, lb7: {refusal}"],
        ["lb3"],
        ["lb4"],
        ["lb1", "lb5", "lb6"],
        {
            "lb1": {"merged": [], "deleted": [{"address": "10.0.0.1"}]},
            "lb5": {"merged": [{"address": "10.0.0.1", "state": "down"}], "deleted": []},
        },
    )
    assert folded({}) == []


def counting(flows: int, *rates: float, quiet: float = 0.0, known: t.Sequence[str] = ("10.0.0.1",)) -> dict[str, t.Any]:
    return {"flows": flows, "rates": list(rates), "quiet": quiet, "known": list(known)}


def test_flows_fall_over_all_balancers() -> None:
    first = progress({"lb1": counting(9, 30.0, 20.0), "lb2": counting(3, 10.0), "lb3": {}}, {}, 2, 0)
    assert first.line == "2 s: 20 packets/s, 12 flows in the tables of 2 balancers"
    assert (first.over, first.known, first.seconds, first.quiet) == (False, True, 2.0, 0.0)
    # One that still sends keeps all of them waiting.
    second = progress({"lb1": counting(9, 0.0, quiet=2), "lb2": counting(3, 1.0)}, first._asdict(), 2, 0)
    assert (second.over, second.quiet) == (False, 0.0)
    third = progress({"lb1": counting(9, 0.0, quiet=2), "lb2": counting(3, 1.0, 0.0, quiet=1)}, second._asdict(), 2, 0)
    assert third.quiet == 1.0
    last = progress({"lb1": counting(9, 0.0, quiet=9), "lb2": counting(3, 0.0, quiet=9)}, third._asdict(), 9, 0)
    assert (last.over, last.quiet >= QUIET_SECONDS, last.seconds) == (True, True, 15.0)
    assert last.line == "15 s: 0 packets/s, 12 flows in the tables of 2 balancers, no packet for 10 s"


@pytest.mark.parametrize(("flows", "most", "over"), [(0, 0, True), (1, 0, False), (5, 5, True), (6, 5, False)])
def test_a_threshold_ends_it(flows: int, most: int, over: bool) -> None:
    assert progress({"lb1": counting(flows, 100.0)}, {}, 5, most).over is over


def test_without_an_answer_nothing_is_over() -> None:
    found = progress({"lb1": {}}, {"quiet": 20.0, "seconds": 5.0}, 5, 0)
    assert (found.over, found.known, found.seconds) == (False, False, 10.0)
