# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs that an inventory says once for several addresses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.dual_stack import as_written, expanded
from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import Resources, Served
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import UNLIMITED
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import config_faults

REALS = [{"address": "10.0.0.1", "weight": 2}, {"address": "fc00::1"}, {"address": "10.0.0.2"}]
BOTH = {"addresses": ["198.51.100.1", "2001:db8::1"], "port": 443, "protocol": "tcp", "reals": REALS}
PLAIN = {"address": "198.51.100.9", "port": 80, "protocol": "tcp", "reals": [{"address": "10.0.0.1"}]}


def test_each_address_has_what_is_of_its_family() -> None:
    vip = {
        **BOTH,
        "down_reals": ["10.0.0.9", "fc00::9"],
        "allow": ["192.0.2.0/24", "2001:db8:1::/64"],
        "check": {"type": "tcp", "address": "2001:db8::1"},
        "quic_lb": [{"config": 0, "servers": [{"id": "1", "real": "10.0.0.1"}, {"id": "2", "real": "fc00::1"}]}],
    }
    found, origins = expanded([vip, PLAIN])
    same = {"port": 443, "protocol": "tcp"}
    assert found == [
        {
            **same,
            "address": "198.51.100.1",
            "reals": [REALS[0], REALS[2]],
            "down_reals": ["10.0.0.9"],
            "allow": ["192.0.2.0/24"],
            "check": {"type": "tcp"},
            "quic_lb": [{"config": 0, "servers": [{"id": "1", "real": "10.0.0.1"}]}],
        },
        PLAIN,
        {
            **same,
            "address": "2001:db8::1",
            "reals": [REALS[1]],
            "down_reals": ["fc00::9"],
            "allow": ["2001:db8:1::/64"],
            "check": {"type": "tcp", "address": "2001:db8::1"},
            "quic_lb": [{"config": 0, "servers": [{"id": "2", "real": "fc00::1"}]}],
        },
    ]
    assert [(number, *origin) for number, origin in origins.items()] == [
        (0, 0, "198.51.100.1", (0, 2)),
        (2, 0, "2001:db8::1", (1,)),
    ]


def test_a_vip_of_ipv4_without_reals_of_its_own() -> None:
    found, _origins = expanded([{**BOTH, "reals": [{"address": "fc00::1"}]}])
    assert [each["reals"] for each in found] == [[{"address": "fc00::1"}]] * 2


@pytest.mark.parametrize(
    ("more", "faults"),
    [
        ({}, []),
        ({"addresses": "198.51.100.1"}, []),
        ({"address": "198.51.100.2"}, []),
        ({"addresses": []}, ["vips[0].address: is missing"]),
        ({"addresses": {"a": 1}}, ["vips[0].address: {'a': 1} is not a text"]),
        (
            {"addresses": ["fc00::2", "fc00::2"]},
            ["vips[0] (fc00::2): [fc00::2]:443/tcp is listed twice (also vips[0])"],
        ),
        ({"addresses": ["198.51.100.1", "x::y"]}, ["vips[0] (x::y).address: x::y is not an IP address"]),
        ({"port": 0.5}, ["vips[0].port: 0.5 is not a whole number"]),
        (
            {"reals": [REALS[1], {"address": "10.0.0"}]},
            ["vips[0] (198.51.100.1).reals[1].address: 10.0.0 is not an IP address"],
        ),
        ({"reals": [*REALS, {}]}, ["vips[0] (198.51.100.1).reals[3].address: is missing"]),
        (
            {"reals": [{"address": "fc00::1"}, {"address": "fc00::1"}], "addresses": ["2001:db8::1"]},
            ["vips[0].reals[1].address: fc00::1 is listed twice"],
        ),
        ({"check": {"type": "http", "path": "x"}}, ['vips[0].check.path: "x" does not begin with /']),
    ],
)
def test_faults_are_told_of_the_entry_in_the_inventory(more: dict[str, Any], faults: list[str]) -> None:
    resources = Resources.joined({"katran_vips": [{**BOTH, **more}, PLAIN]})
    told = resources.told(config_faults(resources.entries, UNLIMITED))
    assert told == faults


def test_what_follows_from_the_inventory_knows_each_address() -> None:
    resources = Resources.joined({"katran_vips__web": [{**BOTH, "addresses": ["198.51.100.0/24", "2001:db8::1"]}]})
    assert resources.features() == ["cidr_vips"]
    assert resources.families == ["ipv4", "ipv6"]
    assert Served.of(resources).to(["fc00::1"]) == {"2001:db8::1"}
    assert resources.starved(2) == ["2001:db8::1 443 tcp"]
    flagged = resources.with_flag("global_lru")
    assert flagged.origins is resources.origins
    assert [vip["flags"] for vip in flagged.entries["vips"]] == [["global_lru"]] * 2


ADDRESSES = st.sampled_from(["198.51.100.1", "198.51.100.2", "2001:db8::1", "2001:db8::2"])
ENTRIES = st.one_of(
    st.integers(),
    st.none(),
    st.fixed_dictionaries(
        {"port": st.integers(0, 3)},
        optional={
            "address": ADDRESSES,
            "addresses": st.one_of(st.none(), st.integers(), ADDRESSES, st.lists(ADDRESSES, max_size=3)),
            "reals": st.one_of(st.none(), st.lists(st.sampled_from([*REALS, {}, 7]))),
            "check": st.sampled_from([None, 3, {"type": "tcp", "address": "198.51.100.1"}]),
            "quic_lb": st.sampled_from([None, [3], [{"servers": [1, {"real": "fc00::1"}]}]]),
        },
    ),
)


@given(st.lists(ENTRIES, max_size=5))
def test_expanding(entries: list[Any]) -> None:
    found, origins = expanded(entries)
    assert not any(isinstance(each, dict) and each.get("addresses") is not None for each in found)
    # What has one address is where it was, and nothing is expanded twice.
    assert all(found[index] is entry for index, entry in enumerate(entries) if index not in origins)
    assert expanded(found) == (found, {})
    for index, origin in origins.items():
        source = entries[origin.entry]
        assert [source["reals"][number] for number in origin.reals] == (found[index].get("reals") or [])
    for index in range(len(found)):
        assert f"vips[{origins[index].entry if index in origins else index}]" in as_written(
            f"vips[{index}]: x", origins
        )
