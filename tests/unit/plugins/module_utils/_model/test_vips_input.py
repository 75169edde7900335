# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs as operators write them: one sentence for each fault, and what each state makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.features import FEATURES, FLAG_FEATURES
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_changes import vip_changes
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import (
    VipReal,
    vip_to_config,
    vips_from_config,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips_input import resolve_vips
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import (
    ALL,
    GOOD,
    NONE,
    SIZES,
    VIPS,
    reals,
    vip,
    vip6,
    vips,
)

GOOD_ROW = {
    "address": "198.51.100.1",
    "port": 80,
    "protocol": "tcp",
    "flags": [],
    "hash": "maglev_v2",
    "reals": [],
    "down_reals": [],
}


def fault(config: Any, limits: Limits = ALL, state: str = "merged") -> str:
    with pytest.raises(ConfigError) as caught:
        resolve_vips({}, Asked(config, state, False, limits))
    return str(caught.value)


def refused(entry: Any) -> bool:
    try:
        resolve_vips({}, Asked([entry], "merged", False, ALL))
    except ConfigError:
        return True
    return False


# One sentence for each rule.


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (vip("10.0.0"), "vips[0].address: 10.0.0 is not an IP address"),
        (vip("010.0.0.1"), "vips[0].address: 010.0.0.1 is not an IP address"),
        (vip("10.0.0.1 "), "vips[0].address: '10.0.0.1 ' has white space in it"),
        (vip("fe80::1%eth0"), "vips[0].address: fe80::1%eth0 is not an IP address"),
        (vip("web.example"), "vips[0].address: web.example is not an IP address"),
        (vip(""), "vips[0].address: is empty"),
        (vip(None), "vips[0].address: is missing"),
        (vip("0.0.0.0"), "vips[0].address: 0.0.0.0 is the unspecified address"),
        (vip("::"), "vips[0].address: :: is the unspecified address"),
        (vip("224.0.0.1"), "vips[0].address: 224.0.0.1 is not a unicast address"),
        (vip("ff02::1"), "vips[0].address: ff02::1 is not a unicast address"),
        (
            vip("::ffff:10.0.0.1"),
            "vips[0].address: ::ffff:10.0.0.1 is an IPv4 address in IPv6 form; write 10.0.0.1",
        ),
        (
            vip("2001:db8::"),
            "vips[0].address: 2001:db8:: ends in twelve zero bytes, as IPv4 addresses do in the kernel's tables",
        ),
        (vip("10.1.0.0/15"), "vips[0].address: 10.1.0.0/15 has host bits set; the network is 10.0.0.0/15"),
        (vip("2001:db8::1/64"), "vips[0].address: 2001:db8::1/64 has host bits set; the network is 2001:db8::/64"),
        (vip("10.0.0.0/33"), "vips[0].address: 10.0.0.0/33 has no prefix length of 0 to 32"),
        (vip("10.0.0.0/08"), "vips[0].address: 10.0.0.0/08 has no prefix length of 0 to 32"),
        (vip("10.0.0.0/255.0.0.0"), "vips[0].address: 10.0.0.0/255.0.0.0 has no prefix length of 0 to 32"),
        (vip("2001:db8::/129"), "vips[0].address: 2001:db8::/129 has no prefix length of 0 to 128"),
        (vip("10.0/8"), "vips[0].address: 10.0/8 is not a prefix (ADDRESS/LENGTH)"),
        (vip("ff00::/8"), "vips[0].address: ff00::/8 has multicast addresses alone (ff00::/8)"),
        (vip("127.0.0.1"), "vips[0].address: 127.0.0.1 is a loopback address"),
        (vip("::1"), "vips[0].address: ::1 is a loopback address"),
        (vip("169.254.1.1"), "vips[0].address: 169.254.1.1 is a link-local address"),
        (vip("febf::1"), "vips[0].address: febf::1 is a link-local address"),
        (vip("0.0.0.5"), "vips[0].address: 0.0.0.5 is in 0.0.0.0/8, of which no host may have one"),
        (vip("240.0.0.1"), "vips[0].address: 240.0.0.1 is in 240.0.0.0/4, of which no host may have one"),
        (vip("127.0.0.0/8"), "vips[0].address: 127.0.0.0/8 has loopback addresses alone (127.0.0.0/8)"),
        (vip("127.1.0.0/16"), "vips[0].address: 127.1.0.0/16 has loopback addresses alone (127.0.0.0/8)"),
        (vip("126.0.0.0/7"), "vips[0].address: 126.0.0.0/7 takes in loopback addresses (127.0.0.0/8)"),
        (vip("0.0.0.0/0"), "vips[0].address: 0.0.0.0/0 takes in unspecified addresses (0.0.0.0/8)"),
        (vip("168.0.0.0/6"), "vips[0].address: 168.0.0.0/6 takes in link-local addresses (169.254.0.0/16)"),
        (vip("::/0"), "vips[0].address: ::/0 takes in loopback addresses (::1/128)"),
        (vip("fe00::/8"), "vips[0].address: fe00::/8 takes in link-local addresses (fe80::/10)"),
        (
            vip("::ffff:10.0.0.0/104"),
            (
                "vips[0].address: ::ffff:10.0.0.0/104 has IPv4-mapped addresses alone (::ffff:0.0.0.0/96);"
                " write 10.0.0.0/8"
            ),
        ),
        (vip(reals=reals("127.0.0.1")), "vips[0].reals[0].address: 127.0.0.1 is a loopback address"),
        (vip(reals=reals("10.0.0.1", "fe80::1")), "vips[0].reals[1].address: fe80::1 is a link-local address"),
        (
            vip("198.51.100.7", reals=reals("10.0.0.1", "198.51.100.7")),
            "vips[0].reals[1].address: 198.51.100.7 is the VIP itself; a real has an address of its own",
        ),
        (
            vip("198.51.100.7", protocol="udp", flags=["udp_flow_migration"], down_reals=["198.51.100.7"]),
            "vips[0].down_reals[0]: 198.51.100.7 is the VIP itself; a real has an address of its own",
        ),
        (vip(down_reals=["::1"]), "vips[0].down_reals[0]: ::1 is a loopback address"),
        (
            vip("198.51.100.1\r"),
            r"vips[0].address: '198.51.100.1\r' has a carriage return in it (line ends of DOS)",
        ),
        (
            vip("10.0.0.1\u200b"),
            r"vips[0].address: '10.0.0.1\u200b' has a character that is not of ASCII in it",
        ),
        (vip("198.51.100.1\0"), r"vips[0].address: '198.51.100.1\x00' has a control character in it"),
        (
            vip("2895057742028"),
            (
                "vips[0].address: 2895057742028 is a number: YAML reads 01:02:03:04:05:06:07:08 without quotes as one"
                " of base 60; put quotes around it"
            ),
        ),
        (vip("[2001:db8::1]"), "vips[0].address: [2001:db8::1] is not an IP address: write it without brackets"),
        (
            vip(reals=reals("10.0.0.1/32")),
            "vips[0].reals[0].address: 10.0.0.1/32 is a prefix; an IP address is asked for, such as 10.0.0.1",
        ),
        (vip(port=65536), "vips[0].port: 65536 is not a port (0 to 65535)"),
        (vip(port=-1), "vips[0].port: -1 is not a port (0 to 65535)"),
        (vip(port="https"), "vips[0].port: https is not a port (0 to 65535)"),
        (vip(port=True), "vips[0].port: True is not a port (0 to 65535)"),
        (vip(protocol="icmp"), "vips[0].protocol: icmp is neither tcp nor udp"),
        (vip(protocol=None), "vips[0].protocol: None is neither tcp nor udp"),
        (vip(hash="maglev"), "vips[0].hash: maglev is none of maglev_v2, maglev_v1"),
        (vip(flags=["fast"]), f"vips[0].flags: fast is none of {', '.join(layout.VIP_FLAGS)}"),
        (vip(reals=reals("10.0.0")), "vips[0].reals[0].address: 10.0.0 is not an IP address"),
        (vip(reals=[{}]), "vips[0].reals[0].address: is missing"),
        (vip(reals=reals("0.0.0.0")), "vips[0].reals[0].address: 0.0.0.0 is the unspecified address"),
        (vip(reals=reals("255.255.255.255")), "vips[0].reals[0].address: 255.255.255.255 is not a unicast address"),
        (vip(reals=reals("10.0.0.1", "10.0.0.1")), "vips[0].reals[1].address: 10.0.0.1 is listed twice"),
        (vip(reals=reals("fc00::1", "fc00:0::1")), "vips[0].reals[1].address: fc00::1 is listed twice"),
        (
            vip6(reals=reals("fc00::1", "10.0.0.1")),
            "vips[0].reals[1].address: 10.0.0.1 is IPv4, but the VIP 2001:db8::1 is IPv6",
        ),
        (
            vip(reals=[{"address": "10.0.0.1", "weight": 10001}]),
            "vips[0].reals[0].weight: 10001 is not a weight (0 to 10000)",
        ),
        (
            vip(reals=[{"address": "10.0.0.1", "weight": -1}]),
            "vips[0].reals[0].weight: -1 is not a weight (0 to 10000)",
        ),
        (
            vip(reals=[{"address": "10.0.0.1", "weight": "heavy"}]),
            "vips[0].reals[0].weight: heavy is not a weight (0 to 10000)",
        ),
        (
            vip(reals=[{"address": "10.0.0.1", "state": "up"}]),
            "vips[0].reals[0].state: up is none of active, draining, down",
        ),
        (vip(down_reals=["10.0.0"]), "vips[0].down_reals[0]: 10.0.0 is not an IP address"),
        (vip(down_reals=["10.0.0.1", "10.0.0.1"]), "vips[0].down_reals[1]: 10.0.0.1 is listed twice"),
    ],
)
def test_faults_of_one_vip(entry: dict[str, Any], sentence: str) -> None:
    assert fault([entry]) == sentence


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (vip("10.0.0.0/8"), "vips[0].address: 10.0.0.0/8 is a prefix, which needs feature cidr_vips"),
        (
            vip(reals=[{"address": "10.0.0.1", "local": True}]),
            "vips[0].reals[0].local: needs feature local_delivery",
        ),
        (vip(down_reals=["10.0.0.1"]), "vips[0].down_reals: needs feature udp_flow_migration"),
        *((vip(flags=[flag]), f"vips[0].flags: {flag} needs feature {need}") for flag, need in FLAG_FEATURES.items()),
    ],
)
def test_features_that_are_not_compiled_in(entry: dict[str, Any], sentence: str) -> None:
    assert fault([entry], NONE) == sentence
    vips([entry], limits=Limits(SIZES, None))


