# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a diff shows is YAML, also on hosts without PyYAML."""

from __future__ import annotations

import typing as t

import pytest
import yaml

from ansible_collections.katran.fleet.plugins.module_utils._ansible.module import _yaml

VIP = {
    "address": "198.51.100.1",
    "port": 443,
    "protocol": "tcp",
    "flags": [],
    "reals": [{"address": "fc00::1", "weight": 10, "local": False}, {"address": "10.0.0.1", "state": "draining"}],
    "down_reals": ["10.0.0.9", "::1"],
    "sizes": {"vips": 16},
}


@pytest.mark.parametrize(
    "value",
    [
        [VIP, {**VIP, "address": "fc00::/64"}],
        VIP,
        {"interfaces": ["eth0", "eth0.12"], "mac": "02:00:00:00:00:01", "word": "yes", "none": None, "text": "a: b #c"},
        [[1, 2], [], {}, "12", "1.5", "1e3", "0x1f", "12:30:45", "2026-11-23", "~", "-", "a:", "", "ä", "192.0.2.0/24"],
        {"deep": [{"list": [{"x": 1}]}]},
    ],
)
def test_a_diff_is_yaml_that_says_the_same(value: t.Any) -> None:
    assert yaml.safe_load(_yaml(value)) == value


def test_nothing_is_empty() -> None:
    assert _yaml([]) == ""
    assert _yaml({}) == ""


def test_a_vip_reads_well() -> None:
    assert _yaml([VIP]).splitlines()[:8] == [
        "- address: 198.51.100.1",
        "  port: 443",
        "  protocol: tcp",
        "  flags: []",
        "  reals:",
        "    - address: fc00::1",
        "      weight: 10",
        "      local: false",
    ]
