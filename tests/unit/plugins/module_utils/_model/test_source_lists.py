# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists of clients as operators and files have them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import Faults
from ansible_collections.katran.fleet.plugins.module_utils._model.features import vip_features
from ansible_collections.katran.fleet.plugins.module_utils._model.source_lists import (
    capacity_faults,
    is_stored,
    list_changes,
    read_lists,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import Vip, VipKey

KEY, KEY6 = VipKey.read("198.51.100.1:80/tcp"), VipKey.read("[2001:db8::1]:80/tcp")
BASE = Vip(KEY, allow=("192.0.2.0/24",), deny=("192.0.2.1/32",))


def read(entry: dict[str, Any], base: Vip = BASE, has_feature: bool = True) -> Any:
    faults = Faults()
    found = read_lists(entry, "vips[0]", base, base.key.ipv6, has_feature, faults)
    faults.check()
    return found


def fault(entry: dict[str, Any], base: Vip = BASE, has_feature: bool = True) -> str:
    with pytest.raises(ConfigError) as caught:
        read(entry, base, has_feature)
    return str(caught.value)


def test_what_is_not_mentioned_stays_and_what_is_takes_its_place() -> None:
    assert read({}) == (BASE.allow, BASE.deny)
    assert read({"allow": None, "deny": None}) == (BASE.allow, BASE.deny)
    assert read({"deny": []}) == (BASE.allow, ())
    assert read({"allow": ["198.18.0.0/15", "10.0.0.0/8", "10.0.0.0/16", "9.9.9.9"]}) == (
        ("9.9.9.9/32", "10.0.0.0/8", "10.0.0.0/16", "198.18.0.0/15"),
        BASE.deny,
    )
    assert read({"allow": ["2001:DB8:0::/32"]}, Vip(KEY6)) == (("2001:db8::/32",), ())


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            {"allow": ["192.0.2.1"]},
            "vips[0].allow[0]: 192.0.2.1/32 is in deny as well; allow or deny can have it, not both",
        ),
        (
            {"deny": ["10.0.0.0"], "allow": ["10.0.0.0/32"]},
            "vips[0].deny[0]: 10.0.0.0/32 is in allow as well; deny or allow can have it, not both",
        ),
        ({"deny": ["10.0.0.1/8"]}, "vips[0].deny[0]: 10.0.0.1/8 has host bits set; the network is 10.0.0.0/8"),
        ({"deny": ["10.0.0.0/33"]}, "vips[0].deny[0]: 10.0.0.0/33 has no prefix length of 0 to 32"),
        ({"deny": ["10.0.0"]}, "vips[0].deny[0]: 10.0.0 is neither an IP address nor a prefix"),
        ({"deny": ["224.0.0.0/4"]}, "vips[0].deny[0]: 224.0.0.0/4 has no unicast address"),
        (
            {"deny": ["2001:db8::/32"]},
            "vips[0].deny[0]: 2001:db8::/32 is IPv6, but the VIP is IPv4, as its clients are",
        ),
        (
            {"deny": ["::ffff:10.0.0.0/104"]},
            "vips[0].deny[0]: ::ffff:10.0.0.0/104 is an IPv4 prefix in IPv6 form; write 10.0.0.0/8",
        ),
    ],
)
def test_faults(entry: dict[str, Any], sentence: str) -> None:
    assert fault(entry) == sentence


def test_an_empty_list_of_allow_is_a_fault_of_the_vips_own_family() -> None:
    assert "write [0.0.0.0/0], for nobody write deny: [0.0.0.0/0]" in fault({"allow": []})
    assert "write [::/0], for nobody write deny: [::/0]" in fault({"allow": []}, Vip(KEY6))


def test_lists_need_the_feature_and_an_empty_one_does_not() -> None:
    assert fault({"deny": ["10.0.0.0/8"]}, Vip(KEY), has_feature=False) == "vips[0].deny: needs feature source_filter"
    assert read({"deny": []}, has_feature=False) == (BASE.allow, ())
    assert vip_features([{"deny": ["10.0.0.0/8"]}]) == vip_features([{"allow": ["10.0.0.0/8"]}]) == {"source_filter"}
    assert vip_features([{"deny": [], "allow": None}]) == set()


def test_room_counts_everybody_else() -> None:
    vips = {
        KEY: Vip(KEY, allow=("192.0.2.0/24",)),
        KEY6: Vip(KEY6, deny=("2001:db8::/32", "2001:db9::/32", "2001:dba::/32")),
    }
    for room, sentences in ((3, []), (2, ["3 entries of IPv6"]), (1, ["2 entries of IPv4", "3 entries of IPv6"])):
        faults = Faults()
        capacity_faults(vips, room, faults)
        text = ""
        try:
            faults.check()
        except ConfigError as error:
            text = str(error)
        assert [each for each in ("2 entries of IPv4", "3 entries of IPv6") if each in text] == sentences
    faults = Faults()
    capacity_faults({KEY: Vip(KEY, allow=("0.0.0.0/0",))}, 1, faults)
    faults.check()


def test_changes_name_a_few_and_count_the_rest() -> None:
    many = tuple(f"10.{number}.0.0/16" for number in range(8))
    assert list_changes(BASE, BASE) == []
    assert list_changes(BASE, Vip(KEY, allow=many)) == [
        "allow: 10.0.0.0/16, 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16, 10.4.0.0/16 and 3 more added, 192.0.2.0/24 removed",
        "deny: 192.0.2.1/32 removed, which ends the list",
    ]


@pytest.mark.parametrize(
    ("value", "ipv6", "sound"),
    [
        (["10.0.0.0/8", "0.0.0.0/0"], False, True),
        (["2001:db8::/32", "::/0"], True, True),
        ([], False, True),
        ("10.0.0.0/8", False, False),
        (["10.0.0.0/08"], False, False),
        (["10.0.0.0/33"], False, False),
        (["010.0.0.0/8"], False, False),
        (["10.0.0.0"], False, False),
        (["2001:DB8::/32"], True, False),
        (["2001:db8::/32"], False, False),
        (["10.0.0.0/8"], True, False),
        (["x"], True, False),
    ],
)
def test_what_a_file_can_have(value: Any, ipv6: bool, sound: bool) -> None:
    assert is_stored(value, ipv6) == sound