def test_what_is_always_compiled_in() -> None:
    flags = ["hash_no_src_port", "no_lru", "quic", "hash_dst_port_only", "hash_src_dst_port"]
    after, warnings = vips([vip(protocol="udp", flags=flags)], limits=NONE)
    assert (next(iter(after.values())).flags, warnings) == (tuple(flags), [])


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ([vip(), vip()], "vips[1]: 198.51.100.1:443/tcp is listed twice (also vips[0])"),
        ([vip6(), vip("2001:DB8:0::1")], "vips[1]: [2001:db8::1]:443/tcp is listed twice (also vips[0])"),
        ([vip("10.0.0.0/8")] * 2, "vips[1]: 10.0.0.0/8:443/tcp is listed twice (also vips[0])"),
        ([vip(port=n) for n in range(5)], "vips: 5 VIPs, but sizes.vips is 4"),
        ([vip(f"10.{n}.0.0/16") for n in range(3)], "vips: 3 IPv4 CIDR VIPs, but sizes.cidr_vips is 2"),
        ([vip(f"fc0{n}::/16") for n in range(3)], "vips: 3 IPv6 CIDR VIPs, but sizes.cidr_vips is 2"),
        (
            [vip(reals=reals(*(f"10.0.0.{n}" for n in range(1, 7))))],
            "vips: 6 reals, but sizes.reals is 6 and id 0 is never one",
        ),
        (
            [
                vip("10.0.0.0/8", protocol="udp", flags=["udp_flow_migration"]),
                vip("10.0.0.0/16", protocol="udp", flags=["udp_flow_migration"]),
            ],
            (
                "vips[1].flags: udp_flow_migration cannot tell 10.0.0.0/16:443/udp from 10.0.0.0/8:443/udp:"
                " same network address"
            ),
        ),
        (
            [
                vip("10.0.0.0/16", protocol="udp", flags=["udp_flow_migration"]),
                vip("10.0.0.0", protocol="udp", flags=["udp_flow_migration"]),
            ],
            (
                "vips[0].flags: udp_flow_migration cannot tell 10.0.0.0/16:443/udp from 10.0.0.0:443/udp:"
                " same network address"
            ),
        ),
        (
            [
                vip(flags=["local"], reals=[{"address": "10.0.0.1", "local": True}]),
                vip(port=80, reals=reals("10.0.0.1")),
            ],
            "vips[0].reals: 10.0.0.1 is local in one VIP and not in another (198.51.100.1:80/tcp)",
        ),
    ],
)
def test_faults_of_several_vips(config: list[dict[str, Any]], sentence: str) -> None:
    assert fault(config) == sentence


