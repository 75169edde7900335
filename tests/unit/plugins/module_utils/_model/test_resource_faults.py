# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of every resource at once, as a preflight tells them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._ansible.specs import RESOURCE_CONFIG
from ansible_collections.katran.fleet.plugins.module_utils._model.resource_faults import config_faults
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import ALL, vip

FORMS = {name: RESOURCE_CONFIG[name] for name in ("vips", "source_routes", "server_ids", "decap_destinations")}


@pytest.mark.parametrize(
    ("resources", "sentences"),
    [
        ({}, []),
        ({"vips": None, "source_routes": []}, []),
        # As Ansible reads them: numbers and truths as texts, one word as a list.
        (
            {
                "vips": [
                    vip(port="443", flags="quic", protocol="udp", reals=[{"address": "10.0.0.1", "weight": "5"}]),
                    vip(port=80, reals=[{"address": "10.0.0.1", "local": "no"}], down_reals="10.0.0.7,10.0.0.8"),
                ],
                "server_ids": [{"id": "7", "real": "10.0.0.1"}],
                "decap_destinations": [{"address": "192.0.2.1", "egress": "yes"}],
            },
            [],
        ),
        (
            {
                "vips": [vip(port=70000), vip("x")],
                "source_routes": [{"prefix": "192.0.2.1/24", "real": "10.0.0.1"}],
                "server_ids": [{"id": "x", "real": "10.0.0.1"}, "10.0.0.1"],
                "decap_destinations": [{"address": "224.0.0.1"}],
            },
            [
                "vips[0].port: 70000 is not a port (0 to 65535); vips[1].address: x is not an IP address",
                "source_routes[0].prefix: 192.0.2.1/24 has host bits set; the network is 192.0.2.0/24",
                "server_ids[0].id: x is not a whole number; server_ids[1]: 10.0.0.1 is not a mapping",
                "decap_destinations[0].address: 224.0.0.1 is not a unicast address",
            ],
        ),
    ],
)
def test_faults_of_everything(resources: dict[str, Any], sentences: list[str]) -> None:
    assert config_faults(resources, FORMS, ALL) == sentences
