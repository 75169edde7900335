# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories as they are saved, and what is told of the way from one to another."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader

from ansible_collections.katran.fleet.plugins.module_utils._model.fleet_plan import FleetPlan
from ansible_collections.katran.fleet.plugins.plugin_utils.fleet_difference import Difference
from ansible_collections.katran.fleet.plugins.plugin_utils.inventories import NOTHING, opened, read_sealed
from ansible_collections.katran.fleet.plugins.plugin_utils.sealed import SEALED

SEALED_VALUE = {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n61626364\n"}
OTHER_VALUE = {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n61626365\n"}
Change = Callable[[dict[str, Any]], None]


def vip(last: int, **more: Any) -> dict[str, Any]:
    reals = [{"address": f"10.0.0.{number}"} for number in (1, 2, 3)]
    return {"address": f"198.51.100.{last}", "port": 443, "protocol": "tcp", "reals": reals, **more}


def saved() -> dict[str, Any]:
    """What ansible-inventory --list --export prints of a small fleet."""
    return {
        "_meta": {
            "hostvars": {f"r{number}": {"katran_real_address": f"10.0.0.{number}"} for number in (1, 2, 3)},
            "profile": "inventory_legacy",
        },
        "all": {"children": ["balancers", "reals", "ungrouped"], "vars": {"katran_interfaces": ["eth0"]}},
        "balancers": {"hosts": ["lb1", "lb2"], "vars": {"katran_vips": [vip(1), vip(2)]}},
        "reals": {"hosts": ["r1", "r2", "r3"]},
    }


@pytest.fixture
def planned(tmp_path: Path) -> Callable[..., FleetPlan]:
    def compare(change: Change, first: Change = lambda _found: None, **options: Any) -> FleetPlan:
        old = saved()
        first(old)
        new = copy.deepcopy(old)
        change(new)
        wholes, seals = [], []
        for name, found in (("old.json", old), ("new.json", new)):
            (tmp_path / name).write_text(json.dumps(found))
            with opened(str(tmp_path / name), [], DataLoader()) as loaded:
                wholes.append(read_sealed(loaded))
                seals.append(loaded.seals)
        plan = Difference(wholes[0], wholes[1], ("old", "new"), **options).compare()
        plan.notes = list(map(seals[1].hide, plan.lines()))
        return plan

    return compare


def balancers(found: dict[str, Any]) -> dict[str, Any]:
    variables = found["balancers"]["vars"]
    assert isinstance(variables, dict)
    return variables


def test_the_same_is_nothing(planned: Callable[..., FleetPlan]) -> None:
    plan = planned(lambda _found: None)
    assert (plan.status, plan.lines()) == (
        0,
        ["plan: old → new", *(f"  {line}" for line in plan.notes), "nothing changes"],
    )


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        # What reals serve follows from the balancers' VIPs.
        (
            lambda found: balancers(found)["katran_vips"].append(vip(3)),
            [
                "  vip 198.51.100.3:443/tcp: added with 3 reals",
                "all 3 reals: r1–r3",
                "  vips: + 198.51.100.3",
            ],
        ),
        (
            lambda found: balancers(found)["katran_vips"].pop(),
            ["  vip 198.51.100.2:443/tcp: removed", "  vips: − 198.51.100.2"],
        ),
        (
            lambda found: (found["reals"]["hosts"].remove("r3"), found["_meta"]["hostvars"].pop("r3")),
            ["1 real removed: r3", "  nothing on them is changed"],
        ),
        (
            lambda found: balancers(found)["katran_vips"][0]["reals"].pop(),
            ["real 10.0.0.3 removed; 33.", "− 198.51.100.1"],
        ),
        (
            lambda found: balancers(found)["katran_vips"][1]["reals"][0].update(state="draining"),
            ["vip 198.51.100.2:443/tcp: state of 10.0.0.1 active → draining; 33."],
        ),
        (
            lambda found: balancers(found).update(
                katran_source_routes=[{"prefix": "192.0.2.0/24", "real": "10.0.0.1"}]
            ),
            [
                "  source route 192.0.2.0/24: added (10.0.0.1)",
                "  features: + source_routing (the program is compiled anew",
            ],
        ),
        (
            lambda found: balancers(found).update(katran_sizes={"ring": 131071}),
            ["  sizes.ring: 65537 → 131071 (seeds the flow hash", "unless katran_accept_rehash is true"],
        ),
        (
            lambda found: found["_meta"]["hostvars"].update(lb2={"katran_udp_timeout": 60}),
            ["1 balancer: lb2", "  udp_timeout: 30 → 60 (the program is compiled anew"],
        ),
        (
            lambda found: found["_meta"]["hostvars"].update(lb2={"katran_udp_timeout": 0, "katran_vipz": []}),
            [
                "  lb2: katran_vipz: there is no such variable; did you mean katran_vips?",
                "  lb2: udp_timeout: 0 is not in",
            ],
        ),
    ],
)
def test_changes(planned: Callable[..., FleetPlan], change: Change, lines: list[str]) -> None:
    found = "\n".join(planned(change).notes)
    for line in lines:
        assert line in found, found


