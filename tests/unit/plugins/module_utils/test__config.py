# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._ansible.specs import RESOURCE_CONFIG
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import (
    Address,
    Prefix,
    parse_addresses,
    read_address,
    read_prefix,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import Faults
from ansible_collections.katran.fleet.plugins.module_utils._model.features import (
    FEATURES,
    FLAG_FEATURES,
    features_needed,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import Limits, limits_of_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.overlay import Overlay, resolve_reals
from ansible_collections.katran.fleet.plugins.module_utils._model.readiness import hold_back_rows, hold_back_vips
from ansible_collections.katran.fleet.plugins.module_utils._model.resource_faults import config_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import (
    RootArray,
    parse_instance,
    parse_interfaces,
    parse_settings,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.shape import as_told, shape_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import (
    DecapDestination,
    HealthcheckDestination,
    ServerId,
    SourceRoute,
    resolve_decap_destinations,
    resolve_healthcheck_destinations,
    resolve_server_ids,
    resolve_source_routes,
    server_id_warnings,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import (
    HASHES,
    REAL_STATES,
    Vip,
    VipKey,
    vip_changes,
    vip_to_config,
    vips_from_config,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips_input import resolve_vips

SIZES = {**DEFAULT_SIZES, "vips": 4, "cidr_vips": 2, "reals": 6, "source_routes": 3, "server_ids": 100}
ALL = Limits(SIZES, frozenset(FEATURES) - {"server_id_hash"})
NONE = Limits(SIZES, frozenset())


def vip(address: Any = "198.51.100.1", port: Any = 443, protocol: Any = "tcp", **options: Any) -> dict[str, Any]:
    return {"address": address, "port": port, "protocol": protocol, **options}


def vip6(**options: Any) -> dict[str, Any]:
    return vip("2001:db8::1", **options)


def reals(*addresses: str) -> list[dict[str, Any]]:
    return [{"address": address} for address in addresses]


def vips(
    config: Any, state: str = "merged", before: Any = None, limits: Limits = ALL
) -> tuple[dict[VipKey, Vip], list[str]]:
    return resolve_vips(before or {}, config, state, False, limits)


def fault(config: Any, limits: Limits = ALL, state: str = "merged") -> str:
    with pytest.raises(ConfigError) as caught:
        resolve_vips({}, config, state, False, limits)
    return str(caught.value)


# One sentence for each rule.


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (vip("10.0.0"), "vips[0].address: 10.0.0 is not an IP address"),
        (vip("010.0.0.1"), "vips[0].address: 010.0.0.1 is not an IP address"),
        (vip("10.0.0.1 "), "vips[0].address: 10.0.0.1  is not an IP address"),
        (vip("fe80::1%eth0"), "vips[0].address: fe80::1%eth0 is not an IP address"),
        (vip("web.example"), "vips[0].address: web.example is not an IP address"),
        (vip(""), "vips[0].address:  is not an IP address"),
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
        (vip("ff00::/8"), "vips[0].address: ff00:: is not a unicast address"),
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
            vip("10.0.0.0", reals=reals("10.0.0.1", "fc00::1")),
            vip("10.0.0.0", protocol="udp", reals=reals("10.0.0.1")),
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
        resolve_vips(before, config, state, False, ALL, min_active=2)
    for state in ("replaced", "overridden"):
        with pytest.raises(ConfigError) as caught:
            resolve_vips(before, [vip(reals=reals("10.0.0.2"))], state, False, ALL, min_active=2)
        assert str(caught.value) == "vips[0].reals: 198.51.100.1:443/tcp has 1 active, but min_active is 2"


def test_a_real_that_is_not_ready_takes_no_new_flow() -> None:
    two, one = reals("10.0.0.1", "10.0.0.2"), reals("10.0.0.1")
    draining = [one[0], {"address": "10.0.0.2", "state": "draining"}]
    wanted, _warnings = vips([vip(reals=two)])
    unready = frozenset({"10.0.0.2", "10.0.0.9"})
    warning = "vip 198.51.100.1:443/tcp: no new flow to 10.0.0.2 yet, not ready (unready_reals)"
    for before, held in (
        ([], one),
        ([vip()], one),
        ([vip(reals=draining)], draining),
        ([vip(port=80, reals=two)], one),
    ):
        known, _warnings = vips(before)
        waiting, _warnings = vips([vip(reals=held)])
        assert hold_back_vips(known, wanted, unready, ()) == (waiting, [warning])
        assert hold_back_vips(known, waiting, unready, ()) == (waiting, [])
        assert hold_back_vips(known, wanted, (), ()) == (wanted, [])
    # What takes them already goes on.
    heavier, _warnings = vips([vip(reals=[one[0], {"address": "10.0.0.2", "weight": 9}])])
    assert hold_back_vips(wanted, heavier, unready, unready) == (heavier, [])


def test_a_real_that_nobody_looked_at_is_worth_a_warning() -> None:
    known, _warnings = vips([vip(reals=reals("10.0.0.1"))])
    wanted, _warnings = vips([vip(reals=reals("10.0.0.1", "10.0.0.2")), vip(port=80, reals=reals("10.0.0.1"))])
    assert hold_back_vips(known, wanted, (), {"10.0.0.1", "10.0.0.2"}) == (
        wanted,
        [
            "vip 198.51.100.1:80/tcp: new flows go to 10.0.0.1, not known to be ready (unseen_reals)",
            "vip 198.51.100.1:443/tcp: new flows go to 10.0.0.2, not known to be ready (unseen_reals)",
        ],
    )
    # A balancer that is new knows nothing at all.
    assert hold_back_vips({}, wanted, (), {"10.0.0.1", "10.0.0.2"}) == (wanted, [])


def test_no_entry_leads_newly_to_a_real_that_is_not_ready() -> None:
    def ids(**rows: str) -> dict[str, ServerId]:
        return {key: ServerId(ord(key), real) for key, real in rows.items()}

    unready = frozenset({"10.0.0.2"})
    before = ids(a="10.0.0.1", b="10.0.0.2", c="10.0.0.1")
    after = ids(a="10.0.0.2", b="10.0.0.2", d="10.0.0.2", e="10.0.0.3")
    held = ids(a="10.0.0.1", b="10.0.0.2", e="10.0.0.3")
    assert hold_back_rows(before, after, unready) == (held, ["a", "d"])
    assert hold_back_rows(before, after, frozenset()) == (after, [])
    destinations = {"192.0.2.1": DecapDestination("192.0.2.1", False)}
    assert hold_back_rows({}, destinations, unready) == (destinations, [])


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


def test_what_is_told_is_what_a_module_gets() -> None:
    """Ansible's own reading of the same arguments, resolved, ends in the same VIPs."""
    config = [vip(port="443", protocol="udp", flags="quic,no_lru", reals=[{"address": "10.0.0.1", "weight": "5"}])]
    spec = {"config": {"type": "list", "elements": "dict", "options": RESOURCE_CONFIG["vips"]}}
    read = ArgumentSpecValidator(spec).validate({"config": config}).validated_parameters["config"]
    told = [as_told(entry, RESOURCE_CONFIG["vips"]) for entry in config]
    assert vips(told) == vips(read)


@pytest.mark.parametrize("state", ["overridden", "deleted"])
@pytest.mark.parametrize("config", [None, []])
def test_removing_everything_must_be_meant(state: str, config: Any) -> None:
    sentence = (
        f"config: state {state} with an empty or absent config would remove every entry of vips:"
        " give allow_empty: true if that is meant"
    )
    assert fault(config, state=state) == sentence
    before, _warnings = vips([vip()])
    assert resolve_vips(before, config, state, True, ALL) == ({}, [])


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


# Any configuration, there and back.

HOSTS = st.one_of(
    st.ip_addresses(v=4, network="10.0.0.0/29").filter(lambda address: int(address) & 7),
    st.ip_addresses(v=6, network="fc00::/125").filter(lambda address: int(address) & 7),
).map(str)
REALS = st.lists(
    st.fixed_dictionaries(
        {"address": HOSTS},
        optional={"weight": st.integers(0, 10000), "state": st.sampled_from(REAL_STATES)},
    ),
    max_size=6,
    unique_by=lambda real: real["address"],
)
VIPS = st.lists(
    st.fixed_dictionaries(
        {
            "address": st.sampled_from(["192.0.2.1", "192.0.2.0/30", "192.0.2.8/29"]),
            "port": st.sampled_from([0, 443]),
            "protocol": st.sampled_from(["tcp", "udp"]),
        },
        optional={
            "flags": st.lists(st.sampled_from(sorted(layout.VIP_FLAGS)), unique=True),
            "hash": st.sampled_from(HASHES),
            "reals": REALS,
            "down_reals": st.lists(HOSTS, unique=True, max_size=3),
        },
    ),
    max_size=5,
    unique_by=lambda entry: (entry["address"], entry["port"], entry["protocol"]),
)
WIDE = Limits(DEFAULT_SIZES, frozenset(FEATURES))


@settings(deadline=None)
@given(first=VIPS, second=VIPS)
def test_what_comes_out_goes_in_and_changes_nothing(first: Any, second: Any) -> None:
    before, _warnings = resolve_vips({}, first, "merged", False, WIDE)
    for state in ("merged", "replaced", "overridden", "deleted"):
        after, _warnings = resolve_vips(before, second, state, True, WIDE)
        own_form = [vip_to_config(after[key]) for key in sorted(after)]
        assert vips_from_config(own_form) == after
        for again in ("merged", "replaced", "overridden"):
            assert resolve_vips(after, own_form, again, True, WIDE)[0] == after
            if state != "deleted":
                assert resolve_vips(after, second, state, True, WIDE)[0] == after
        assert (vip_changes(before, after) == []) == (before == after)
        assert vip_changes(after, after) == []


def test_own_form_is_sorted_and_canonical() -> None:
    after, _warnings = vips(
        [
            vip("2001:DB8::0:1", reals=reals("FC00:0::2", "fc00::1")),
            vip(port=80, protocol="udp", flags=["quic", "no_lru", "quic"], down_reals=["10.0.0.10", "10.0.0.9"]),
            vip(port=80),
        ]
    )
    assert [str(key) for key in sorted(after)] == [
        "198.51.100.1:80/tcp",
        "198.51.100.1:80/udp",
        "[2001:db8::1]:443/tcp",
    ]
    _tcp, udp, v6 = (vip_to_config(after[key]) for key in sorted(after))
    assert (udp["flags"], udp["down_reals"]) == (["no_lru", "quic"], ["10.0.0.9", "10.0.0.10"])
    assert [real["address"] for real in v6["reals"]] == ["fc00::1", "fc00::2"]


def test_vip_key_from_the_kernel() -> None:
    after, _warnings = vips([vip("192.0.2.0/30"), vip6()])
    for key in after:
        assert VipKey.of(key.packed, key.ipv6, key.prefixlen, key.port, key.protocol) == key
        assert str(VipKey.of(key.packed, key.ipv6, key.prefixlen, key.port, key.protocol)) == str(key)


@pytest.mark.parametrize(
    "name",
    ["198.51.100.1:443/tcp", "198.51.100.0/24:0/udp", "[2001:db8::1]:53/udp", "[2001:db8::/32]:0/tcp", "[::/0]:0/udp"],
)
def test_the_name_of_a_vip(name: str) -> None:
    assert str(VipKey.read(name)) == name


@pytest.mark.parametrize("name", ["", "web:443/tcp", "198.51.100.1/24:0/tcp", "198.51.100.1/tcp", "198.51.100.1:x/tcp"])
def test_what_is_no_name_of_a_vip(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        VipKey.read(name)


def test_changes_in_domain_words() -> None:
    before, _warnings = vips(
        [
            vip(reals=[{"address": "10.0.0.11"}, {"address": "10.0.0.12"}, {"address": "10.0.0.13", "local": True}]),
            vip(port=80),
        ]
    )
    after, _warnings = vips(
        [
            vip(
                flags=["no_lru"],
                hash="maglev_v1",
                reals=[
                    {"address": "10.0.0.9", "state": "draining"},
                    {"address": "10.0.0.11", "weight": 10},
                    {"address": "10.0.0.13", "local": False},
                    {"address": "10.0.0.14"},
                ],
                down_reals=["10.0.0.11"],
            ),
            vip(port=1, reals=reals("10.0.0.11")),
        ],
        "overridden",
    )
    assert vip_changes(before, after) == [
        "vip 198.51.100.1:1/tcp: added with 1 real",
        "vip 198.51.100.1:80/tcp: removed",
        "vip 198.51.100.1:443/tcp: flags none → no_lru",
        "vip 198.51.100.1:443/tcp: hash maglev_v2 → maglev_v1",
        "vip 198.51.100.1:443/tcp: real 10.0.0.9 added (weight 1, draining)",
        "vip 198.51.100.1:443/tcp: weight of 10.0.0.11 1 → 10",
        "vip 198.51.100.1:443/tcp: real 10.0.0.12 removed",
        "vip 198.51.100.1:443/tcp: local of 10.0.0.13 true → false",
        "vip 198.51.100.1:443/tcp: real 10.0.0.14 added (weight 1)",
        "vip 198.51.100.1:443/tcp: 10.0.0.11 listed as down",
    ]
    assert vip_changes(before=after, after=before)[-1] == "vip 198.51.100.1:443/tcp: 10.0.0.11 no longer listed as down"


# Addresses: as strict as inet_pton, which knows no short form, no octal and no zone.

TEXTS = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4}){2,3}", fullmatch=True),
    st.from_regex(r"[0-9a-fA-F:]{2,20}(\.[0-9]{1,3}){0,3}", fullmatch=True),
    st.text(max_size=6),
)


def pton(text: str) -> tuple[bool, bytes] | None:
    """(IPv6, packed) of an address as inet_pton reads it."""
    for ipv6, family in ((False, socket.AF_INET), (True, socket.AF_INET6)):
        with contextlib.suppress(OSError, ValueError):
            return ipv6, socket.inet_pton(family, text)
    return None


@given(text=TEXTS)
@example("10.0.0")
@example("010.0.0.1")
@example("10.0.0.1/8")
@example("10.0.0.1 ")
@example("fe80::1%lo")
@example("::ffff:1.2.3.4")
@example("1")
def test_addresses_as_inet_pton_reads_them(text: str) -> None:
    expected = pton(text)
    found = read_address(text)
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert (found.ipv6, found.packed) == (expected[0], expected[1].ljust(16, b"\0"))
    assert read_address(found.text) == found
    assert ipaddress.ip_address(found.text).packed == expected[1]


@given(network=st.one_of(st.ip_addresses(), st.ip_addresses(v=4)), length=st.integers(-1, 130))
def test_prefixes(network: Any, length: int) -> None:
    found = read_prefix(f"{network}/{length}")
    try:
        expected = ipaddress.ip_network(f"{network}/{length}")
    except ValueError:
        assert isinstance(found, str)
        return
    assert isinstance(found, Prefix)
    assert (found.address.packed, found.length) == (expected.network_address.packed.ljust(16, b"\0"), length)
    assert ipaddress.ip_network(found.text) == expected


# The other resources.


def table_fault(resolve: Any, config: Any, limits: Limits = ALL, state: str = "merged", **more: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve({}, config, state, False, limits, **more)
    return str(caught.value)


def route(prefix: Any, real: Any = "10.0.0.1") -> dict[str, Any]:
    return {"prefix": prefix, "real": real}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ([route("192.0.2.0")], "source_routes[0].prefix: 192.0.2.0 is not a prefix (ADDRESS/LENGTH)"),
        ([route("192.0.2/24")], "source_routes[0].prefix: 192.0.2/24 is not a prefix (ADDRESS/LENGTH)"),
        (
            [route("192.0.2.1/24")],
            "source_routes[0].prefix: 192.0.2.1/24 has host bits set; the network is 192.0.2.0/24",
        ),
        (
            [route("192.0.2.0/24"), route("192.0.2.0/24", "10.0.0.2")],
            "source_routes[1].prefix: 192.0.2.0/24 is listed twice",
        ),
        ([route("192.0.2.0/24", "10.0.0")], "source_routes[0].real: 10.0.0 is not an IP address"),
        ([route("192.0.2.0/24", None)], "source_routes[0].real: is missing"),
        ([route("192.0.2.0/24", "224.0.0.1")], "source_routes[0].real: 224.0.0.1 is not a unicast address"),
        (
            [route("2001:db8::/32")],
            "source_routes[0].real: 10.0.0.1 is IPv4, but the prefix 2001:db8::/32 is IPv6",
        ),
        (
            [route(f"10.{n}.0.0/16") for n in range(4)],
            "source_routes: 4 IPv4 prefixes, but sizes.source_routes is 3",
        ),
        (
            [route(f"fc0{n}::/16", "fc00::1") for n in range(4)],
            "source_routes: 4 IPv6 prefixes, but sizes.source_routes is 3",
        ),
    ],
)
def test_faults_of_source_routes(config: list[dict[str, Any]], sentence: str) -> None:
    assert table_fault(resolve_source_routes, config) == sentence


def test_source_routes() -> None:
    after, warnings = resolve_source_routes(
        {}, [route("0.0.0.0/0", "fc00::1"), route("2001:DB8::/32", "fc00::2")], "merged", False, ALL
    )
    assert warnings == []
    assert [(prefix.text, item.real) for prefix, item in after.items()] == [
        ("0.0.0.0/0", "fc00::1"),
        ("2001:db8::/32", "fc00::2"),
    ]
    again, _warnings = resolve_source_routes(after, [{"prefix": "0.0.0.0/0"}], "merged", False, ALL)
    assert again == after
    moved, _warnings = resolve_source_routes(after, [route("0.0.0.0/0")], "merged", False, ALL)
    assert [item.real for item in moved.values()] == ["10.0.0.1", "fc00::2"]
    assert table_fault(resolve_source_routes, [{"prefix": "0.0.0.0/0"}], state="replaced") == (
        "source_routes[0].real: is missing"
    )
    rest, _warnings = resolve_source_routes(after, [{"prefix": "0.0.0.0/0"}], "deleted", False, ALL)
    assert [prefix.text for prefix in rest] == ["2001:db8::/32"]
    only, _warnings = resolve_source_routes(after, [route("10.0.0.0/8")], "overridden", False, ALL)
    assert only == {prefix: SourceRoute(prefix, "10.0.0.1") for prefix in only}
    assert len(only) == 1


def server_id(number: Any, real: Any = "10.0.0.1") -> dict[str, Any]:
    return {"id": number, "real": real}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ([server_id(0)], "server_ids[0].id: 0 is not a server id (1 to 99)"),
        ([server_id(100)], "server_ids[0].id: 100 is not a server id (1 to 99; feature server_id_hash allows more)"),
        ([server_id("x")], "server_ids[0].id: x is not a server id (1 to 99)"),
        ([server_id(1), server_id(1, "10.0.0.2")], "server_ids[1].id: 1 leads to 10.0.0.1 and to 10.0.0.2"),
        ([server_id(1), server_id(1)], "server_ids[1].id: 1 is listed twice"),
        ([server_id(1, "10.0.0")], "server_ids[0].real: 10.0.0 is not an IP address"),
        ([server_id(1, None)], "server_ids[0].real: is missing"),
    ],
)
def test_faults_of_server_ids(config: list[dict[str, Any]], sentence: str) -> None:
    assert table_fault(resolve_server_ids, config) == sentence


