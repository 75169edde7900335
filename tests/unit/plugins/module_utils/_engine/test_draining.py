# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draining by hand and by the inventory: what is refused, and what is said of entries that lead to a drained real."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Clock, Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.vips import VipRun
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._engine.counted_runs import (
    ABC,
    OTHER,
    A,
    B,
    C,
    D,
    apply,
    real,
    table,
    vip,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Entry, Host

AB = vip(reals=[real(A), real(B)])
NAME, OTHER_NAME = "198.51.100.1:443/tcp", "198.51.100.1:80/tcp"


def by_hand(host: Host, state: str, *addresses: str, allow_empty: bool = False, check: bool = False) -> Result:
    entries = [{"address": address, **({"state": state} if state != "deleted" else {})} for address in addresses]
    return host.run("reals", entries, "deleted" if state == "deleted" else "merged", allow_empty, check)


def refused(host: Host, sentence: str, state: str, *addresses: str) -> None:
    """Refused in a run and in a review, and nothing changes; allowed where somebody says that it is meant."""
    before = host.everything()
    for check in (True, False):
        with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
            by_hand(host, state, *addresses, check=check)
    assert host.everything() == before
    assert by_hand(host, state, *addresses, allow_empty=True).changed


MEANT = ": give allow_empty: true if that is meant"


@pytest.mark.parametrize("state", ["draining", "down"])
def test_all_reals_in_one_run(host: Host, state: str) -> None:
    apply(host, AB)
    out = f"{NAME} ({A} {state} by hand, {B} {state} by hand)"
    refused(host, f"config: no real would take new flows of {out}{MEANT}", state, A, B)
    # Said again, it takes nothing away.
    assert not by_hand(host, state, A, B).changed


def test_one_after_another(host: Host) -> None:
    apply(host, AB)
    by_hand(host, "draining", A)
    out = f"{NAME} ({A} draining by hand, {B} down by hand)"
    refused(host, f"config: no real would take new flows of {out}{MEANT}", "down", B)


@pytest.mark.parametrize(
    ("drained", "why"),
    [(real(A, 0), "weight 0"), (real(A, state="draining"), "draining"), (real(A, state="down"), "down")],
)
def test_what_the_inventory_drains_counts(host: Host, drained: Entry, why: str) -> None:
    apply(host, vip(reals=[drained, real(B)]))
    refused(
        host,
        f"config: no real would take new flows of {NAME} ({A} {why}, {B} draining by hand){MEANT}",
        "draining",
        B,
    )


def test_every_vip_is_named(host: Host) -> None:
    apply(host, vip(reals=[real(A)]), vip(port=80, reals=[real(A)]), vip(port=81, reals=[real(A), real(B)]))
    both = f"{OTHER_NAME} ({A} draining by hand), {NAME} ({A} draining by hand)"
    refused(host, f"config: no real would take new flows of {both}{MEANT}", "draining", A)


def test_the_end_of_a_word_may_take_the_last_one_too(host: Host) -> None:
    apply(host, vip(reals=[real(A, state="draining")]))
    by_hand(host, "active", A)
    refused(host, f"config: no real would take new flows of {NAME} ({A} draining){MEANT}", "deleted", A)


def test_who_has_no_active_real_loses_none(host: Host) -> None:
    apply(host, vip(reals=[real(A, 0), real(B, 0)]), vip(port=80))
    done = by_hand(host, "draining", A, B)
    assert done.changed
    line = f"vip {NAME} ({A} draining by hand, {B} draining by hand): no real takes new flows"
    assert done.warnings == [line]


def test_a_drain_that_leaves_one_is_not_refused(host: Host) -> None:
    apply(host, ABC, OTHER)
    done = by_hand(host, "draining", B, C)
    assert done.warnings == []
    ids = host.file.read().real_ids.assigned
    assert done.gone == [(None, frozenset((ids[B], ids[C])))]
    assert by_hand(host, "active", C).gone == []


def deploy(host: Host, *vips: Entry, min_active: int) -> Result:
    """The VIPs as the role applies them."""
    file = host.file.reopened()
    request = Request("blue", "/sys/fs/bpf", 1, False, min_active=min_active)
    run = VipRun(request, host.maps, file, file.read(), Clock())
    return run.run(Asked(vips, "overridden", allow_empty=True))


def test_a_deploy_does_not_take_the_last_one_that_is_not_drained_by_hand(host: Host) -> None:
    apply(host, AB)
    by_hand(host, "draining", A)
    only_a = vip(reals=[real(A)])
    sentence = (
        f"vips: no real would take new flows of {NAME} ({A} draining by hand), but min_active is 1: end what was said"
        " by hand (katran.fleet.reals, state deleted), or give min_active: 0 if that is meant"
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        deploy(host, only_a, min_active=1)
    done = deploy(host, only_a, min_active=0)
    assert f"vip {NAME} ({A} draining by hand): no real takes new flows" in done.warnings
    # What is so already is no reason to refuse the next one.
    assert deploy(host, only_a, OTHER, min_active=1).changed


# Entries that lead to a real by its name

ROUTED = vip(flags=["source_routing"], reals=[real(A), real(B), real(C)])
ROUTES = [{"prefix": f"192.0.{third}.0/24", "real": B} for third in (2, 9)]
IDS = [{"id": number, "real": B} for number in range(1, 9)]
ROUTES_LEAD = "source_routes: 192.0.2.0/24, 192.0.9.0/24 lead to 10.0.0.2, which is {}: their clients still go there"
IDS_LEAD = "server_ids: 1, 2, 3, 4, 5 and 3 more lead to 10.0.0.2, which is {}: packets that carry them still go there"


@pytest.fixture
def led(host: Host) -> Host:
    apply(host, ROUTED)
    table(host, "source_routes", *ROUTES)
    table(host, "server_ids", *IDS)
    return host


@pytest.mark.parametrize("state", ["draining", "down"])
def test_by_hand(led: Host, state: str) -> None:
    lines = [words.format(f"{state} by hand") for words in (ROUTES_LEAD, IDS_LEAD)]
    assert by_hand(led, state, B, check=True).warnings == lines
    assert by_hand(led, state, B).warnings == lines
    assert led.run("vips", [ROUTED]).warnings[1:] == lines
    assert led.run("source_routes", ROUTES).warnings == lines[:1]
    assert led.run("server_ids", IDS).warnings == lines[1:]
    assert by_hand(led, "deleted", B).warnings == []


@pytest.mark.parametrize(
    ("drained", "why"),
    [(real(B, 0), "weight 0"), (real(B, state="draining"), "draining"), (real(B, state="down"), "down")],
)
def test_by_the_inventory(led: Host, drained: Entry, why: str) -> None:
    changed = vip(flags=["source_routing"], reals=[real(A), drained, real(C)])
    lines = [words.format(f"{why} in {NAME}") for words in (ROUTES_LEAD, IDS_LEAD)]
    assert led.run("vips", [changed], check=True).warnings == lines
    assert led.run("vips", [changed]).warnings == lines
    assert led.run("source_routes", ROUTES).warnings == lines[:1]
    # A word by hand is stronger.
    assert by_hand(led, "active", B).warnings == ([] if why != "weight 0" else lines)


def test_a_real_that_is_gone(led: Host) -> None:
    left = vip(flags=["source_routing"], reals=[real(A), real(C)])
    lines = [words.replace("is {}", "no VIP has") for words in (ROUTES_LEAD, IDS_LEAD)]
    assert led.run("vips", [left]).warnings == lines
    assert led.run("source_routes", ROUTES).warnings == lines[:1]
    assert led.run("source_routes", [{"prefix": "192.0.2.0/24", "real": A}]).warnings == []


def test_where_no_vip_follows_them_a_drain_is_not_told(host: Host) -> None:
    apply(host, vip(reals=[real(A), real(B, 0)]))
    # That nobody follows them is what is told.
    by_hand(host, "draining", B)
    assert table(host, "source_routes", *ROUTES).warnings == [
        "source_routes: no packet follows them, as no VIP has flag source_routing"
    ]


def test_one_entry_of_one_real(host: Host) -> None:
    apply(host, ROUTED)
    by_hand(host, "draining", D)
    told = table(host, "server_ids", {"id": 7, "real": D}).warnings
    assert told == [f"server_ids: 7 leads to {D}, which is draining by hand: packets that carry them still go there"]


def test_of_a_lost_state_nothing_is_said(led: Host) -> None:
    state = led.file.read()
    led.file.write(replace(state, recovered=True))
    assert not [line for line in led.run("source_routes", ROUTES).warnings if "lead" in line]


def test_a_damaged_table_does_not_keep_a_real_from_being_drained(led: Host) -> None:
    led.file.write_file("source_routes.json", "[1]")
    assert by_hand(led, "draining", B).warnings == [IDS_LEAD.format("draining by hand")]