def test_what_two_vips_may_have_in_common() -> None:
    migrating = {"protocol": "udp", "flags": ["udp_flow_migration"]}
    after, warnings = vips(
        [
            vip("10.0.0.0/8", **migrating),
            vip("10.0.0.0/16", port=80, **migrating),
            vip("10.0.0.0", reals=reals("192.0.2.1", "fc00::1")),
            vip("10.0.0.0", protocol="udp", reals=reals("192.0.2.1")),
        ]
    )
    assert (len(after), warnings) == (4, [])


def test_all_faults_at_once_and_at_most_twenty() -> None:
    config = [vip(port=-n, reals=reals("10.0.0")) for n in range(1, 12)]
    with pytest.raises(ConfigError) as caught:
        vips(config)
    lines = str(caught.value).split("; ")
    assert len(lines) == 21
    assert lines[0] == "vips[0].port: -1 is not a port (0 to 65535)"
    assert lines[1] == "vips[0].reals[0].address: 10.0.0 is not an IP address"
    assert lines[20] == "and 2 more"
    assert len(fault(config[:10]).split("; ")) == 20


def test_enough_active_reals() -> None:
    before, _warnings = vips([vip(reals=reals("10.0.0.1")), vip(port=80, reals=[])])
    for state, config in (
        # What is merged counts as a whole, and what is not listed does not count.
        ("merged", [vip(reals=reals("10.0.0.2"))]),
        ("overridden", [vip(reals=reals("10.0.0.1", "10.0.0.2", "10.0.0.3"))]),
        ("deleted", [vip(port=80)]),
    ):
        resolve_vips(before, Asked(config, state, False, ALL), min_active=2)
    for state in ("replaced", "overridden"):
        with pytest.raises(ConfigError) as caught:
            resolve_vips(before, Asked([vip(reals=reals("10.0.0.2"))], state, False, ALL), min_active=2)
        assert str(caught.value) == "vips[0].reals: 198.51.100.1:443/tcp has 1 active, but min_active is 2"