def test_server_ids() -> None:
    hashed = Limits({**SIZES, "server_ids": 2}, frozenset({"server_id_hash"}))
    after, _warnings = resolve_server_ids({}, [server_id(0xFFFFFFFF), server_id(7, "fc00::1")], "merged", False, hashed)
    assert after == {0xFFFFFFFF: ServerId(0xFFFFFFFF, "10.0.0.1"), 7: ServerId(7, "fc00::1")}
    three = [server_id(number) for number in (1, 2, 3)]
    assert table_fault(resolve_server_ids, three, hashed) == "server_ids: 3 server ids, but sizes.server_ids is 2"
    assert table_fault(resolve_server_ids, [server_id(1 << 32)], hashed) == (
        "server_ids[0].id: 4294967296 is not a server id (1 to 4294967295)"
    )
    assert list(resolve_server_ids(after, [{"id": 7}], "deleted", False, hashed)[0]) == [0xFFFFFFFF]
    assert resolve_server_ids(after, [{"id": 7}], "merged", False, hashed)[0] == after


@pytest.mark.parametrize(
    ("entry", "feature", "warned"),
    [
        (vip6(protocol="udp", flags=["quic"]), "", True),
        (vip6(protocol="udp", flags=["udp_stable_routing"]), "udp_stable_routing", True),
        (vip6(), "tcp_server_id", True),
        (vip6(), "", False),
        (vip6(protocol="udp"), "tcp_server_id", False),
        (vip(protocol="udp", flags=["quic"]), "", False),
    ],
)
def test_warning_of_a_server_id_of_the_wrong_family(entry: dict[str, Any], feature: str, warned: bool) -> None:
    limits = Limits(SIZES, frozenset({feature} - {""}))
    after, _warnings = vips([entry], limits=limits)
    ids = [ServerId(1, "fc00::1"), ServerId(2, "10.0.0.2"), ServerId(3, "10.0.0.1")]
    sentence = (
        f"server_ids: 10.0.0.1, 10.0.0.2 cannot take packets of the IPv6 VIP {next(iter(after))},"
        " which may route by server id"
    )
    assert server_id_warnings(ids, after.values(), limits) == ([sentence] if warned else [])
    assert server_id_warnings(ids[:1], after.values(), limits) == []


