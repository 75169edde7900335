# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What leaves a host in a bug report has no secret, and no address where that is asked for."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import re

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.masking import REMOVED, Masker, Secrets

KEY = os.urandom(32)
HEX = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"


def test_a_key_is_removed_in_each_way_that_it_is_written() -> None:
    secrets = Secrets()
    secrets.learn(json.dumps({"schema": 1, "sync_key": HEX}))
    raw = bytes.fromhex(HEX)
    for form in (HEX, HEX.upper(), base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode().rstrip("=")):
        assert secrets.removed(f"key {form} was refused") == f"key {REMOVED} was refused"


@pytest.mark.parametrize(
    "text",
    [
        'protocol bgp a { password "S3cret-word"; }',
        '{"vips": [{"check": {"headers": {"X-Key": "S3cret-word"}, "path": "/"}}]}',
        '{"a": {"payload": "S3cret-word"}}',
        '{"a": [{"expect": "S3cret-word", "body": "S3cret-word"}]}',
        "GET https://user:S3cret-word@www.example.net/",
        "GET /healthz?token=S3cret-word HTTP/1.1",
        "Authorization: Bearer S3cret-word",
        '{"truncated": {"password": "S3cret-word", "more": [',
        "-----BEGIN EC PRIVATE KEY-----\nS3cret-word\n-----END EC PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nS3cret-word",
    ],
)
def test_a_secret_is_removed_where_it_stands(text: str) -> None:
    assert "S3cret" not in Secrets().removed(text)


def test_what_one_file_says_is_secret_is_removed_from_all_others() -> None:
    secrets = Secrets()
    secrets.learn('password "laboratory only";')
    secrets.learn('{"check": {"headers": {"X": "abcdef"}}}')
    assert secrets.removed("a log: laboratory only, abcdef, abc") == f"a log: {REMOVED}, {REMOVED}, abc"


def test_what_is_no_secret_stays() -> None:
    text = "vip 198.51.100.1:443/tcp: weight of 10.0.0.11 1 → 10; monkey=7 (exit status 1)\n"
    assert Secrets().removed(text) == text
    assert json.loads(Secrets().removed('{"vips": [1, null, {"address": "a", "headers": {}}]}')) == {
        "vips": [1, None, {"address": "a", "headers": {}}]
    }


def test_the_same_address_is_the_same_everywhere() -> None:
    masker = Masker(KEY, ["lb1.example.net", "lb1"])
    text = masker.text(
        "lb1 LB1.example.net 10.0.0.11 10.0.0.11:80 (10.0.0.11) 10.0.0.11. [2001:db8::1]:443 2001:db8::1:"
        " 2001:DB8:0::1 02:00:5e:00:00:01 02:00:5E:00:00:01 ::ffff:10.0.0.11 fe80::1%eth1 lb10 127.0.0.1 ::1"
    )
    address, address6 = masker.address("10.0.0.11"), masker.address("2001:db8::1")
    words = text.split()
    assert words[:6] == ["host-2", "host-1", address, f"{address}:80", f"({address})", f"{address}."]
    assert words[6:9] == [f"[{address6}]:443", f"{address6}:", address6]
    assert words[9] == words[10]
    assert words[11] == f"::ffff:{address}"
    assert words[12].endswith("%eth1")
    assert words[13:] == ["lb10", "127.0.0.1", "::1"]
    assert "fe80::1" not in text


def test_the_head_of_a_frame_in_a_log() -> None:
    masker = Masker(KEY)
    first, second = masker.text("aa:bb:cc:dd:ee:01"), masker.text("aa:bb:cc:dd:ee:02")
    assert masker.text("MAC=aa:bb:cc:dd:ee:01:aa:bb:cc:dd:ee:02:08:00 SRC") == f"MAC={first}:{second}:08:00 SRC"
    assert masker.text("took 12:34:56, 2026-11-27T12:00:00+01:00") == "took 12:34:56, 2026-11-27T12:00:00+01:00"


def _shared(first: str, second: str) -> int:
    """How many leading bits two addresses share."""
    one, two = ipaddress.ip_address(first), ipaddress.ip_address(second)
    return one.max_prefixlen - (int(one) ^ int(two)).bit_length()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("10.0.0.11", "10.0.0.12"),
        ("10.0.0.11", "10.0.128.1"),
        ("198.51.100.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8:0:1::"),
    ],
)
def test_addresses_share_what_they_shared(first: str, second: str) -> None:
    masker = Masker(KEY)
    assert _shared(masker.address(first), masker.address(second)) == _shared(first, second)


def test_a_prefix_stays_one() -> None:
    masker = Masker(KEY)
    network = ipaddress.ip_network(masker.text("10.1.0.0/16"))
    assert ipaddress.ip_address(masker.address("10.1.2.3")) in network
    assert network.prefixlen == 16
    assert masker.text("10.1.2.3/16") == f"{masker.address('10.1.2.3')}/16"
    assert ipaddress.ip_network(masker.text("2001:db8::/32")).prefixlen == 32


def test_no_address_of_any_spelling_is_left() -> None:
    masker = Masker(KEY)
    for number in range(400):
        value = int.from_bytes(os.urandom(16), "big")
        v6 = ipaddress.IPv6Address(value >> (number % 100))
        v4 = ipaddress.IPv4Address(value >> 96)
        text = masker.text(f"{v4} x{number}={v4},{v6}/128 {v6.exploded} {str(v6).upper()} '{v6}'")
        found = re.findall(r"[0-9A-Fa-f:.]{2,}", text)
        assert str(v4) not in found
        assert not {str(v6), v6.exploded, str(v6).upper()} & set(found) or int(v6) < 2