def test_hosts_that_change_alike_are_one_and_the_others_are_not(planned: Callable[..., FleetPlan]) -> None:
    plan = planned(lambda found: balancers(found).update(katran_copy_tos=False))
    assert [each.hosts for each in plan.deltas] == [["lb1", "lb2"]]
    plan = planned(lambda found: balancers(found).update(katran_copy_tos=False), only={"lb2", "r1"})
    assert ([each.hosts for each in plan.deltas], plan.hosts) == ([["lb2"]], {"balancer": 1, "real": 1})


def test_a_variable_that_goes_leaves_what_it_was_about(planned: Callable[..., FleetPlan]) -> None:
    routes = [{"prefix": "192.0.2.0/24", "real": "10.0.0.1"}]
    plan = planned(
        lambda found: balancers(found).pop("katran_source_routes"),
        lambda found: balancers(found).update(katran_source_routes=routes, katran_extra_features=["source_routing"]),
    )
    assert "  source_routes: no variable is about them any more, they stay as they are" in plan.notes


def test_an_old_one_that_is_wrong_cannot_be_compared_with(planned: Callable[..., FleetPlan]) -> None:
    plan = planned(
        lambda found: balancers(found).update(katran_udp_timeout=60),
        lambda found: balancers(found).update(katran_udp_timeout=0),
    )
    assert plan.status == 1
    assert plan.old_faults == [{"fault": "udp_timeout: 0 is not in 1 to 86400", "hosts": ["lb1", "lb2"]}]
    assert plan.faults == []


def test_what_is_encrypted_is_no_obstacle_unless_it_is_needed(planned: Callable[..., FleetPlan]) -> None:
    def first(found: dict[str, Any]) -> None:
        balancers(found).update(secret=SEALED_VALUE, katran_sync_key="{{ secret }}")

    assert planned(lambda _found: None, first).status == 0
    plan = planned(lambda found: balancers(found).update(secret=OTHER_VALUE), first)
    assert (plan.status, plan.deltas[0].settings) == (2, ["sync_key: changed (the agent's flow exchange starts anew)"])
    plan = planned(lambda found: found["_meta"]["hostvars"]["r1"].update(katran_real_mtu=SEALED_VALUE), first)
    assert plan.status == 1
    assert any("mtu" in line and SEALED in line for line in plan.notes), plan.notes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"_meta": {"hostvars": {}}, "all": {"hosts": 3}}', "is not what ansible-inventory --list --export prints"),
        ('{"_meta": {"hostvars": {"a": []}}, "all": {}}', "is not what ansible-inventory --list --export prints"),
        ("[unclosed", "cannot be read as an inventory"),
    ],
)
def test_what_is_no_inventory(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(AnsibleError, match=sentence), opened(str(tmp_path / "x.json"), [], DataLoader()) as _loaded:
        pass


@pytest.mark.parametrize("mismatch", ["ignore", "warning", "error"])
def test_no_inventory_at_all_is_one_without_hosts(monkeypatch: pytest.MonkeyPatch, mismatch: str) -> None:
    monkeypatch.setattr(constants, "HOST_PATTERN_MISMATCH", mismatch)
    with opened(NOTHING, [], DataLoader()) as loaded:
        assert loaded.inventory.members() == {"katran_balancers_group": [], "katran_reals_group": []}
