# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.katran.fleet.plugins.lookup.served_vips import served

VARIABLES: dict[str, Any] = {
    "katran_vips": [
        {"address": "198.51.100.1", "port": 80, "protocol": "tcp", "reals": [{"address": "10.0.0.1"}]},
        {"address": "198.51.100.2", "port": 53, "protocol": "udp", "reals": [{"address": "10.0.0.2"}]},
        {"address": "198.51.100.0/28", "port": 80, "protocol": "tcp", "reals": [{"address": "10.0.0.1"}]},
        {"address": "198.51.100.4", "port": 443, "protocol": "udp", "flags": ["quic"]},
        {"address": "198.51.100.5", "port": 5, "protocol": "udp", "flags": ["source_routing"]},
        {"address": "198.51.100.6", "port": 6, "protocol": "udp", "down_reals": ["10.0.0.1"]},
    ],
    "katran_vips__dns": [{"address": "2001:db8::1", "port": 53, "protocol": "udp", "reals": [{"address": "FC00::2"}]}],
    "katran_source_routes__x": [{"prefix": "192.0.2.0/24", "real": "10.0.0.3"}],
    "katran_server_ids": [{"id": 1, "real": "10.0.0.4"}],
}


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["10.0.0.1"], ["198.51.100.1", "198.51.100.6"]),
        (["10.0.0.2", "fc00::2"], ["198.51.100.2", "2001:db8::1"]),
        (["10.0.0.3"], ["198.51.100.5"]),
        (["10.0.0.4"], ["198.51.100.1", "198.51.100.4"]),
        (["10.0.0.9"], []),
    ],
)
def test_vips_whose_packets_may_reach_a_real(addresses: list[str], expected: list[str]) -> None:
    assert sorted(served(VARIABLES, frozenset(addresses))) == expected


def test_one_word_is_a_list_of_one() -> None:
    vips = [
        {"address": "198.51.100.4", "port": 443, "protocol": "udp", "flags": "no_lru,quic"},
        {"address": "198.51.100.5", "port": 5, "protocol": "udp", "flags": "source_routing"},
        {"address": "198.51.100.6", "port": 6, "protocol": "udp", "down_reals": "10.0.0.9,10.0.0.4"},
    ]
    variables = {**VARIABLES, "katran_vips": vips}
    assert sorted(served(variables, frozenset({"10.0.0.4"}))) == ["198.51.100.4", "198.51.100.6"]
    assert sorted(served(variables, frozenset({"10.0.0.3"}))) == ["198.51.100.5"]


def test_every_vip_where_the_real_has_no_address() -> None:
    assert len(served(VARIABLES, frozenset())) == 6


def test_what_is_no_list() -> None:
    with pytest.raises(AnsibleFilterError, match=r"^katran.fleet.served_vips: katran_vips is not a list$"):
        served({"katran_vips": {"address": "198.51.100.1"}}, frozenset())


def test_each_address_of_a_vip_leads_to_reals_of_its_family() -> None:
    reals = [{"address": "10.0.0.1"}, {"address": "fc00::1"}]
    vip = {"addresses": ["198.51.100.1", "2001:db8::1"], "port": 80, "protocol": "tcp", "reals": reals}
    assert served({"katran_vips": [vip]}, ["10.0.0.1"]) == {"198.51.100.1"}
    assert served({"katran_vips": [vip]}, ["10.0.0.1", "fc00::1"]) == {"198.51.100.1", "2001:db8::1"}
