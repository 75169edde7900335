# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody means who names a VIP or a real in a few characters."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey
from ansible_collections.katran.fleet.plugins.module_utils._model.which import read_which, unknown

WEB, DNS, SIX, ANY, NET, NET6, UDP = NAMES = (
    "198.51.100.1:443/tcp",
    "198.51.100.2:53/udp",
    "[2001:db8::1]:443/tcp",
    "198.51.100.3:0/tcp",
    "203.0.113.0/24:0/tcp",
    "[2001:db8:1::/48]:443/tcp",
    "198.51.100.1:443/udp",
)
KEYS = [VipKey.read(name) for name in NAMES]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (WEB, [WEB]),
        ("198.51.100.1", [WEB, UDP]),
        ("198.51.100.1:443", [WEB, UDP]),
        ("198.51.100.1:80", []),
        (":443", [WEB, SIX, NET6, UDP]),
        (":443/tcp", [WEB, SIX, NET6]),
        (":53", [DNS]),
        (":0", [ANY, NET]),
        (":65535", []),
        ("2001:db8::1", [SIX]),
        ("[2001:DB8::1]:443", [SIX]),
        ("203.0.113.0/24", [NET]),
        ("203.0.113.7", [NET]),
        # A VIP of any port has that one too.
        ("203.0.113.7:80", [NET]),
        ("203.0.113.7:80/udp", []),
        ("203.0.114.7", []),
        ("203.0.113.0/25", []),
        ("2001:db8:1::7", [NET6]),
        ("[2001:db8:1::7]:443", [NET6]),
        ("[2001:db8:1::7]:80", []),
        ("10.0.0.1", []),
    ],
)
def test_vips(text: str, meant: list[str]) -> None:
    which = read_which(text)
    assert [str(key) for key in KEYS if which.means_vip(key)] == meant
    assert [str(key) for key in KEYS if which.means(key, "10.9.9.9")] == meant


def test_reals() -> None:
    which = read_which("FC00::0:1")
    assert which.means(KEYS[0], "fc00::1")
    assert not which.means(KEYS[0], "fc00::2")
    assert not read_which(":443").means(KEYS[1], "10.0.0.1")


@pytest.mark.parametrize("text", ["web", "10.0.0", ":65536", ":", ":443/icmp", ":443/tcp ", "443", "", "\x1b[2J"])
def test_what_is_nothing(text: str) -> None:
    with pytest.raises(EngineError) as found:
        read_which(text)
    shown = text.replace("\x1b", "\\x1b")
    assert str(found.value) == (
        f"{shown} is neither the name of a VIP, such as 198.51.100.1:443/tcp, 198.51.100.1 or :443, nor a real's"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("198.51.100.4", f"no VIP or real is 198.51.100.4; the nearest: {ANY}, {DNS}, {WEB}"),
        ("10.0.0.2", "no VIP or real is 10.0.0.2; the nearest: 10.0.0.1"),
        ("2001:db8::7", f"no VIP or real is 2001:db8::7; the nearest: {SIX}, {NET6}"),
        ("[::1]", f"no VIP or real is [::1]; there are {WEB}, {UDP}, {DNS}, {ANY}, {NET} and 2 more"),
    ],
)
def test_the_nearest_are_named(text: str, sentence: str) -> None:
    assert str(unknown(read_which(text), KEYS, ["10.0.0.1"])) == sentence


def test_where_there_is_nothing_nothing_is_near() -> None:
    assert str(unknown(read_which(":443"), [], [])) == "no VIP or real is :443; there is no VIP"
