# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VIPs draining leaves without a real, and what goes on leading to a real that is drained, in exact words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import Check, Probe
from ansible_collections.katran.fleet.plugins.module_utils._model.draining import (
    Drained,
    idle_by_word,
    leading_warnings,
    led_by,
    may_lead_astray,
    require_active,
    require_active_by_hand,
    starving,
    still_led,
    why_out,
    without_active,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import MAX_FAULTS, some
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import Overlay
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import TABLES, ServerId
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import NO_WORDS, Verdict, Words, by_vip
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey, VipReal
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import ALL, SIZES, vip, vips

A, B, C, D = (f"10.0.0.{last}" for last in range(1, 5))
IDS, ROUTES = TABLES["server_ids"], TABLES["source_routes"]
NAME = "198.51.100.1:443/tcp"


def made(*entries: dict[str, Any]) -> dict[VipKey, Vip]:
    return vips(list(entries))[0]


def one(*addresses: str, **options: Any) -> dict[str, Any]:
    return vip(reals=[{"address": address} for address in addresses], **options)


def only(found: dict[VipKey, Vip]) -> Vip:
    (each,) = found.values()
    return each


def by_hand(state: str, *addresses: str) -> Words:
    return Words({address: Overlay(address, state) for address in addresses})


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, ""), (1, "1"), (5, "1, 2, 3, 4, 5"), (6, "1, 2, 3, 4, 5 and 1 more"), (9, "1, 2, 3, 4, 5 and 4 more")],
)
def test_some_words(count: int, words: str) -> None:
    assert some([str(number) for number in range(1, count + 1)]) == words


@pytest.mark.parametrize(
    ("state", "weight", "words", "why"),
    [
        ("active", 1, NO_WORDS, ""),
        ("active", 0, NO_WORDS, "weight 0"),
        ("draining", 1, NO_WORDS, "draining"),
        ("down", 0, NO_WORDS, "down"),
        ("active", 1, by_hand("draining", A), "draining by hand"),
        ("active", 1, by_hand("draining", B), ""),
        ("down", 1, by_hand("active", A), ""),
        ("down", 0, by_hand("active", A), "weight 0"),
        ("draining", 1, by_hand("down", A), "down by hand"),
    ],
)
def test_why_a_real_takes_no_new_flow(state: str, weight: int, words: Words, why: str) -> None:
    found = replace(only(made(one())), reals=(VipReal(A, weight, state),))
    assert why_out(found, words) == ([(A, why)] if why else [])


def test_a_vip_without_an_active_real() -> None:
    both = only(made(one(A, B)))
    assert without_active(both, by_hand("down", A)) == ""
    assert without_active(both, by_hand("down", A, B)) == f"{NAME} ({A} down by hand, {B} down by hand)"
    assert without_active(only(made(one())), NO_WORDS) == ""


def test_which_vips_lose_their_last_real() -> None:
    known = made(one(A, B), vip(port=80, reals=[{"address": C}]))
    assert starving((known, NO_WORDS), (known, by_hand("down", A))) == []
    line = f"{NAME} ({A} down by hand, {B} down by hand)"
    assert starving((known, NO_WORDS), (known, by_hand("down", A, B))) == [line]
    # What was so before loses nothing, by whichever of the two it was.
    assert starving((known, by_hand("down", A, B)), (known, by_hand("draining", A, B))) == []
    weights = made(vip(reals=[{"address": A, "weight": 0}]))
    assert starving((weights, NO_WORDS), (made(one()), NO_WORDS)) == []
    # A VIP that is new lost nothing, and one without reals is meant to have none.
    assert starving(({}, NO_WORDS), (known, by_hand("down", A, B, C))) == []
    assert starving((known, NO_WORDS), (made(one(), vip(port=80)), NO_WORDS)) == []
    # By the inventory, sorted by VIP.
    down = made(
        vip(reals=[{"address": A, "state": "down"}]),
        vip(port=80, reals=[{"address": C, "weight": 0}]),
    )
    assert starving((known, NO_WORDS), (down, NO_WORDS)) == [
        f"198.51.100.1:80/tcp ({C} weight 0)",
        f"{NAME} ({A} down)",
    ]
    # An end of what was said by hand can be one, too.
    inactive = made(vip(reals=[{"address": A, "state": "down"}]))
    assert starving((inactive, by_hand("active", A)), (inactive, NO_WORDS)) == [f"{NAME} ({A} down)"]


def test_by_hand_it_is_refused() -> None:
    known = made(one(A))
    require_active_by_hand(known, NO_WORDS, by_hand("down", A), True)
    require_active_by_hand(known, NO_WORDS, NO_WORDS, False)
    with pytest.raises(ConfigError) as told:
        require_active_by_hand(known, NO_WORDS, by_hand("down", A), False)
    assert str(told.value) == (
        f"config: no real would take new flows of {NAME} ({A} down by hand): give allow_empty: true if that is meant"
    )


