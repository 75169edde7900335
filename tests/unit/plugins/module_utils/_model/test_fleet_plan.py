# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.fleet_plan import (
    CHANGES,
    ERROR,
    MARKDOWN_ROOM,
    NO_CHANGE,
    FleetPlan,
    HostDelta,
    VipDelta,
    clean,
    setting_lines,
    short_names,
)

FIFTY = [f"lb{number}" for number in range(1, 51)]


def plan(*deltas: HostDelta, **more: Any) -> FleetPlan:
    return FleetPlan("old", "new", {"balancer": 50, "real": 100}, deltas=list(deltas), **more)


def test_one_weight_in_every_vip_of_fifty_balancers_is_a_few_lines() -> None:
    change = ("weight of 10.0.0.8 1 → 3",)
    vips = [VipDelta(f"198.51.100.{number}:443/tcp", change, 1700 + number, 65537) for number in range(512)]
    some = ", ".join(each.vip for each in vips[:3])
    delta = HostDelta("balancer", FIFTY, vips=vips, operations={"vips": {"ch_rings": 868352}})
    assert plan(delta).lines() == [
        "plan: old → new",
        "all 50 balancers: lb1–lb50",
        f"  512 VIPs ({some} and 509 more): {change[0]}; 2.6–3.4 % of their flows move",
        "  writes on each: ch_rings 868352",
        "50 of 50 balancers changed",
    ]


def test_several_changes_of_one_vip_and_what_stops_a_deploy() -> None:
    vip = VipDelta("198.51.100.1:443/tcp", ("real 10.0.0.1 removed", "hash maglev_v1 → maglev_v2"), 20, 65537)
    delta = HostDelta(
        "balancer",
        ["lb1"],
        ["sizes.ring: 65537 → 131071"],
        [vip],
        ["server id 7: removed"],
        fault="no room",
        accept_rehash=True,
    )
    found = plan(delta)
    assert found.lines()[1:] == [
        "1 balancer: lb1",
        "  sizes.ring: 65537 → 131071",
        "  vip 198.51.100.1:443/tcp: under 0.1 % of its flows move",
        "    real 10.0.0.1 removed",
        "    hash maglev_v1 → maglev_v2",
        "  server id 7: removed",
        "  a deploy stops here unless katran_accept_rehash is true: do it on the whole fleet at once",
        "  a deploy stops here: no room",
        "1 of 50 balancers changed; 1 fault",
    ]
    assert found.status == ERROR


@pytest.mark.parametrize(
    ("found", "status", "summary"),
    [
        (plan(), NO_CHANGE, "nothing changes"),
        (plan(HostDelta("real", ["r1"], ["mtu: 0 → 1500"])), CHANGES, "1 of 100 reals changed"),
        (plan(added={"real": ["r1", "r2"]}), CHANGES, "2 reals added"),
        (plan(removed={"balancer": ["lb9"]}), CHANGES, "1 balancer removed"),
        (plan(warnings=[{"fault": "odd", "hosts": ["lb1"]}]), NO_CHANGE, "nothing changes"),
        (plan(faults=[{"fault": "wrong", "hosts": FIFTY}]), ERROR, "1 fault"),
        (plan(old_faults=[{"fault": "wrong", "hosts": []}]), ERROR, "1 fault"),
    ],
)
def test_the_status_and_the_summary(found: FleetPlan, status: int, summary: str) -> None:
    assert (found.status, found.summary) == (status, summary)
    assert found.to_data()["exit_status"] == status


def test_a_long_plan_is_cut_where_people_read_it_and_whole_for_programs() -> None:
    settings = [f"setting{number}: a → {'b' * 500}" for number in range(300)]
    found = plan(HostDelta("balancer", ["lb1"], settings))
    assert "  … and 100 more lines (katran_plan_json has all)" in found.lines()
    markdown = found.markdown()
    assert len(markdown) < MARKDOWN_ROOM + 200
    assert "more lines are in the job's log\n```\n" in markdown
    assert found.to_data()["deltas"][0]["settings"] == settings


@given(st.lists(st.text(st.one_of(st.characters(), st.sampled_from("`<>@\x1b\u202e\u2028\n")), min_size=1), min_size=1))
def test_nothing_that_an_inventory_says_leaves_its_place(names: list[str]) -> None:
    found = plan(HostDelta("balancer", names, [f"mode: {names[0]} → native"]), notes=names)
    for line in found.lines():
        assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Zl", "Zp", "Cs") for letter in line)
    title, empty, opening, *body, closing, end = found.markdown().split("\n")
    fence = closing
    assert (title, empty, opening, end) == ("### katran.fleet plan: changes", "", f"{fence}text", "")
    assert set(fence) == {"`"}
    assert not any(fence in line for line in body)
    json.dumps(found.to_data())


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"gateway_mac": "auto"}, {"gateway_mac": ""}, ["gateway_mac: auto → none"]),
        ({"copy_tos": True}, {"copy_tos": False}, ["copy_tos: true → false (the program is compiled anew"]),
        (
            {"features": ["vlan"]},
            {"features": ["cidr_vips"]},
            ["features: + cidr_vips, − vlan (the program is compiled"],
        ),
        ({"interfaces": ["a", "b"]}, {"interfaces": ["b", "a"]}, ["interfaces: in another order (the program moves)"]),
        (
            {"sizes": {"ring": 3, "reals": 5}},
            {"sizes": {"ring": 5, "reals": 5}},
            ["sizes.ring: 3 → 5 (seeds the flow hash"],
        ),
        ({"sizes": {"reals": 4}}, {"sizes": {"reals": 5}}, ["sizes.reals: 4 → 5 (its maps are made anew"]),
        ({"sync_key": "one"}, {"sync_key": "two"}, ["sync_key: changed (the agent's flow"]),
        ({"sync_key": ""}, {"sync_key": "two"}, ["sync_key: set (the agent's flow"]),
        ({"bgp": None}, {"bgp": {"as": 1, "password": "one"}}, ["bgp: none → {'as': 1, 'password': '(hidden)'} (bird"]),
        ({"bgp": {"password": "one"}}, {"bgp": {"password": ""}}, ["bgp.password: taken away (bird"]),
        (
            {"bgp": {"neighbors": [{"password": "one"}]}},
            {"bgp": {"neighbors": [{"password": "two"}]}},
            ["bgp.neighbors: [{'password': '(hidden)'}] → [{'password': '(hidden)'}] (bird"],
        ),
    ],
)
def test_settings_are_told_with_their_effect_and_without_secrets(
    before: dict[str, Any], after: dict[str, Any], lines: list[str]
) -> None:
    found = setting_lines(before, after)
    assert [line[: len(start)] for line, start in zip(found, lines, strict=True)] == lines


def test_names_are_few_words_however_they_are() -> None:
    assert short_names(FIFTY) == "lb1–lb50"
    odd = [f"host-{letter * 8}" for letter in "abcdefghijk"]
    assert short_names(odd) == "host-aaaaaaaa, host-bbbbbbbb, host-cccccccc and 8 more"
    assert clean("a\x07b\u200ec") == "a\\u0007b\\u200ec"