def test_warning_names_three_reals_at_most() -> None:
    after, _warnings = vips([vip6(protocol="udp", flags=["quic"])])
    ids = [ServerId(n, f"10.0.0.{n}") for n in range(1, 6)]
    assert server_id_warnings(ids, after.values(), ALL)[0].startswith(
        "server_ids: 10.0.0.1, 10.0.0.2, 10.0.0.3 and 2 more "
    )


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ([{"address": "10.0.0"}], "decap_destinations[0].address: 10.0.0 is not an IP address"),
        ([{}], "decap_destinations[0].address: is missing"),
        (
            [{"address": "fc00::"}],
            (
                "decap_destinations[0].address: fc00:: ends in twelve zero bytes,"
                " as IPv4 addresses do in the kernel's tables"
            ),
        ),
        ([{"address": "10.0.0.1"}] * 2, "decap_destinations[1].address: 10.0.0.1 is listed twice"),
        (
            [{"address": f"10.0.0.{n}"} for n in range(1, 6)],
            "decap_destinations: 5 addresses, but sizes.vips is 4",
        ),
    ],
)
def test_faults_of_decap_destinations(config: list[dict[str, Any]], sentence: str) -> None:
    assert table_fault(resolve_decap_destinations, config) == sentence


def test_decap_destinations() -> None:
    after, _warnings = resolve_decap_destinations({}, [{"address": "FC00::1", "egress": True}], "merged", False, ALL)
    assert after == {"fc00::1": DecapDestination("fc00::1", True)}
    assert resolve_decap_destinations(after, [{"address": "fc00::1"}], "merged", False, ALL)[0] == after
    replaced, _warnings = resolve_decap_destinations(after, [{"address": "fc00::1"}], "replaced", False, ALL)
    assert replaced == {"fc00::1": DecapDestination("fc00::1", False)}
    assert resolve_decap_destinations(after, [{"address": "fc00::1"}], "deleted", False, ALL)[0] == {}


