# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import (
    GROUPS,
    VARIABLES,
    Prepared,
    Resources,
    Served,
    feature_faults,
    list_faults,
    may_still_send,
    missing_groups,
    resource_of,
    resource_variables,
    resources_faults,
    unknown_variables,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import FROM_VARIABLES

ROOT = Path(__file__).resolve().parents[5]
VIP = {"address": "198.51.100.1", "port": 80, "protocol": "tcp"}


def test_the_variables_are_those_that_roles_playbooks_and_plugins_read() -> None:
    read: set[str] = set()
    for folder in ("roles", "playbooks", "plugins/filter"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".yml", ".py", ".j2"):
                # Neither a module's name nor a file's.
                words = re.findall(r"(?<![./])\bkatran_[a-z][a-z0-9_]*", path.read_text(encoding="utf-8"))
                read.update(words)
    rollout = (ROOT / "plugins" / "plugin_utils" / "rollout.py").read_text(encoding="utf-8")
    read.update(re.findall(r"\bkatran_[a-z][a-z0-9_]*[a-z]", rollout))
    teams = {name for name in read if name.endswith("__")}
    assert read - teams - {f"katran_{name}" for name in FROM_VARIABLES} <= VARIABLES
    # What only plugins in Python read is named there: the resources by their names, the reals' own by filter reals.
    assert VARIABLES - read <= {f"katran_{name}" for name in FROM_VARIABLES}


@pytest.mark.parametrize(
    ("name", "resource"),
    [
        ("katran_vips", "vips"),
        ("katran_vips__web", "vips"),
        ("katran_vips__Web_2", "vips"),
        ("katran_server_ids__a", "server_ids"),
        ("katran_vips_", None),
        ("katran_vips__", None),
        ("katran_vips__a-b", None),
        ("my_katran_vips", None),
        ("vips", None),
        ("katran_interfaces", None),
        ("katran_reals", None),
    ],
)
def test_the_resource_of_a_variable(name: str, resource: str | None) -> None:
    assert resource_of(name) == resource


def test_variables_join_in_order_of_their_names() -> None:
    names = ["katran_vips__b", "katran_decap_destinations", "katran_vips", "katran_vips__a", "other"]
    assert resource_variables(names) == {
        "vips": ["katran_vips", "katran_vips__a", "katran_vips__b"],
        "source_routes": [],
        "server_ids": [],
        "decap_destinations": ["katran_decap_destinations"],
    }
    joined = Resources.joined({"katran_vips__b": [3], "katran_vips": [1, 2], "katran_server_ids": None, "x": [9]})
    assert joined.entries == {"vips": [1, 2, 3], "server_ids": []}
    assert joined.untouched == ["source_routes", "decap_destinations"]
    assert joined.emptied() == ["katran_server_ids"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("katran_encapsulaton", "katran_encapsulaton: there is no such variable; did you mean katran_encapsulation?"),
        ("katran_real_weigth", "katran_real_weigth: there is no such variable; did you mean katran_real_weight?"),
        ("katran_vip", "katran_vip: there is no such variable; did you mean katran_vips?"),
        ("katran_vip__web", "katran_vip__web: there is no such variable; did you mean katran_vips__web?"),
        ("katran_vips_web", "katran_vips_web: there is no such variable; did you mean katran_vips?"),
        ("katran_interface__web", "katran_interface__web: there is no such variable; did you mean katran_interfaces?"),
        ("katran_zzz", "katran_zzz: there is no such variable"),
        ("katran_", "katran_: there is no such variable"),
    ],
)
def test_variables_that_are_none(name: str, sentence: str) -> None:
    assert unknown_variables(["katran_vips", name, "kaboom", "ansible_host"]) == [sentence]


def test_every_variable_is_known() -> None:
    assert unknown_variables([*VARIABLES, "katran_vips__web", "katran_source_routes__x"]) == []


PATTERNS = dict(GROUPS)


@pytest.mark.parametrize(
    ("groups", "balancers", "reals", "sentences"),
    [
        (["balancers", "reals", "all"], ["lb1"], ["r1"], []),
        (["balancers", "all"], ["lb1"], [], []),
        (["reals", "all"], [], ["r1"], []),
        (
            ["balancer", "reals"],
            [],
            ["r1"],
            ["no host is in balancers (katran_balancers_group); did you mean the group balancer?"],
        ),
        (
            ["balancers", "real"],
            ["lb1"],
            [],
            ["no host is in reals (katran_reals_group); did you mean the group real?"],
        ),
        (
            ["all", "ungrouped", "web"],
            [],
            [],
            ["no host is in balancers (katran_balancers_group) nor reals (katran_reals_group)"],
        ),
        # A group that is there and empty is no slip of the pen.
        (["balancers", "reals", "web"], [], ["r1"], []),
    ],
)
def test_groups(groups: list[str], balancers: list[str], reals: list[str], sentences: list[str]) -> None:
    members = {"katran_balancers_group": balancers, "katran_reals_group": reals}
    assert missing_groups(groups, PATTERNS, members) == sentences


def test_what_is_no_list() -> None:
    variables: dict[str, Any] = {"katran_vips": {}, "katran_vips__a": [], "katran_server_ids": "x", "katran_b": None}
    assert list_faults(variables) == ["katran_vips, katran_server_ids must be a list"]
    assert list_faults({"katran_vips": ()}) == []


def test_features() -> None:
    resources = Resources.joined({"katran_vips": [{**VIP, "flags": "global_lru"}, "x"], "katran_source_routes": [{}]})
    assert resources.features() == ["global_lru", "source_routing"]
    assert resources.features(["vlan", "global_lru"]) == ["global_lru", "source_routing", "vlan"]
    assert feature_faults("vlan,nope") == [
        f"katran_extra_features: nope is none of {feature_faults('nope')[0].partition('is none of ')[2]}"
    ]
    assert feature_faults(["vlan"]) == feature_faults(None) == []


