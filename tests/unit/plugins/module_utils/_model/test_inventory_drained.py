# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an inventory says of drained reals to which tables lead, and of groups that are named almost as patterns are."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import (
    GROUPS,
    Resources,
    drained_warnings,
    missing_groups,
)

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
VIP = {"address": "198.51.100.1", "port": 443, "protocol": "tcp"}
IDS = "packets that carry them still go there"


def said(vips: Any, *addresses: str, **tables: Any) -> list[str]:
    return drained_warnings(Resources({"vips": vips, **tables}), addresses)


def test_entries_that_lead_to_a_drained_real() -> None:
    reals = [{"address": A, "state": "draining"}, {"address": B}]
    ids = [{"id": 7, "real": A}, {"id": "8", "real": A}, {"id": 9, "real": B}, {"id": 10, "real": C}]
    sentence = f"server_ids: 7, 8 lead to {A}, which is draining in 198.51.100.1:443/tcp: {IDS}"
    assert said([{**VIP, "reals": reals}], server_ids=ids) == [
        sentence,
        f"server_ids: 10 leads to {C}, which no VIP has: {IDS}",
    ]
    # One that the inventory has is not gone, whatever its spelling.
    assert said([{**VIP, "reals": reals}], C, server_ids=ids) == [sentence]
    other = [{"address": "FC00::1"}, {"address": A}]
    wrong = [{"id": 1, "real": "fc00::1"}, {"id": 2, "real": "fc00::2"}, {"id": 3}, "nonsense", {"id": 4, "real": "x"}]
    assert said([{**VIP, "reals": other}], "FC00::2", server_ids=wrong) == []


def test_every_table_by_what_follows_it() -> None:
    vip = {**VIP, "flags": ["source_routing"], "reals": [{"address": A, "weight": 0}]}
    rows = [{"prefix": "192.0.2.0/24", "real": A}]
    lines = said([vip], source_routes=rows, server_ids=[{"id": 7, "real": A}])
    assert lines == [
        (
            f"source_routes: 192.0.2.0/24 leads to {A}, which is weight 0 in 198.51.100.1:443/tcp: their clients still"
            " go there"
        ),
        f"server_ids: 7 leads to {A}, which is weight 0 in 198.51.100.1:443/tcp: {IDS}",
    ]


def test_of_wrong_vips_or_none_nothing_is_said() -> None:
    ids = [{"id": 7, "real": A}]
    assert said([{**VIP, "port": "http", "reals": [{"address": B}]}], server_ids=ids) == []
    assert said(["nonsense"], server_ids=[]) == []
    assert said([], server_ids=ids) == []
    assert drained_warnings(Resources({"server_ids": ids}), ()) == []
    assert drained_warnings(Resources({}), ()) == []
    # A VIP may be without reals here: whether that is meant, its own run asks.
    assert said([{**VIP, "reals": []}], server_ids=ids) == [f"server_ids: 7 leads to {A}, which no VIP has: {IDS}"]


def test_numbers_that_are_texts_are_read_as_templates_make_them() -> None:
    vip = {**VIP, "port": "443", "reals": [{"address": A, "weight": "0"}]}
    assert len(said([vip], server_ids=[{"id": 7, "real": A}])) == 1


@pytest.mark.parametrize(
    ("group", "near"),
    [("all", None), ("ungrouped", None), ("katran-balancers", "katran-balancers"), ("balancers_of_old", None)],
)
def test_a_group_that_is_named_almost_as_the_pattern_is(group: str, near: str | None) -> None:
    variable, pattern = next(iter(GROUPS.items()))
    assert variable
    found = missing_groups([group, "web"], {variable: "katran_balancers"}, {variable: []})
    assert found == (
        [f"no host is in katran_balancers ({variable}); did you mean the group {near}?"]
        if near
        else [f"no host is in katran_balancers ({variable})"]
    )
    assert missing_groups([group], {variable: pattern}, {variable: ["lb1"]}) == []


@pytest.mark.parametrize("pattern", ["al", "all_", "ungroupe"])
def test_groups_of_ansibles_own_are_never_meant(pattern: str) -> None:
    assert missing_groups(["all", "ungrouped"], {"v": pattern}, {"v": []}) == [f"no host is in {pattern} (v)"]


def test_a_group_that_another_pattern_is_about_is_not_meant() -> None:
    patterns = {"a": "katran_real", "b": "katran_reals"}
    assert missing_groups(["katran_reals"], patterns, {"a": [], "b": ["r1"]}) == []