def mark(number: Any, real: Any = "10.0.0.1") -> dict[str, Any]:
    return {"mark": number, "real": real}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ([mark(0)], "healthcheck_destinations[0].mark: 0 is not a mark (1 to 4294967295)"),
        ([mark(1 << 32)], "healthcheck_destinations[0].mark: 4294967296 is not a mark (1 to 4294967295)"),
        ([mark(1), mark(1)], "healthcheck_destinations[1].mark: 1 is listed twice"),
        ([mark(1, "10.0.0")], "healthcheck_destinations[0].real: 10.0.0 is not an IP address"),
        ([mark(1, None)], "healthcheck_destinations[0].real: is missing"),
        ([mark(n) for n in range(1, 8)], "healthcheck_destinations: 7 marks, but sizes.reals is 6"),
    ],
)
def test_faults_of_healthcheck_destinations(config: list[dict[str, Any]], sentence: str) -> None:
    assert table_fault(resolve_healthcheck_destinations, config) == sentence


def test_healthcheck_destinations() -> None:
    after, _warnings = resolve_healthcheck_destinations({}, [mark(1, "FC00::1"), mark(2)], "merged", False, ALL)
    assert after == {1: HealthcheckDestination(1, "fc00::1"), 2: HealthcheckDestination(2, "10.0.0.1")}
    assert list(resolve_healthcheck_destinations(after, [{"mark": 1}], "deleted", False, ALL)[0]) == [2]


