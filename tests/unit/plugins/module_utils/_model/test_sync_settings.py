# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator says of flow exceptions."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.faults import Faults
from ansible_collections.katran.fleet.plugins.module_utils._model.sync_settings import (
    SyncSettings,
    parse_sync,
    read_key,
)

# A busy machine is no fault of what is tested.
PATIENT = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KEY = bytes(range(100, 132))
GOOD: dict[str, Any] = {"address": "192.0.2.1", "port": 9464, "peers": ["192.0.2.2", "192.0.2.1"], "key": KEY.hex()}


def parsed(**options: Any) -> tuple[SyncSettings | None, list[str]]:
    faults = Faults()
    return parse_sync({**GOOD, **options}, faults), faults.lines


def test_good_settings() -> None:
    found, faults = parsed()
    assert faults == []
    assert found == SyncSettings("192.0.2.1", 9464, ("192.0.2.2",), KEY), "a balancer is no peer of its own"
    assert KEY.hex() not in repr(found)
    assert repr(KEY) not in repr(found)


@pytest.mark.parametrize("text", [KEY.hex(), KEY.hex().upper(), f" {KEY.hex()}\n", base64.b64encode(KEY).decode()])
def test_forms_of_a_key(text: str) -> None:
    found, faults = parsed(key=text)
    assert faults == []
    assert found is not None
    assert found.key == KEY


@given(st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) >= 8))
@PATIENT
def test_both_forms_of_any_key_are_read(key: bytes) -> None:
    faults = Faults()
    assert read_key(key.hex(), faults, "k") == read_key(base64.b64encode(key).decode(), faults, "k") == key
    assert not faults.lines


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (None, "flow exceptions need a key: 64 hexadecimal digits, as openssl rand -hex 32 prints them"),
        ("", "flow exceptions need a key: 64 hexadecimal digits, as openssl rand -hex 32 prints them"),
        ("correct horse battery staple!", "is neither hexadecimal digits nor base64"),
        (7, "is neither hexadecimal digits nor base64"),
        ([KEY.hex()], "is neither hexadecimal digits nor base64"),
        (KEY.hex()[:-2], "has 31 bytes, but a key has 32 (64 hexadecimal digits)"),
        (KEY.hex() + "00", "has 33 bytes, but a key has 32 (64 hexadecimal digits)"),
        ("0" * 64, "repeats a few bytes, and so is no random key: openssl rand -hex 32 prints one"),
        ("ab" * 32, "repeats a few bytes, and so is no random key: openssl rand -hex 32 prints one"),
        ("{{ vault_key }}", "is neither hexadecimal digits nor base64"),
    ],
)
def test_a_key_that_is_none(key: Any, sentence: str) -> None:
    found, faults = parsed(key=key)
    assert found is None
    assert faults == [f"katran_sync_key: {sentence}"]


@given(st.text(min_size=8, max_size=80))
@PATIENT
def test_no_key_is_ever_shown(text: str) -> None:
    faults, others = Faults(), Faults()
    read_key(text, faults, "katran_sync_key")
    # What is said of any key may have a few letters of this one.
    for key in ("!", "ab" * 9, "ab" * 32):
        read_key(key, others, "katran_sync_key")
    assert not any(text in line for line in faults.lines if not any(text in other for other in others.lines))


@pytest.mark.parametrize(
    ("options", "faults"),
    [
        ({"address": ""}, ["katran_sync_address: nothing is not an IP address"]),
        ({"address": "lb1.example.net"}, ["katran_sync_address: lb1.example.net is not an IP address"]),
        ({"address": "0.0.0.0"}, ["katran_sync_address: 0.0.0.0 is every address: name the one that peers send to"]),
        ({"address": "::", "peers": []}, ["katran_sync_address: :: is every address: name the one that peers send to"]),
        ({"port": 1023}, ["katran_sync_port: 1023 is not a port that the agent may have (1024 to 65535)"]),
        ({"port": 0}, ["katran_sync_port: 0 is not a port that the agent may have (1024 to 65535)"]),
        ({"port": 65536}, ["katran_sync_port: 65536 is not a port that the agent may have (1024 to 65535)"]),
        ({"port": True}, ["katran_sync_port: True is not a port that the agent may have (1024 to 65535)"]),
        ({"peers": "192.0.2.2"}, ["katran_sync_peers: not a list of addresses"]),
        (
            {"peers": ["192.0.2", "::"]},
            [
                "katran_sync_peers[0]: 192.0.2 is not an IP address of a host",
                "katran_sync_peers[1]: :: is not an IP address of a host",
            ],
        ),
        ({"peers": ["192.0.2.2", "192.0.2.2"]}, ["katran_sync_peers[1]: 192.0.2.2 is listed twice"]),
        ({"peers": ["2001:db8::2"]}, ["katran_sync_peers: 2001:db8::2 and 192.0.2.1 are not of one family"]),
        ({"peers": [f"192.0.2.{n}" for n in range(1, 67)]}, ["katran_sync_peers: 66 peers, but it takes at most 64"]),
    ],
)
def test_faults(options: dict[str, Any], faults: list[str]) -> None:
    assert parsed(**options) == (None, faults)


def test_all_faults_are_told_together() -> None:
    found, faults = parsed(key="x", port=-1, address="nowhere")
    assert found is None
    assert len(faults) == 3


def test_addresses_of_ipv6_and_a_prefix_of_the_operators_names() -> None:
    faults = Faults()
    found = parse_sync({"address": "2001:DB8::1", "peers": ("2001:db8:0::2",), "key": KEY.hex()}, faults, "sync_")
    assert found == SyncSettings("2001:db8::1", 9464, ("2001:db8::2",), KEY)
    parse_sync({"key": None, "address": "192.0.2.1"}, faults, "sync_")
    assert faults.lines[0].startswith("sync_key: ")