def test_by_the_inventory_it_is_refused() -> None:
    known, wanted, overlay = made(one(A, B)), made(one(A)), by_hand("down", A)
    require_active(known, wanted, overlay, 0)
    require_active(known, wanted, NO_WORDS, 1)
    # What the inventory itself says, it may.
    require_active(known, made(vip(reals=[{"address": A, "state": "down"}])), NO_WORDS, 1)
    with pytest.raises(ConfigError) as told:
        require_active(known, wanted, overlay, 1)
    assert str(told.value) == (
        f"vips: no real would take new flows of {NAME} ({A} down by hand), but min_active is 1: end what was said by"
        " hand (katran.fleet.reals, state deleted), or give min_active: 0 if that is meant"
    )


def test_many_are_told_in_few_words() -> None:
    known = made_many(MAX_FAULTS + 2)
    with pytest.raises(ConfigError) as told:
        require_active_by_hand(known, NO_WORDS, by_hand("down", A), False)
    assert str(told.value).count(NAME[:12]) == MAX_FAULTS
    assert ", and 2 more VIPs: give allow_empty" in str(told.value)
    warnings = idle_by_word(known, by_hand("down", A))
    assert len(warnings) == MAX_FAULTS + 1
    assert warnings[-1] == "and 2 more VIPs without a real for new flows"


def made_many(count: int) -> dict[VipKey, Vip]:
    entries = [vip(port=port, reals=[{"address": A}]) for port in range(1, count + 1)]
    return vips(entries, limits=Limits({**SIZES, "vips": 99, "reals": 99}, ALL.features))[0]


def test_vips_that_are_idle_by_word() -> None:
    known = made(one(A, B), vip(port=80, reals=[{"address": C, "state": "down"}]), vip(port=81))
    assert idle_by_word(known, NO_WORDS) == []
    assert idle_by_word(known, by_hand("down", A)) == []
    assert idle_by_word(known, by_hand("down", A, B)) == [
        f"vip {NAME} ({A} down by hand, {B} down by hand): no real takes new flows"
    ]
    assert idle_by_word(known, by_hand("down", C)) == [
        f"vip 198.51.100.1:80/tcp ({C} down by hand): no real takes new flows"
    ]


def test_what_keeps_new_flows_from_a_real() -> None:
    known = made(
        vip(reals=[{"address": A, "state": "draining"}, {"address": B}, {"address": C, "weight": 0}]),
        vip(port=80, reals=[{"address": A, "state": "down"}, {"address": B}]),
        vip(port=53, protocol="udp", reals=[{"address": A, "state": "down"}]),
    )
    drained = Drained(IDS, known, by_hand("down", D), ["10.0.0.9"])
    # Packets of UDP carry no id without a flag.
    assert drained.why(A) == f"which is down or draining in 198.51.100.1:80/tcp, {NAME}"
    assert drained.why(B) == ""
    assert drained.why(C) == f"which is weight 0 in {NAME}"
    assert drained.why(D) == "which is down by hand"
    assert drained.why("10.0.0.9") == ""
    assert drained.why("10.0.0.8") == "which no VIP has"
    # Without VIPs, nobody knows.
    assert Drained(IDS, {}, NO_WORDS).why(A) == ""
    assert Drained(IDS, {}, by_hand("down", A)).why(A) == "which is down by hand"
    assert Drained(IDS, known, by_hand("active", A)).why(A) == ""
    assert Drained(ROUTES, known, NO_WORDS).why(A) == ""


def test_a_real_that_is_listed_as_down() -> None:
    entry = vip(
        port=53,
        protocol="udp",
        flags=["quic", "udp_flow_migration"],
        reals=[{"address": A}],
        down_reals=[A, B],
    )
    known = made(entry)
    drained = Drained(IDS, known, NO_WORDS)
    assert drained.why(B) == "which is listed as down in 198.51.100.1:53/udp"
    assert drained.why(A) == ""


def test_entries_that_lead_to_such_a_real() -> None:
    known = made(one(A, B))
    drained = Drained(IDS, known, by_hand("draining", "10.0.0.10", B))
    keys = {"10.0.0.10": ["1"], B: ["2", "3"], A: ["4"], C: ["5"], D: []}
    follow = "packets that carry them still go there"
    assert still_led(IDS, drained, keys) == [
        f"server_ids: 2, 3 lead to {B}, which is draining by hand: {follow}",
        f"server_ids: 5 leads to {C}, which no VIP has: {follow}",
        f"server_ids: 1 leads to 10.0.0.10, which is draining by hand: {follow}",
    ]
    many = {f"10.1.0.{last}": ["7"] for last in range(MAX_FAULTS + 3)}
    found = still_led(IDS, drained, many)
    assert (len(found), found[-1]) == (MAX_FAULTS + 1, "server_ids: and 3 more reals that are drained or gone")


