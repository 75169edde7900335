# SPDX-License-Identifier: GPL-3.0-or-later
"""purge_flows of modules vips and reals: whose flows go with what is changed, and whose stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.engine.host import Outcome, module
from ansible_collections.katran.fleet.tests.engine.life import (
    LINK,
    REALS,
    VIP,
    apply,
    ensure,
    flows,
    forwards,
    lead_out,
    send,
    vips,
)
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, sandbox

GONE, *STAY = REALS
OTHER = vips(address="198.51.100.9")
"""Keeps the reals, whatever becomes of the VIP that packets come for."""


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        lead_out()
        ensure()
        apply([vips(), OTHER])
        send({20000 + number: number for number in range(300)})
        yield


def reals_of_flows() -> dict[int, str]:
    """Client's port → the real of its flow."""
    ids = StateFile("default", BPFFS).read().real_ids.assigned
    names = {number: address for address, number in ids.items()}
    return {layout.parse_flow_key(flow)[2]: names[real] for flow, (real, _cpu) in flows().items()}


def run(name: str, config: list[dict[str, Any]], check: bool = False, **options: Any) -> Outcome:
    """One run of a module, in a process of its own."""
    arguments = {"bpffs": BPFFS, "config": config, "state": "overridden", "allow_empty": True, **options}
    return module(name, arguments, check=check)


def without(address: str, real: str) -> dict[str, Any]:
    vip = vips(address=address)
    return {**vip, "reals": [each for each in vip["reals"] if each["address"] != real]}


def test_flows_to_a_real_that_leaves_its_vip() -> None:
    before = reals_of_flows()
    assert set(before.values()) == set(REALS)
    config = [without(VIP, GONE), OTHER]
    foretold = run("vips", config, check=True, purge_flows=True)
    assert reals_of_flows() == before
    done = run("vips", config, purge_flows=True)
    number = sum(real == GONE for real in before.values())
    tables = {name: count for name, count in done["operations"].items() if name in ("lru_mapping", "fallback_cache")}
    assert tables == {"lru_mapping": number}
    assert done["operations"] == foretold["operations"]
    assert reals_of_flows() == {port: real for port, real in before.items() if real != GONE}
    # They are balanced anew.
    port = next(port for port, real in before.items() if real == GONE)
    assert forwards(port)
    assert reals_of_flows()[port] in STAY
    assert not run("vips", config, purge_flows=True)["changed"]


def test_flows_stay_where_nobody_asks() -> None:
    before = reals_of_flows()
    run("vips", [without(VIP, GONE), OTHER])
    assert reals_of_flows() == before


def test_flows_of_a_vip_that_goes() -> None:
    run("vips", [OTHER], purge_flows=True)
    assert reals_of_flows() == {}


def test_flows_to_the_real_of_another_vip_stay() -> None:
    before = reals_of_flows()
    run("vips", [vips(), without(OTHER["address"], GONE)], purge_flows=True)
    assert reals_of_flows() == before


@pytest.mark.parametrize("state", ["draining", "down"])
@pytest.mark.parametrize("purge", [True, False])
def test_flows_to_a_real_that_is_taken_out_by_hand(state: str, purge: bool) -> None:
    before = reals_of_flows()
    entry = {"address": GONE, "state": state}
    run("reals", [entry], state="merged", purge_flows=purge)
    # Draining is to let them end; who asks for their end gets that too.
    left = {port: real for port, real in before.items() if real != GONE or not purge}
    assert reals_of_flows() == left
    # Whoever comes back takes no flow from anybody.
    run("reals", [{**entry, "state": "active"}], state="merged", purge_flows=True)
    assert reals_of_flows() == left
