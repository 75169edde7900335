# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outer sources: what is one and what is none, in a file too, and the steps that bring them into the kernel."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import Faults
from ansible_collections.katran.fleet.plugins.module_utils._model.operations import Put
from ansible_collections.katran.fleet.plugins.module_utils._model.records import Fault
from ansible_collections.katran.fleet.plugins.module_utils._model.source_plan import hosts_of, plan_sources, source_of
from ansible_collections.katran.fleet.plugins.module_utils._model.sources import (
    MOST,
    parse_sources,
    read_source,
    source,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import DeleteLate


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("192.0.2.1", "192.0.2.1/32"),
        ("2001:DB8::1", "2001:db8::1/128"),
        ("172.16.0.0/16", "172.16.0.0/16"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("0.0.0.0/31", "0.0.0.0/31"),
        ("::/127", "::/127"),
        ("::/32", "::/32"),
        ("192.0.2.1/32", "192.0.2.1/32"),
        ("2001:db8::1/128", "2001:db8::1/128"),
        ("192.0.0.0/2", "192.0.0.0/2"),
        ("223.0.0.0/8", "223.0.0.0/8"),
        ("fe00::/7", "fe00::/7"),
        ("fe80::/10", "fe80::/10"),
        ("::ffff:0:0/95", None),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
    ],
)
def test_what_is_a_source(value: str, text: str | None) -> None:
    found = read_source(value)
    assert (None if isinstance(found, str) else found.text) == text


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("eth0", "eth0 is neither an IP address nor a prefix"),
        ("::ffff:10.0.0.0/104", "::ffff:10.0.0.0/104 is an IPv4 prefix in IPv6 form; write 10.0.0.0/8"),
        ("::ffff:0:0/96", "::ffff:0.0.0.0/96 is an IPv4 prefix in IPv6 form; write 0.0.0.0/0"),
        ("0.0.0.0/32", "0.0.0.0/32 is the unspecified address"),
        ("::/128", "::/128 is the unspecified address"),
        ("224.0.0.0/3", "224.0.0.0/3 has no unicast address"),
        ("224.0.0.0/4", "224.0.0.0/4 has no unicast address"),
        ("240.0.0.0/4", "240.0.0.0/4 has no unicast address"),
        ("ff00::/8", "ff00::/8 has no unicast address"),
        ("ff02::1/128", "ff02::1/128 has no unicast address"),
    ],
)
def test_what_is_none(value: str, fault: str) -> None:
    assert read_source(value) == fault


def test_a_list_of_sources() -> None:
    faults = Faults()
    listed = ["192.0.2.1", "eth0", "192.0.2.1/32", 7, "::/0"]
    assert parse_sources(listed, "sources", faults) == ("192.0.2.1/32", "::/0")
    assert faults.lines == [
        "sources[1]: eth0 is neither an IP address nor a prefix",
        "sources[3]: 7 is neither an IP address nor a prefix",
    ]


@pytest.mark.parametrize(
    ("count", "faults_"), [(MOST, []), (MOST + 1, [f"sources: {MOST + 1} entries are more than {MOST}"])]
)
def test_how_many(count: int, faults_: list[str]) -> None:
    faults = Faults()
    parse_sources(["192.0.2.1"] * count, "sources", faults)
    assert (MOST, faults.lines) == (4096, faults_)


def test_a_source_of_a_file() -> None:
    assert source("192.0.2.1", "settings.sources[0]") == "192.0.2.1/32"
    bad: list[tuple[Any, str]] = [("eth0", "neither an IP address nor a prefix"), (7, "")]
    for value, words in bad:
        with pytest.raises(Fault) as told:
            source(value, "settings.sources[0]")
        assert "settings.sources[0]" in str(told.value)
        assert words in str(told.value)


def key(address: str, length: int) -> bytes:
    packed = layout.pack_address(address)
    return layout.lpm_key(packed if ":" in address else packed[:4], length)


def test_steps_between_sources() -> None:
    maps = ("four", "six")
    steps, lines = plan_sources(
        maps, ["10.0.0.0/8", "::/0", "192.0.2.1/32"], ["192.0.2.1/32", "fc00::/7", "10.0.0.0/9"]
    )
    one = layout.u32(1)
    assert steps == [
        Put("four", ((key("10.0.0.0", 9), one),)),
        Put("six", ((key("fc00::", 7), one),)),
        DeleteLate("four", (key("10.0.0.0", 8),)),
        DeleteLate("six", (key("::", 0),)),
    ]
    assert lines == [
        "source fc00::/7 added",
        "source 10.0.0.0/9 added",
        "source 10.0.0.0/8 removed",
        "source ::/0 removed",
    ]
    assert plan_sources(maps, ["::/0"], ["::/0"]) == ([], [])
    assert plan_sources(maps, [], ["::/0"])[0] == [Put("six", ((key("::", 0), one),))]
    assert plan_sources(maps, ["10.0.0.0/8"], [])[0] == [DeleteLate("four", (key("10.0.0.0", 8),))]


@pytest.mark.parametrize("prefix", ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.1/32", "::/0", "fc00::1/128"])
def test_a_key_says_its_prefix(prefix: str) -> None:
    address, _slash, length = prefix.partition("/")
    assert source_of(key(address, int(length))) == prefix


def test_the_addresses_among_prefixes() -> None:
    prefixes = ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "fc00::1/128", "0.0.0.0/12"]
    assert hosts_of(prefixes) == ["192.0.2.1", "fc00::1"]
