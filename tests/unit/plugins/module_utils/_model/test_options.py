# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that every module has."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import Faults
from ansible_collections.katran.fleet.plugins.module_utils._model.options import parse_instance, read_mac


@pytest.mark.parametrize("instance", ["default", "0", "a" * 32, "a_b-c"])
def test_instances(instance: str) -> None:
    parse_instance(instance, "/sys/fs/bpf")


@pytest.mark.parametrize("instance", ["", "A", "-a", "a" * 33, "a/b", "a b", "..", "a\n"])
def test_faults_of_instances(instance: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_instance(instance, "/sys/fs/bpf")
    assert str(caught.value) == (
        f"instance: {instance!r} must begin with a lower case letter or digit, then up to 31 of these, _ or -"
    )


def test_fault_of_bpffs() -> None:
    with pytest.raises(ConfigError, match=r"^bpffs: sys/fs/bpf is not an absolute path$"):
        parse_instance("default", "sys/fs/bpf")


@pytest.mark.parametrize(
    ("mac", "sentence"),
    [
        # What YAML makes of 52:54:00:12:34:56 without quotes.
        (
            41135085296,
            (
                "gateway_mac: 41135085296 is a number: YAML reads 52:54:00:12:34:56 without quotes as one of base 60;"
                " put quotes around it"
            ),
        ),
        (
            "41135085296",
            (
                "gateway_mac: 41135085296 is a number: YAML reads 52:54:00:12:34:56 without quotes as one of base 60;"
                " put quotes around it"
            ),
        ),
        ("525400123456", "gateway_mac: 525400123456 has no colons; write it as 52:54:00:12:34:56, in quotes"),
        (
            "02:00:00:00:00:01\r",
            r"gateway_mac: '02:00:00:00:00:01\r' has a carriage return in it (line ends of DOS)",
        ),
        ("01:00:5e:00:00:01", "gateway_mac: 01:00:5e:00:00:01 is neither auto nor a unicast MAC address"),
        ("ff:ff:ff:ff:ff:ff", "gateway_mac: ff:ff:ff:ff:ff:ff is neither auto nor a unicast MAC address"),
        ("00:00:00:00:00:00", "gateway_mac: 00:00:00:00:00:00 is neither auto nor a unicast MAC address"),
        (True, "gateway_mac: True is neither auto nor a unicast MAC address"),
    ],
)
def test_faults_of_macs(mac: object, sentence: str) -> None:
    faults = Faults()
    assert read_mac({"gateway_mac": mac}, "gateway_mac", faults) == "auto"
    assert faults.lines == [sentence]