@pytest.mark.parametrize("state", ["overridden", "deleted"])
@pytest.mark.parametrize("config", [None, []])
def test_removing_everything_must_be_meant(state: str, config: Any) -> None:
    sentence = (
        f"config: state {state} with an empty or absent config would remove every entry of vips:"
        " give allow_empty: true if that is meant"
    )
    assert fault(config, state=state) == sentence
    before, _warnings = vips([vip()])
    assert resolve_vips(before, Asked(config, state, True, ALL)) == ({}, [])


@pytest.mark.parametrize(
    ("entry", "warning"),
    [
        (
            vip(hash="maglev_v1", reals=[{"address": "10.0.0.1", "weight": 2}, {"address": "10.0.0.2"}]),
            "vips[0].hash: maglev_v1 hardly shows unequal weights; maglev_v2 honours them",
        ),
        (
            vip(protocol="udp", down_reals=["10.0.0.1"]),
            "vips[0].down_reals: they mean nothing without flag udp_flow_migration",
        ),
        (vip(flags=["quic"]), "vips[0].flags: quic means nothing for tcp"),
        (vip(flags=["udp_stable_routing"]), "vips[0].flags: udp_stable_routing means nothing for tcp"),
        (vip(flags=["udp_flow_migration"]), "vips[0].flags: udp_flow_migration means nothing for tcp"),
    ],
)
def test_warnings(entry: dict[str, Any], warning: str) -> None:
    after, warnings = vips([entry])
    assert warnings == [warning]
    # A VIP that this run does not list is named by its key.
    assert vips([vip(port=1)], before=after)[1] == [warning.replace("vips[0]", f"vip {next(iter(after))}")]


def test_equal_weights_under_maglev_v1_are_fine() -> None:
    members = [
        {"address": "10.0.0.1", "weight": 5},
        {"address": "10.0.0.2", "weight": 5},
        {"address": "10.0.0.3", "weight": 0},
    ]
    assert vips([vip(hash="maglev_v1", reals=members)])[1] == []


# States.

BEFORE = [
    vip(
        flags=["no_lru"],
        hash="maglev_v1",
        reals=[{"address": "10.0.0.1", "weight": 7, "state": "draining"}, {"address": "10.0.0.2"}],
    ),
    vip(port=80),
]


