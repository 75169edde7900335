# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What module healthcheck accepts."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.healthcheck_settings import parse_healthcheck

GOOD: dict[str, Any] = {
    "interface": "eth0",
    "encapsulation": "ipip",
    "gue_port": 6080,
    "source_ipv4": "auto",
    "source_ipv6": "auto",
    "source_mac": "auto",
    "gateway_mac": "auto",
    "max_frame": 1514,
    "counted_vips": [],
    "source_dir": "/usr/lib/katran-fleet/bpf",
}


def vip(address: str, port: int = 80, protocol: str = "tcp") -> dict[str, Any]:
    return {"address": address, "port": port, "protocol": protocol}


def test_the_settings_are_compiled_in() -> None:
    settings = parse_healthcheck({**GOOD, "encapsulation": "gue", "gue_port": 9886, "max_frame": 9014})
    assert settings.macros() == {"ENCAP_GUE": 1, "GUE_PORT": 9886, "MAX_FRAME": 9014}


def test_addresses_and_macs_are_made_canonical() -> None:
    settings = parse_healthcheck(
        {
            **GOOD,
            "source_ipv6": "2001:DB8:0::1",
            "source_mac": "02-00-00-00-00-0A",
            "counted_vips": [vip("2001:db8::2", 443, "udp"), vip("192.0.2.1")],
        }
    )
    assert settings.source_ipv6 == "2001:db8::1"
    assert settings.source_mac == "02:00:00:00:00:0a"
    assert [str(each) for each in settings.counted_vips] == ["192.0.2.1:80/tcp", "[2001:db8::2]:443/udp"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"interface": None}, "interface: state attached needs an interface"),
        ({"interface": "no/name"}, "interface: 'no/name' is not the name of an interface"),
        ({"interface": "much-too-long-a-name"}, "interface: 'much-too-long-a-name' is not the name of an interface"),
        ({"gue_port": 0}, "gue_port: 0 is not in 1 to 65535"),
        ({"max_frame": 100}, "max_frame: 100 is not in 590 to 65535"),
        ({"source_ipv4": "127.0.0.1"}, "source_ipv4: 127.0.0.1 is a loopback address"),
        ({"source_ipv6": "::1"}, "source_ipv6: ::1 is a loopback address"),
        ({"counted_vips": [vip("169.254.0.1")]}, "counted_vips[0].address: 169.254.0.1 is a link-local address"),
        ({"source_ipv4": "10.0.0"}, "source_ipv4: 10.0.0 is neither auto nor an IPv4 address"),
        ({"source_ipv4": "2001:db8::1"}, "source_ipv4: 2001:db8::1 is neither auto nor an IPv4 address"),
        ({"source_ipv6": "10.0.0.1"}, "source_ipv6: 10.0.0.1 is neither auto nor an IPv6 address"),
        ({"source_mac": "02:00"}, "source_mac: 02:00 is neither auto nor a unicast MAC address"),
        (
            {"gateway_mac": "ff:ff:ff:ff:ff:ff"},
            "gateway_mac: ff:ff:ff:ff:ff:ff is neither auto nor a unicast MAC address",
        ),
        ({"counted_vips": [vip("a")]}, "counted_vips[0].address: a is not an IP address"),
        ({"counted_vips": [vip("::")]}, "counted_vips[0].address: :: is the unspecified address"),
        ({"counted_vips": [vip("192.0.2.1", 0)]}, "counted_vips[0].port: 0 is not a port (1 to 65535)"),
        ({"counted_vips": [vip("192.0.2.1")] * 2}, "counted_vips[1]: 192.0.2.1:80/tcp is listed twice"),
        (
            {"counted_vips": [vip("192.0.2.1", port) for port in range(1, 5001)]},
            "counted_vips: 5000 VIPs, but there is room for 4096",
        ),
    ],
)
def test_each_fault_has_its_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_healthcheck({**GOOD, **options})
    assert str(caught.value) == sentence


def test_all_faults_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_healthcheck({**GOOD, "interface": "", "gue_port": 0, "source_mac": "x"})
    assert len(str(caught.value).split("; ")) == 3