def reals(*entries: Any) -> Resources:
    return Resources.joined({"katran_vips": [{**VIP, "reals": list(entries)}]})


@pytest.mark.parametrize(
    ("resources", "least", "starved"),
    [
        (reals(), 1, True),
        (reals(), 0, False),
        (reals({"address": "10.0.0.1"}), 1, False),
        (reals({"address": "10.0.0.1", "weight": 0}), 1, True),
        (reals({"address": "10.0.0.1", "weight": "0"}), 1, True),
        (reals({"address": "10.0.0.1", "state": "draining"}, {"address": "10.0.0.2"}), "2", True),
        (reals("10.0.0.1"), 1, False),
        (Resources.joined({"katran_vips": [{**VIP, "reals": "10.0.0.1"}]}), 1, True),
        (Resources.joined({"katran_vips": [VIP, None]}), 1, True),
    ],
)
def test_vips_without_enough_active_reals(resources: Resources, least: Any, starved: bool) -> None:
    sentence = f"katran_min_active is {least}, but too few reals are active behind 198.51.100.1 80 tcp"
    assert resources_faults(resources, False, least) == ([sentence] if starved else [])


def test_what_would_be_emptied() -> None:
    empty = Resources.joined({"katran_vips": [], "katran_server_ids": None, "katran_source_routes": [{}]})
    assert resources_faults(empty, False, 1) == [
        (
            "katran_vips, katran_server_ids: the list is empty and would remove every entry; set katran_allow_empty if"
            " that is meant, and remove the variable to leave the entries alone"
        )
    ]
    assert resources_faults(empty, True, 1) == []
    assert resources_faults(empty, True, "abc") == ["katran_min_active: abc is not a whole number"]
    assert resources_faults(empty, True, 0.0) == resources_faults(empty, True, "0") == []
    for loose in ("1_0", "\u0661", 1.5, True, float("nan")):
        assert resources_faults(empty, True, loose)[0].startswith(f"katran_min_active: {loose} is not a whole number")


def test_vips_that_lead_to_a_real() -> None:
    vips = [
        {**VIP, "address": "198.51.100.1", "reals": [{"address": "FC00::1"}, "x", None]},
        {**VIP, "address": "198.51.100.2", "down_reals": "10.0.0.1,10.0.0.2"},
        {**VIP, "address": "198.51.100.3", "protocol": "udp", "flags": ["source_routing"]},
        {**VIP, "address": "198.51.100.4", "protocol": "udp", "flags": "quic"},
        {**VIP, "address": "198.51.100.0/24", "reals": [{"address": "10.0.0.1"}]},
        None,
    ]
    routes = [{"prefix": "192.0.2.0/24", "real": "10.0.0.3"}, "x"]
    served = Served.of(
        Resources({"vips": vips, "source_routes": routes, "server_ids": [{"id": 1, "real": "fc00:0::9"}]})
    )
    assert served.to(["fc00::0:1"]) == {"198.51.100.1"}
    assert served.to(["10.0.0.2"]) == {"198.51.100.2"}
    assert served.to(["10.0.0.3"]) == {"198.51.100.3"}
    # TCP may route by id as well.
    assert served.to(["fc00::9"]) == {"198.51.100.1", "198.51.100.2", "198.51.100.4"}
    assert served.to(["10.0.0.9"]) == set()
    assert served.to([]) == {f"198.51.100.{number}" for number in range(1, 5)}


def test_readiness_of_reals() -> None:
    run = Prepared({"r1": ["10.0.0.1"], "r2": ["10.0.0.2", "fc00::2"], "r3": ["10.0.0.3"]}, {"r1", "r2"}, {"r1"})
    assert run.unready == ["10.0.0.2", "fc00::2"]
    assert run.unseen == ["10.0.0.3"]


EVERYTHING = {"vips", "source_routes", "server_ids"}
NOTHING: dict[str, list[str]] = {"source_routes": [], "server_ids": []}


@pytest.mark.parametrize(
    ("told", "done", "references", "sends"),
    [
        (EVERYTHING, True, NOTHING, False),
        (EVERYTHING, False, NOTHING, True),
        (EVERYTHING, True, None, True),
        (EVERYTHING - {"vips"}, True, NOTHING, True),
        ({"vips"}, True, NOTHING, False),
        ({"vips"}, True, {"source_routes": ["10.0.0.1"], "server_ids": []}, True),
        ({"vips", "source_routes"}, True, {"source_routes": ["10.0.0.1"], "server_ids": []}, False),
        ({"vips", "source_routes"}, True, {"source_routes": [], "server_ids": ["10.0.0.1"]}, True),
    ],
)
def test_who_may_still_send(told: set[str], done: bool, references: Any, sends: bool) -> None:
    known = {} if references is None else {"lb1": references}
    assert may_still_send({"lb1": told}, ["lb1"] if done else [], known) == (["lb1"] if sends else [])


def test_a_prefix_of_the_whole_length_is_an_address_to_serve() -> None:
    reals = [{"address": "10.0.0.1"}]
    places = ("198.51.100.1/32", "2001:db8::1/128", "198.51.100.0/24", "2001:db8::/32", "198.51.100.2")
    served = Served.of(Resources.joined({"katran_vips": [{"address": place, "reals": reals} for place in places]}))
    assert served.to(["10.0.0.1"]) == {"198.51.100.1", "2001:db8::1", "198.51.100.2"}
