# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The balancer's settings: what is accepted, and one sentence for each fault."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FEATURES
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import (
    RootArray,
    parse_settings,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import SETTINGS


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"interfaces": []}, "interfaces: state attached needs at least one interface"),
        ({"interfaces": ["eth0", "eth0"]}, "interfaces[1]: eth0 is listed twice"),
        ({"interfaces": ["eth0/1"]}, "interfaces[0]: 'eth0/1' is not the name of an interface"),
        ({"interfaces": ["a" * 16]}, f"interfaces[0]: '{'a' * 16}' is not the name of an interface"),
        ({"interfaces": [""]}, "interfaces[0]: '' is not the name of an interface"),
        ({"mode": "offload"}, "mode: offload is none of native, generic, auto"),
        ({"encapsulation": "vxlan"}, "encapsulation: vxlan is none of ipip, gue"),
        ({"gue_port": 0}, "gue_port: 0 is not in 1 to 65535"),
        ({"gue_port": 65536}, "gue_port: 65536 is not in 1 to 65535"),
        ({"features": ["warp"]}, f"features: warp is none of {', '.join(FEATURES)}"),
        ({"source_ipv4": "10.0.0"}, "source_ipv4: 10.0.0 is neither auto nor an IPv4 address"),
        ({"source_ipv4": "fc00::1"}, "source_ipv4: fc00::1 is neither auto nor an IPv4 address"),
        ({"source_ipv6": "10.0.0.1"}, "source_ipv6: 10.0.0.1 is neither auto nor an IPv6 address"),
        ({"source_ipv4": "127.0.0.1"}, "source_ipv4: 127.0.0.1 is a loopback address"),
        ({"source_ipv4": "10.0.0.1\r"}, r"source_ipv4: '10.0.0.1\r' has a carriage return in it (line ends of DOS)"),
        ({"source_ipv6": "fe80::1"}, "source_ipv6: fe80::1 is a link-local address"),
        (
            {"source_prefix_ipv4": "127.0.0.0/16"},
            "source_prefix_ipv4: 127.0.0.0/16 has loopback addresses alone (127.0.0.0/8)",
        ),
        (
            {"source_prefix_ipv6": "fe80::/64"},
            "source_prefix_ipv6: fe80::/64 has link-local addresses alone (fe80::/10)",
        ),
        ({"source_ipv6": "ff02::1"}, "source_ipv6: ff02::1 is not a unicast address"),
        (
            {"source_prefix_ipv4": "172.16.0.0/12"},
            "source_prefix_ipv4: 172.16.0.0/12 is not an IPv4 prefix of length 16",
        ),
        (
            {"source_prefix_ipv4": "172.16.1.0/16"},
            "source_prefix_ipv4: 172.16.1.0/16 has host bits set; the network is 172.16.0.0/16",
        ),
        ({"source_prefix_ipv6": "100::/48"}, "source_prefix_ipv6: 100::/48 is not an IPv6 prefix of length 64"),
        ({"gateway_mac": "gateway"}, "gateway_mac: gateway is neither auto nor a unicast MAC address"),
        (
            {"gateway_mac": "01:00:5e:00:00:01"},
            "gateway_mac: 01:00:5e:00:00:01 is neither auto nor a unicast MAC address",
        ),
        (
            {"gateway_mac": "00:00:00:00:00:00"},
            "gateway_mac: 00:00:00:00:00:00 is neither auto nor a unicast MAC address",
        ),
        ({"sizes": {"ring": 65536}}, "sizes.ring: 65536 is not a prime"),
        ({"sizes": {"ring": 1}}, "sizes.ring: 1 is not in 3 to 16777216"),
        ({"sizes": {"vips": 0}}, "sizes.vips: 0 is not in 1 to 65536"),
        ({"sizes": {"reals": 1}}, "sizes.reals: 1 is not in 2 to 1048576"),
        (
            {"sizes": {"boats": 1}},
            (
                "sizes.boats: there is no such size; there are vips, cidr_vips, reals, ring, source_routes, server_ids,"
                " flows, global_flows, source_filters"
            ),
        ),
        (
            {"sizes": {"vips": 65536, "ring": 65537}},
            "sizes: 65536 VIPs × 65537 slots are more than one table can hold (2^32 - 1)",
        ),
        ({"max_frame": 100}, "max_frame: 100 is not in 590 to 65535"),
        ({"max_new_flows": 0}, "max_new_flows: 0 is not in 1 to 2147483648"),
        ({"udp_timeout": 0}, "udp_timeout: 0 is not in 1 to 86400"),
        ({"forwarding_cores": ["x"]}, "forwarding_cores: x is not a CPU (0 to 127), and not auto"),
        ({"forwarding_cores": [128]}, "forwarding_cores: 128 is not a CPU (0 to 127), and not auto"),
        (
            {"root_array": {"path": "/sys/fs/bpf/root_array", "position": 1}},
            "root_array: it comes instead of interfaces; give one of them",
        ),
        (
            {"root_array": {"path": "root_array", "position": 1}, "interfaces": []},
            "root_array.path: root_array is not an absolute path",
        ),
        (
            {"root_array": {"path": "/root_array", "position": 3}, "interfaces": []},
            "root_array.position: 3 is not a position (0 to 2)",
        ),
    ],
)
def test_faults_of_settings(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings({**SETTINGS, **options})
    assert str(caught.value) == sentence


def test_all_faults_of_settings_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings({**SETTINGS, "mode": "x", "gue_port": 0, "sizes": {"vips": 0}})
    assert str(caught.value) == (
        "mode: x is none of native, generic, auto; gue_port: 0 is not in 1 to 65535; sizes.vips: 0 is not in 1 to 65536"
    )


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"gateway_mac": "02-AB-cd-00-00-01"}, "gateway_mac", "02:ab:cd:00:00:01"),
        ({"source_ipv6": "FC00::0:1"}, "source_ipv6", "fc00::1"),
        ({"source_prefix_ipv6": "0100::/64"}, "source_prefix_ipv6", "100::/64"),
        ({"forwarding_cores": [3, "1", 3]}, "forwarding_cores", (1, 3)),
        ({"forwarding_cores": "0, 2"}, "forwarding_cores", (0, 2)),
        ({"sizes": {"ring": 4093, "vips": None}}, "sizes", {**DEFAULT_SIZES, "ring": 4093}),
        (
            {"root_array": {"path": "/sys/fs/bpf/root_array", "position": 2}, "interfaces": []},
            "root_array",
            RootArray("/sys/fs/bpf/root_array", 2),
        ),
        ({"state": "loaded", "interfaces": []}, "interfaces", ()),
    ],
)
def test_settings(options: dict[str, Any], name: str, value: Any) -> None:
    parsed = parse_settings({**SETTINGS, **options})
    assert getattr(parsed, name) == value
    assert parse_settings({**SETTINGS, **options, **parsed.to_config()}) == parsed


@pytest.mark.parametrize(
    ("cores", "found"),
    [("auto", "auto"), ("0-3,8", (0, 1, 2, 3, 8)), (["2", "0-1"], (0, 1, 2)), ([5], (5,)), ("1", (1,))],
)
def test_forwarding_cores(cores: Any, found: Any) -> None:
    assert parse_settings({**SETTINGS, "forwarding_cores": cores}).forwarding_cores == found


@pytest.mark.parametrize(
    ("cores", "sentence"),
    [
        ([], "forwarding_cores: it is empty: no CPU would have a connection table; list CPUs, or give auto"),
        ("", "forwarding_cores:  is not a CPU (0 to 127), and not auto"),
        ("3-1", "forwarding_cores: 3-1 is not a CPU (0 to 127), and not auto"),
        ("0-128", "forwarding_cores: 0-128 is not a CPU (0 to 127), and not auto"),
    ],
)
def test_forwarding_cores_that_are_none(cores: Any, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings({**SETTINGS, "forwarding_cores": cores})
    assert str(caught.value) == sentence