def resolved(state: str, config: list[dict[str, Any]]) -> list[dict[str, Any]]:
    before, _warnings = vips(BEFORE)
    after, _warnings = vips(config, state, before)
    return [vip_to_config(after[key]) for key in sorted(after)]


def test_defaults_of_a_new_vip() -> None:
    full = {"flags": [], "hash": "maglev_v2", "down_reals": []}
    real = {"address": "10.0.0.9", "weight": 1, "state": "active", "local": False}
    for state in ("merged", "replaced", "overridden"):
        assert resolved(state, [vip(port=1, reals=reals("10.0.0.9"))])[0] == {**vip(port=1), **full, "reals": [real]}


def test_merged_keeps_what_is_not_mentioned() -> None:
    port_80, port_443 = resolved("merged", [vip(reals=[{"address": "10.0.0.2", "weight": 3}, {"address": "10.0.0.3"}])])
    assert port_80["port"] == 80
    assert (port_443["flags"], port_443["hash"]) == (["no_lru"], "maglev_v1")
    assert port_443["reals"] == [
        {"address": "10.0.0.1", "weight": 7, "state": "draining", "local": False},
        {"address": "10.0.0.2", "weight": 3, "state": "active", "local": False},
        {"address": "10.0.0.3", "weight": 1, "state": "active", "local": False},
    ]
    assert resolved("merged", [vip()]) == resolved("merged", [])
    given_none: dict[str, Any] = {"flags": None, "hash": None, "reals": None, "down_reals": None}
    assert resolved("merged", [vip(**given_none)]) == resolved("merged", [])


def test_merged_empties_what_is_mentioned_as_empty() -> None:
    _port_80, port_443 = resolved("merged", [vip(flags=[], down_reals=[])])
    assert (port_443["flags"], len(port_443["reals"])) == ([], 2)


def test_replaced_forgets_what_is_not_mentioned() -> None:
    port_80, port_443 = resolved("replaced", [vip(reals=reals("10.0.0.1"))])
    assert port_80["port"] == 80
    assert (port_443["flags"], port_443["hash"]) == ([], "maglev_v2")
    assert port_443["reals"] == [{"address": "10.0.0.1", "weight": 1, "state": "active", "local": False}]


def test_overridden_leaves_nothing_else() -> None:
    assert [entry["port"] for entry in resolved("overridden", [vip()])] == [443]


def test_deleted_needs_only_keys() -> None:
    assert [entry["port"] for entry in resolved("deleted", [vip(), vip(port=7)])] == [80]


def test_whole_result_is_checked_not_only_what_is_listed() -> None:
    before, _warnings = vips([vip(port=n) for n in range(4)])
    with pytest.raises(ConfigError, match=r"^vips: 5 VIPs, but sizes\.vips is 4$"):
        vips([vip(port=9)], before=before)


WIDE = Limits(DEFAULT_SIZES, frozenset(FEATURES))


@settings(deadline=None)
@given(first=VIPS, second=VIPS)
def test_what_comes_out_goes_in_and_changes_nothing(first: Any, second: Any) -> None:
    before, _warnings = resolve_vips({}, Asked(first, "merged", False, WIDE))
    for state in ("merged", "replaced", "overridden", "deleted"):
        after, _warnings = resolve_vips(before, Asked(second, state, True, WIDE))
        own_form = [vip_to_config(after[key]) for key in sorted(after)]
        assert vips_from_config(own_form) == after
        for again in ("merged", "replaced", "overridden"):
            assert resolve_vips(after, Asked(own_form, again, True, WIDE))[0] == after
            if state != "deleted":
                assert resolve_vips(after, Asked(second, state, True, WIDE))[0] == after
        assert (vip_changes(before, after) == []) == (before == after)
        assert vip_changes(after, after) == []


def test_down_reals_that_are_active_are_told() -> None:
    vip = {**GOOD, "port": 53, "protocol": "udp", "flags": ["udp_flow_migration"]}
    listed = {**vip, "reals": [{"address": "10.0.0.1"}, {"address": "10.0.0.2"}], "down_reals": ["10.0.0.1"]}
    _after, warnings = resolve_vips({}, Asked([listed], "merged", False, ALL))
    assert warnings == ["vips[0].down_reals: 10.0.0.1 is active among the VIP's reals too, so new flows still go there"]


# Addresses that cannot work


