# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What preflight finds of sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import Resources
from ansible_collections.katran.fleet.plugins.plugin_utils.fleet_sites import (
    real_faults,
    real_warnings,
    site_warnings,
)

VIP = {"address": "198.51.100.1", "port": 443, "protocol": "tcp", "reals": [{"address": "10.0.0.1"}]}
OTHER = {**VIP, "reals": [{"address": "10.0.0.1", "weight": 2}]}
BREAKS = ": a connection that comes to the other balancer goes to another real and breaks"


def warned(**hosts: tuple[Any, dict[str, Any]]) -> dict[str, list[str]]:
    """The warnings of balancers, each with its VIP and its variables."""
    resources = {host: Resources.joined({"katran_vips": [vip]}) for host, (vip, _variables) in hosts.items()}
    return site_warnings(resources, lambda host, name: hosts[host][1].get(name))


def peers(*addresses: str, **more: Any) -> dict[str, Any]:
    return {"katran_bgp": {"neighbors": [{"address": address} for address in addresses]}, **more}


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ({}, {}, "to which the same router may send"),
        ({"katran_zone": "ams"}, {"katran_zone": "ams"}, "which is in the same zone"),
        ({"katran_zone": "ams"}, {"katran_zone": "fra"}, None),
        ({"katran_zone": "ams"}, {}, None),
        (peers("192.0.2.1"), peers("192.0.2.1"), "which announces to 192.0.2.1 too"),
        (
            peers("192.0.2.1", katran_zone="ams"),
            peers("192.0.2.1", katran_zone="fra"),
            "which announces to 192.0.2.1 too",
        ),
        (peers("192.0.2.1"), peers("192.0.2.2"), None),
        (peers("192.0.2.1"), {}, "to which the same router may send"),
        ({"katran_bgp": 3}, {"katran_bgp": {"neighbors": [3]}}, "to which the same router may send"),
    ],
)
def test_rings_that_differ(first: dict[str, Any], second: dict[str, Any], why: str | None) -> None:
    told = "katran_vips: the reals of 198.51.100.1 443 tcp are not those that they have on {}, {}{}"
    found = warned(lb1=(VIP, first), lb2=(OTHER, second))
    expected = {"lb1": [told.format("lb2", why, BREAKS)], "lb2": [told.format("lb1", why, BREAKS)]} if why else {}
    assert found == expected


@pytest.mark.parametrize(
    "other",
    [
        # Said otherwise, the ring is the same.
        {**VIP, "reals": [{"address": "10.0.0.1", "weight": 1, "state": "active"}]},
        {**VIP, "check": {"type": "tcp"}},
        # Another VIP.
        {**OTHER, "port": 444},
        # What is wrong is told elsewhere.
        {**VIP, "reals": "x"},
        "x",
    ],
)
def test_rings_that_do_not_differ(other: Any) -> None:
    assert warned(lb1=(VIP, {}), lb2=(other, {})) == {}


def test_reals(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("web1,3\nwbe2,4\n")
    hosts: dict[str, dict[str, Any]] = {
        "web1": {"katran_weights_file": "w.csv", "inventory_dir": str(tmp_path)},
        "web2": {"katran_weights_file": "w.csv", "inventory_dir": str(tmp_path), "katran_real_weight": 7},
        "web3": {"katran_weights_file": "none.yml", "inventory_dir": str(tmp_path)},
        "web4": {"katran_real_zones": {"fra": {"weigth": 3}}},
        "web5": {},
    }
    unknown = "katran_weights_file w.csv: wbe2: there is no such real; did you mean web2?"
    assert real_faults(hosts, lambda host, name: hosts[host].get(name)) == {
        "web1": [unknown],
        "web2": [unknown],
        "web3": [f"katran_weights_file: {tmp_path}/none.yml cannot be read: No such file or directory"],
        "web4": ["katran_real_zones.fra.weigth: there is no such option; there are weight, state"],
    }
    assert real_warnings(hosts, lambda host, name: hosts[host].get(name)) == {
        "web2": ["katran_weights_file w.csv does not name this real: katran_real_weight, 7, counts"]
    }
