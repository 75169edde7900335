# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server ids of a fleet, compared before any host is reached."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.inventory_ids import (
    Named,
    as_id,
    divided,
    id_faults,
    id_warnings,
    known_ids,
    led,
)

A, B, C = "10.0.0.1", "10.0.0.2", "fc00::3"
WEB = ("web.service",)


@pytest.mark.parametrize(
    ("value", "found"),
    [(7, 7), ("7", 7), (0, 0), (None, 0), (True, 0), ("x", 0), (-1, 0), (1 << 32, 0), ((1 << 32) - 1, (1 << 32) - 1)],
)
def test_what_is_an_id(value: Any, found: int) -> None:
    assert as_id(value) == found


def test_rows_of_a_table() -> None:
    rows = [{"id": 7, "real": A}, {"id": "8", "real": "FC00:0::3"}, {"id": 0, "real": B}, "none", {"real": A}]
    assert led(rows) == {7: A, 8: C}


def test_an_id_is_one_hosts() -> None:
    reals = {"a": Named(7, (A,)), "b": Named(7, (B,)), "c": Named(8, (C,)), "d": Named(), "e": Named()}
    assert id_faults(reals, []) == {
        "a": ["katran_server_id 7 is b's too: an id names one host"],
        "b": ["katran_server_id 7 is a's too: an id names one host"],
    }
    # The same host by another name.
    assert id_faults({"a": Named(7, (A, C)), "b": Named(7, ("fc00:0::3",))}, []) == {}


def test_balancers_know_an_id_as_its_hosts() -> None:
    reals = {"a": Named(7, (A, C)), "b": Named(8, (B,))}
    good = [{7: A, 8: B}, {7: C, 9: B}, {7: "10.9.9.9"}]
    assert id_faults(reals, good) == {}
    assert id_faults(reals, [{7: B, 8: B}, {7: B}]) == {
        "a": [f"katran_server_id is 7, but katran_server_ids has that lead to {B}, which is b"]
    }


def knows(port: int, **ids: str) -> Any:
    rows = [{"id": int(name[1:]), "real": real} for name, real in ids.items()]
    return known_ids(
        {"vips": [{"address": "198.51.100.1", "port": port, "protocol": "udp"}, "none"], "server_ids": rows}
    )


def test_an_id_leads_to_one_host_on_all_balancers_of_a_vip() -> None:
    balancers = {"lb1": knows(443, n1=A, n2=B), "lb2": knows(443, n1=B, n2=B), "far": knows(53, n1=C)}
    told = (
        "katran_server_ids: id 1 leads to {} here and to {} on {}, which has the same VIPs: connections that carry it"
        " break where they reach the other balancer"
    )
    assert divided(balancers, {}) == {"lb1": [told.format(A, B, "lb2")], "lb2": [told.format(B, A, "lb1")]}
    # Two addresses of one host.
    assert divided(balancers, {"web": Named(1, (A, B, C))}) == {}
    assert known_ids({}) == ({}, frozenset())


def test_who_names_nobody_is_told() -> None:
    reals = {
        "none": Named(0, (A,), WEB),
        "fallback": Named(0, (A,), WEB, 9),
        "unknown": Named(7, (A,), WEB),
        "known": Named(8, (B,), WEB),
        "silent": Named(7, (A,)),
        "ended": Named(7, (A,), ()),
    }
    found = id_warnings(reals, [{9: A}, {8: B}])
    assert set(found) == {"none", "unknown"}
    assert found["none"][0].startswith("katran_server_id_units is set, but no katran_server_id")
    [sentence] = found["unknown"]
    assert sentence.startswith("katran_server_id 7 is in no balancer's katran_server_ids: connections that carry it")
    # Where nobody knows the balancers, nothing is said of them.
    assert set(id_warnings(reals, [])) == {"none"}


def test_a_fallback_that_is_another_host_s_id_is_told() -> None:
    reals = {
        "owner": Named(7, (A,), WEB, 7),
        "misled": Named(0, (B,), WEB, 7),
        "named": Named(8, (C,), WEB, 7),
        "sound": Named(0, (C,), WEB, 9),
    }
    [sentence] = id_warnings(reals, [{7: A, 8: C}]).pop("misled")
    assert sentence.startswith("katran_server_id_fallback 7 is katran_server_id of owner: connections of this host")
    assert set(id_warnings(reals, [{7: A, 8: C}])) == {"misled"}


@given(st.lists(st.integers(0, 5), max_size=8))
def test_a_fault_is_told_to_every_host_that_shares_an_id(ids: list[int]) -> None:
    reals = {f"h{at}": Named(number, (f"10.0.0.{at + 1}",)) for at, number in enumerate(ids)}
    shared = {host for host, real in reals.items() if real.id and ids.count(real.id) > 1}
    assert set(id_faults(reals, [])) == shared
