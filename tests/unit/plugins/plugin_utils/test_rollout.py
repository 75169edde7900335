# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a run over all balancers, before any host is reached."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.plugin_utils.rollout import rollout_of
from ansible_collections.katran.fleet.tests.unit.plugins.plugin_utils.test_fleet import LB, fleet


def told(hosts: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """What all balancers say together, and what is wrong with it."""
    one = fleet({host: {**LB, **variables} for host, variables in hosts.items()})
    found = rollout_of(one, one._variables, hosts)
    return found, [f"{host}: {sentence}" for host, sentences in one.faults.items() for sentence in sentences]


def test_by_default_one_balancer_goes_first_and_none_may_fail() -> None:
    assert told({"lb1": {}, "lb2": {}}) == ({"serial": [1, "25%", "100%"], "max_failed": 0}, [])


def test_what_all_say_or_those_that_say_something() -> None:
    said = {"katran_serial": ["2", "50%"], "katran_max_failed": "1", "katran_gate_seconds": 0.5}
    assert told({"lb1": {}, "lb2": said, "lb3": said}) == ({"serial": [2, "50%"], "max_failed": 1}, [])


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("serial", "half", "katran_serial: half is not the size of a batch (a number of hosts from 1, or 1% to 100%)"),
        ("max_failed", -1, "katran_max_failed: -1 is not a whole number from 0 to 100000"),
        ("gate_seconds", "soon", "katran_gate_seconds: soon is not a number from 0 to 3600"),
        ("serial", "{{ nowhere }}", ""),
    ],
)
def test_what_cannot_be(name: str, value: Any, fault: str) -> None:
    found, faults = told({"lb1": {f"katran_{name}": value}})
    assert found == {"serial": [1, "25%", "100%"], "max_failed": 0}
    assert len(faults) == 1
    assert fault in faults[0]


def test_two_words_about_one_run() -> None:
    _found, faults = told({"lb1": {"katran_max_failed": 1}, "lb2": {"katran_max_failed": 2}})
    assert faults == ["lb2: katran_max_failed is 2 here and 1 for lb1: it is about the whole run"]
