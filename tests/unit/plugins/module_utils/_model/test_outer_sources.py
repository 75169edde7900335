# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outer sources of a fleet's balancers, and what balancers answer that are asked for theirs."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.outer_sources import Answers, OuterSources

DEFAULT = {"172.16.0.0/16", "100::/64"}


@pytest.mark.parametrize(
    ("settings", "both", "sources", "asks"),
    [
        ({}, False, DEFAULT, False),
        ({"encapsulation": "ipip", "source_ipv4": "192.0.2.1"}, False, DEFAULT, False),
        ({"source_prefix_ipv4": "10.1.0.0/16"}, False, {"10.1.0.0/16", "100::/64"}, False),
        # What is wrong with it is told of the balancer.
        ({"source_prefix_ipv4": "nonsense"}, False, {"100::/64"}, False),
        ({"encapsulation": "gue"}, False, set(), True),
        ({"encapsulation": "gue", "source_ipv4": "auto", "source_ipv6": "FC00::1"}, False, {"fc00::1/128"}, True),
        (
            {"encapsulation": "gue", "source_ipv4": "192.0.2.1", "source_ipv6": "fc00::1"},
            False,
            {"192.0.2.1/32", "fc00::1/128"},
            False,
        ),
        ({"encapsulation": "gue", "source_ipv4": "192.0.2.1"}, True, {*DEFAULT, "192.0.2.1/32"}, True),
        ({"source_ipv4": "192.0.2.1"}, True, {*DEFAULT, "192.0.2.1/32"}, False),
        ({"healthcheck_sources": "192.0.2.1,fc00::/64"}, False, {*DEFAULT, "192.0.2.1/32", "fc00::/64"}, False),
    ],
)
def test_what_the_inventory_tells(settings: dict[str, Any], both: bool, sources: set[str], asks: bool) -> None:
    found = OuterSources()
    found.add("lb1", settings, both)
    assert (found.sources, found.ask) == (sources, ["lb1"] if asks else [])


def test_what_balancers_answer() -> None:
    told = {"sources": ["100::/64"], "ask": ["lb1", "lb2", "lb3"]}
    facts = {
        "lb1": {
            "all_ipv4_addresses": ["192.0.2.1", "nonsense", "0.0.0.0"],
            "all_ipv6_addresses": ["FC00::1", "fe80::1", "febf::1", "fe80::2%eth0", "fec0::1"],
        },
        "lb2": {},
        "lb3": {"all_ipv4_addresses": [], "all_ipv6_addresses": ["fe80::1"]},
        "lb9": {"all_ipv4_addresses": ["192.0.2.9"]},
    }
    found = Answers.of(told, facts)
    assert found.sources == ["100::/64", "192.0.2.1/32", "fc00::1/128", "fec0::1/128"]
    assert found.unknown == ["lb2", "lb3"]