def test_which_keys_lead_where() -> None:
    items = {number: ServerId(number, real) for number, real in ((30, A), (4, A), (5, B), (6, C))}
    assert led_by(IDS, items.items(), [A, B, D]) == {A: ["4", "30"], B: ["5"], D: []}


def test_whether_to_look_closer() -> None:
    known = made(one(A, B))
    assert may_lead_astray(IDS, [A, B], known, NO_WORDS) is False
    assert may_lead_astray(IDS, [A, B], known, by_hand("down", B)) is True
    assert may_lead_astray(IDS, [A, C], known, NO_WORDS) is True
    assert may_lead_astray(IDS, [], known, NO_WORDS) is False


def test_what_a_tables_run_says() -> None:
    known = made(one(A, B))
    items = {1: ServerId(1, A), 2: ServerId(2, B), 3: ServerId(3, B)}
    overlay = by_hand("down", B)
    expected = [f"server_ids: 2, 3 lead to {B}, which is down by hand: packets that carry them still go there"]
    assert leading_warnings(IDS, items, known, overlay, ALL) == expected
    assert leading_warnings(IDS, items, known, NO_WORDS, ALL) == []
    assert leading_warnings(IDS, {}, known, overlay, ALL) == []
    # Maps that the program does not have lead nowhere.
    without = Limits(SIZES, frozenset())
    routes = {None: ServerId(1, B)}
    assert leading_warnings(ROUTES, routes, known, overlay, without) == []
    destinations = TABLES["decap_destinations"]
    assert leading_warnings(destinations, items, known, overlay, ALL) == []


# What checks say


def checked(*addresses: str, min_healthy: int = 0) -> dict[VipKey, Vip]:
    found = made(one(*addresses))
    return {key: replace(vip_, check=Check(Probe("tcp"), min_healthy)) for key, vip_ in found.items()}


def by_checks(*addresses: str, overlay: Mapping[str, Overlay] | None = None) -> Words:
    verdicts = (Verdict(NAME, address, "down", "2026-11-27T12:00:00+00:00", "timeout") for address in addresses)
    return Words(overlay or {}, by_vip(verdicts))


def test_what_checks_took_out_is_told_as_theirs() -> None:
    known = checked(A, B)
    assert why_out(only(known), by_checks(A)) == [(A, "down by check (timeout)")]
    assert without_active(only(known), by_checks(A)) == ""
    line = f"{NAME} ({A} down by check (timeout), {B} down by check (timeout))"
    assert without_active(only(known), by_checks(A, B)) == line
    assert idle_by_word(known, by_checks(A, B)) == [f"vip {line}: no real takes new flows"]
    # What the floor keeps in takes new flows.
    assert why_out(only(checked(A, B, min_healthy=50)), by_checks(A, B)) == [(A, "down by check (timeout)")]
    # A person's word was there before, and stays told where it is as strict.
    both = by_checks(A, overlay=by_hand("down", A).overlay)
    assert why_out(only(known), both) == [(A, "down by hand")]


def test_the_last_real_that_checks_left_is_not_drained_unasked() -> None:
    known, words = checked(A, B), by_checks(A)
    drained = Words(by_hand("draining", B).overlay, words.verdicts)
    line = f"{NAME} ({A} down by check (timeout), {B} draining by hand)"
    with pytest.raises(ConfigError) as caught:
        require_active_by_hand(known, words, drained, False)
    assert (
        str(caught.value) == f"config: no real would take new flows of {line}: give allow_empty: true if that is meant"
    )
    # Under a floor it is the other that comes in.
    require_active_by_hand(checked(A, B, min_healthy=50), words, drained, False)
    with pytest.raises(ConfigError) as caught:
        require_active(known, checked(A), words, 1)
    assert str(caught.value) == (
        f"vips: no real would take new flows of {NAME} ({A} down by check (timeout)), but min_active is 1:"
        " give min_active: 0 if that is meant"
    )


def test_entries_that_lead_to_what_checks_took_out() -> None:
    items = {7: ServerId(7, A)}
    known = {key: replace(vip_, flags=("quic",)) for key, vip_ in checked(A, B).items()}
    assert leading_warnings(IDS, items, known, by_checks(A), ALL) == [
        f"server_ids: 7 leads to {A}, which is down by check (timeout) in {NAME}: {IDS.follows} still go there"
    ]