@pytest.mark.parametrize(
    ("resolve", "config", "sentence"),
    [
        (resolve_source_routes, [route("10.0.0.0/8")], "source_routes: needs feature source_routing"),
        (resolve_decap_destinations, [{"address": "10.0.0.1"}], "decap_destinations: needs feature inline_decap"),
    ],
)
def test_resources_whose_feature_is_not_compiled_in(resolve: Any, config: Any, sentence: str) -> None:
    assert table_fault(resolve, config, NONE) == sentence


@pytest.mark.parametrize(
    ("resolve", "name"),
    [
        (resolve_source_routes, "source_routes"),
        (resolve_server_ids, "server_ids"),
        (resolve_decap_destinations, "decap_destinations"),
        (resolve_healthcheck_destinations, "healthcheck_destinations"),
    ],
)
@pytest.mark.parametrize("state", ["overridden", "deleted"])
def test_emptying_a_table_must_be_meant(resolve: Any, name: str, state: str) -> None:
    assert table_fault(resolve, [], state=state) == (
        f"config: state {state} with an empty or absent config would remove every entry of {name}:"
        " give allow_empty: true if that is meant"
    )
    assert resolve({}, [], state, True, NONE) == ({}, [])


NOW = "2026-01-02T03:04:05+00:00"


def overlay(before: Any, config: Any, state: str = "merged") -> tuple[dict[str, Overlay], list[str]]:
    return resolve_reals(before, config, state, False, ALL, NOW, ["10.0.0.1", "10.0.0.2"])


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ([{"address": "10.0.0", "state": "down"}], "reals[0].address: 10.0.0 is not an IP address"),
        ([{"address": "10.0.0.1"}], "reals[0].state: is missing"),
        ([{"address": "10.0.0.1", "state": "up"}], "reals[0].state: up is none of active, draining, down"),
        ([{"address": "10.0.0.1", "state": "down"}] * 2, "reals[1].address: 10.0.0.1 is listed twice"),
    ],
)
def test_faults_of_the_overlay(config: list[dict[str, Any]], sentence: str) -> None:
    assert table_fault(resolve_reals, config, since=NOW, known=["10.0.0.1"]) == sentence