@pytest.mark.parametrize(
    "address",
    ["0.1.2.3", "126.255.255.255", "128.0.0.1", "169.253.0.1", "169.255.0.1", "223.255.255.255", "::1:0:0:1", "1::"],
)
def test_the_neighbours_of_refused_ranges(address: str) -> None:
    assert refused(vip(address)) == (address in ("0.1.2.3", "1::"))


def test_a_local_real_may_have_the_address_of_its_vip() -> None:
    entry = vip("198.51.100.7", reals=[{"address": "198.51.100.7", "local": True}])
    after, _warnings = resolve_vips({}, Asked([entry], "overridden", False, ALL))
    again = {**entry, "reals": [{"address": "198.51.100.7", "weight": 2}]}
    resolve_vips(after, Asked([again], "merged", False, ALL))
    assert fault([again]).startswith("vips[0].reals[0].address: 198.51.100.7 is the VIP itself")


@pytest.mark.parametrize(
    ("one", "other"),
    [("198.51.100.1", "198.51.100.1/32"), ("198.51.100.1/32", "198.51.100.1"), ("2001:db8::1", "2001:db8::1/128")],
)
def test_a_prefix_of_the_whole_length_is_the_address(one: str, other: str) -> None:
    exact, prefix = sorted((one, other), key=len)
    entries = [vip(address, port=443, reals=reals("fc00::1")) for address in (one, other)]
    host, whole = (f"[{text}]" if ":" in text else text for text in (exact, prefix))
    where = int(other == prefix)
    sentence = f"vips[{where}].address: {whole}:443/tcp is the same as {host}:443/tcp (vips[{1 - where}]); list it once"
    assert fault(entries) == sentence
    before, _warnings = resolve_vips({}, Asked(entries[:1], "overridden", False, ALL))
    with pytest.raises(ConfigError, match=r"^vips\[0\].address: .* is the same as .*; list it once$"):
        resolve_vips(before, Asked(entries[1:], "merged", False, ALL))
    # Beside another port or protocol it is another VIP, and may take the other's place.
    resolve_vips(before, Asked([{**entries[1], "port": 80}, {**entries[1], "protocol": "udp"}], "merged", False, ALL))
    resolve_vips(before, Asked(entries[1:], "overridden", False, ALL))


def test_what_an_earlier_version_let_in_stays_until_it_is_told_anew_and_can_be_taken_out() -> None:
    rows = [
        {**vip_to_config(only), "address": address, "reals": [VipReal(real)._asdict()]}
        for (only,) in [vips_from_config([GOOD_ROW]).values()]
        for address, real in (("127.0.0.1", "fe80::1"), ("0.0.0.0/0", "10.0.0.1"), ("198.51.100.1", "198.51.100.1"))
    ]
    kept, _warnings = resolve_vips({}, Asked(rows, "overridden", True, ALL, kept=True))
    assert [vip_to_config(found)["address"] for found in kept.values()] == [row["address"] for row in rows]
    assert fault(rows).count("vips[") == 4
    assert resolve_vips(kept, Asked(rows, "deleted", False, ALL)) == ({}, [])
    # What is not listed is no reason to refuse what is.
    resolve_vips(kept, Asked([vip("198.51.100.9")], "merged", False, ALL))


def test_a_port_that_looks_octal() -> None:
    assert resolve_vips({}, Asked([vip(port=0o443)], "merged", False, ALL))[1] == [
        "vips[0].port: 291 is what YAML makes of 443 with a 0 before it; if 443 is meant, write it without"
    ]


def test_a_real_that_a_vip_of_before_covers_is_refused_as_well() -> None:
    first, _warnings = resolve_vips({}, Asked([vip("198.51.100.50", port=0)]))
    second = [vip("198.51.100.51", reals=[{"address": "198.51.100.50"}])]
    covers = "198.51.100.50:0/tcp covers the real 198.51.100.50: what is sent to the real"
    with pytest.raises(ConfigError, match=f"^vips.0..reals: {covers}"):
        resolve_vips(first, Asked(second))
    with pytest.raises(ConfigError, match=f"^vips.0..address: {covers}"):
        resolve_vips({}, Asked([vip("198.51.100.50", port=0)], more_reals=["198.51.100.50"]))
    both, _warnings = resolve_vips(first, Asked(second, allow_own_addresses=True))
    assert len(both) == 2
    # What was let in before comes back at boot.
    kept = Asked([vip_to_config(each) for each in both.values()], "overridden", kept=True)
    assert resolve_vips({}, kept)[0] == both