def test_overlay() -> None:
    after, warnings = overlay({}, [{"address": "10.0.0.1", "state": "draining"}])
    assert (after, warnings) == ({"10.0.0.1": Overlay("10.0.0.1", "draining", NOW)}, [])
    early = {"10.0.0.1": Overlay("10.0.0.1", "draining", "2025-01-01T00:00:00+00:00")}
    assert overlay(early, [{"address": "10.0.0.1", "state": "draining"}])[0] == early
    assert overlay(early, [{"address": "10.0.0.1", "state": "down"}])[0] == {
        "10.0.0.1": Overlay("10.0.0.1", "down", NOW)
    }
    assert overlay(early, [{"address": "10.0.0.1"}], "deleted") == ({}, [])
    assert overlay({}, [{"address": "10.0.0.3", "state": "down"}])[1] == [
        "reals[0].address: no VIP has the real 10.0.0.3"
    ]


# The balancer.

SETTINGS: dict[str, Any] = {
    "state": "attached",
    "interfaces": ["eth0"],
    "mode": "native",
    "encapsulation": "ipip",
    "gue_port": 6080,
    "features": [],
    "source_ipv4": "auto",
    "source_ipv6": "auto",
    "source_prefix_ipv4": "172.16.0.0/16",
    "source_prefix_ipv6": "100::/64",
    "gateway_mac": "auto",
    "copy_tos": True,
    "decap_any": False,
    "sizes": {},
    "max_frame": 1514,
    "max_new_flows": 125000,
    "udp_timeout": 30,
    "forwarding_cores": "auto",
    "replace_foreign": False,
}


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
                " flows, global_flows"
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


@pytest.mark.parametrize("instance", ["default", "0", "a" * 32, "a_b-c"])
def test_instances(instance: str) -> None:
    parse_instance(instance, "/sys/fs/bpf")


@pytest.mark.parametrize("instance", ["", "A", "-a", "a" * 33, "a/b", "..", "a\n"])
def test_faults_of_instances(instance: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_instance(instance, "/sys/fs/bpf")
    assert str(caught.value) == (
        f"instance: {instance!r} must begin with a lower case letter or digit, then up to 31 of these, _ or -"
    )


def test_fault_of_bpffs() -> None:
    with pytest.raises(ConfigError, match=r"^bpffs: sys/fs/bpf is not an absolute path$"):
        parse_instance("default", "sys/fs/bpf")


# Features.


@pytest.mark.parametrize(
    ("variables", "features"),
    [
        ({}, []),
        ({"vips": [vip(flags=["quic", "no_lru"])]}, []),
        ({"vips": [vip("10.0.0.0/8")]}, ["cidr_vips"]),
        ({"vips": [vip(down_reals=["10.0.0.1"])]}, ["udp_flow_migration"]),
        ({"vips": [vip(reals=[{"address": "10.0.0.1", "local": True}])]}, ["local_delivery"]),
        *(({"vips": [vip(flags=[flag])]}, [feature]) for flag, feature in FLAG_FEATURES.items()),
        ({"source_routes": [route("10.0.0.0/8")]}, ["source_routing"]),
        ({"decap_destinations": [{"address": "10.0.0.1"}]}, ["inline_decap"]),
        ({"server_ids": [server_id(1)], "vips": [vip()]}, ["tcp_server_id"]),
        ({"server_ids": [server_id(1)], "vips": [vip(), vip(protocol="udp", flags=["quic"])]}, []),
        ({"server_ids": [server_id(1)], "vips": [vip(protocol="udp")]}, []),
        ({"server_ids": [server_id(DEFAULT_SIZES["server_ids"])]}, ["server_id_hash"]),
        ({"server_ids": [server_id(DEFAULT_SIZES["server_ids"] - 1)]}, []),
        ({"server_ids": [server_id("nonsense")]}, []),
    ],
)
def test_features_needed(variables: dict[str, Any], features: list[str]) -> None:
    assert features_needed(**variables) == features


@settings(deadline=None)
@given(config=VIPS)
def test_what_needs_no_more_features_has_them(config: Any) -> None:
    def entries() -> Iterator[Any]:
        yield from config

    needed = features_needed(entries())
    resolve_vips({}, config, "merged", False, Limits(DEFAULT_SIZES, frozenset(needed)))
    for feature in needed:
        with pytest.raises(ConfigError, match=f"feature {feature}"):
            resolve_vips({}, config, "merged", False, Limits(DEFAULT_SIZES, frozenset(needed) - {feature}))


def test_limits_of_settings() -> None:
    parsed = parse_settings({**SETTINGS, "features": ["vlan"]})
    limits = limits_of_settings(parsed.to_config())
    assert limits == Limits(DEFAULT_SIZES, frozenset({"vlan"}))


def test_lists_of_addresses_and_interfaces() -> None:
    faults = Faults()
    assert parse_addresses(["FC00::1", "fc00::1", "10.0.0.1", "10.0.0"], "sources", faults) == (
        "fc00::1",
        "10.0.0.1",
    )
    assert parse_interfaces(["lo"], faults) == ("lo",)
    assert faults.lines == ["sources[3]: 10.0.0 is not an IP address"]


def test_an_address_knows_itself() -> None:
    assert read_address("10.0.0.1") == Address("10.0.0.1", bytes([10, 0, 0, 1]) + bytes(12), False)


# The shape of what is listed


SHAPE: Any = {
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "required": True},
    "flags": {"type": "list", "elements": "str", "choices": ["quic", "no_lru"]},
    "reals": {
        "type": "list",
        "elements": "dict",
        "options": {"address": {"type": "str", "required": True}, "local": {"type": "bool"}},
    },
}
GOOD = {"address": "198.51.100.1", "port": "443", "protocol": "tcp"}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (None, ""),
        ([GOOD, {**GOOD, "flags": "quic,no_lru", "reals": [{"address": "10.0.0.1", "local": "yes"}]}], ""),
        ("x", "config: x is not a list"),
        ([GOOD, None], "vips[1]: is empty"),
        (["x"], "vips[0]: x is not a mapping"),
        ([GOOD, {**GOOD, "port": "https"}], "vips[1].port: https is not a whole number"),
        ([{**GOOD, "port": True}], "vips[0].port: True is not a whole number"),
        ([{**GOOD, "protocol": "TCP"}], "vips[0].protocol: TCP is none of tcp, udp"),
        ([{**GOOD, "flags": ["quic", "quik"]}], "vips[0].flags: quik is none of quic, no_lru"),
        ([{**GOOD, "flags": {"quic": True}}], "vips[0].flags: {'quic': True} is not a list"),
        ([{**GOOD, "address": ["x"]}], "vips[0].address: ['x'] is not a text"),
        (
            [{**GOOD, "reals": [{"addres": "10.0.0.1"}]}],
            (
                "vips[0].reals[0].addres: there is no such option; there are address, local; "
                "vips[0].reals[0].address: is missing"
            ),
        ),
        (
            [{**GOOD, "reals": [{"address": "x", "local": "here"}]}],
            "vips[0].reals[0].local: here is neither true nor false",
        ),
        ([{**GOOD, "reals": "10.0.0.1"}], "vips[0].reals: 10.0.0.1 is not a list"),
    ],
)
def test_entries_that_are_not_what_they_should_be(config: Any, sentence: str) -> None:
    assert shape_faults("vips", config, SHAPE) == sentence


def test_twenty_of_them_and_the_rest_counted() -> None:
    told = shape_faults("vips", [{**GOOD, "port": "x"}] * 25, SHAPE).split("; ")
    assert (len(told), told[-1]) == (21, "and 5 more")


@pytest.mark.parametrize("text", ["10.0.0.1", "2001:DB8::1", "::ffff:1.2.3.4", "10.0.0", "fe80::1%lo", "x", ""])
def test_addresses_are_read_alike_without_netaddr(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_address.__wrapped__(text)
    monkeypatch.setitem(sys.modules, "netaddr", None)
    assert read_address.__wrapped__(text) == expected


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


def test_down_reals_that_are_active_are_told() -> None:
    vip = {**GOOD, "port": 53, "protocol": "udp", "flags": ["udp_flow_migration"]}
    listed = {**vip, "reals": [{"address": "10.0.0.1"}, {"address": "10.0.0.2"}], "down_reals": ["10.0.0.1"]}
    _after, warnings = resolve_vips({}, [listed], "merged", False, ALL)
    assert warnings == ["vips[0].down_reals: 10.0.0.1 is active among the VIP's reals too, so new flows still go there"]


def test_a_word_is_a_list_of_flags() -> None:
    assert features_needed([{"address": "x", "flags": "udp_stable_routing,quic"}]) == ["udp_stable_routing"]
