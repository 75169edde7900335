# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Source routes, server ids and destinations: what is accepted, and one sentence for each fault."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.table import Around
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import (
    TABLES,
    DecapDestination,
    HealthcheckDestination,
    ServerId,
    SourceRoute,
    server_id_warnings,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import (
    ALL,
    NONE,
    SIZES,
    route,
    server_id,
    table_fault,
    vip,
    vip6,
    vips,
)

ROUTES, IDS, DECAP, MARKS = (
    TABLES[name] for name in ("source_routes", "server_ids", "decap_destinations", "healthcheck_destinations")
)


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
            [route("::ffff:10.0.0.0/104", "fc00::1")],
            (
                "source_routes[0].prefix: ::ffff:10.0.0.0/104 has IPv4-mapped addresses alone (::ffff:0.0.0.0/96);"
                " write 10.0.0.0/8"
            ),
        ),
        (
            [route("127.0.0.0/16")],
            "source_routes[0].prefix: 127.0.0.0/16 has loopback addresses alone (127.0.0.0/8)",
        ),
        (
            [route("ff02::/16", "fc00::1")],
            "source_routes[0].prefix: ff02::/16 has multicast addresses alone (ff00::/8)",
        ),
        (
            [route("192.0.2.0/24\r")],
            r"source_routes[0].prefix: '192.0.2.0/24\r' has a carriage return in it (line ends of DOS)",
        ),
        ([route("192.0.2.0/24", "127.0.0.1")], "source_routes[0].real: 127.0.0.1 is a loopback address"),
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
    assert table_fault(ROUTES.resolve, config) == sentence


def test_source_routes() -> None:
    after = ROUTES.resolve(
        {}, Asked([route("0.0.0.0/0", "fc00::1"), route("2001:DB8::/32", "fc00::2")], "merged", False, ALL)
    )
    assert ROUTES.warnings(after.values(), Around(ALL, [vip6(flags=["source_routing"])], {}.get)) == []
    assert [(prefix.text, item.real) for prefix, item in after.items()] == [
        ("0.0.0.0/0", "fc00::1"),
        ("2001:db8::/32", "fc00::2"),
    ]
    again = ROUTES.resolve(after, Asked([{"prefix": "0.0.0.0/0"}], "merged", False, ALL))
    assert again == after
    moved = ROUTES.resolve(after, Asked([route("0.0.0.0/0")], "merged", False, ALL))
    assert [item.real for item in moved.values()] == ["10.0.0.1", "fc00::2"]
    assert table_fault(ROUTES.resolve, [{"prefix": "0.0.0.0/0"}], state="replaced") == (
        "source_routes[0].real: is missing"
    )
    rest = ROUTES.resolve(after, Asked([{"prefix": "0.0.0.0/0"}], "deleted", False, ALL))
    assert [prefix.text for prefix in rest] == ["2001:db8::/32"]
    only = ROUTES.resolve(after, Asked([route("10.0.0.0/8")], "overridden", False, ALL))
    assert only == {prefix: SourceRoute(prefix, "10.0.0.1") for prefix in only}
    assert len(only) == 1


def test_source_routes_that_no_vip_follows() -> None:
    after = ROUTES.resolve({}, Asked([route("192.0.2.0/24")], "merged", False, ALL))
    sentence = "source_routes: no packet follows them, as no VIP has flag source_routing"
    for around in ([], [vip6()], [vip6(flags=["no_lru"])]):
        assert ROUTES.warnings(after.values(), Around(ALL, around, {}.get)) == [sentence]
    # Check mode does not see the VIPs that the task before would have applied.
    assert ROUTES.warnings(after.values(), Around(ALL, [], {}.get, settled=False)) == []
    assert ROUTES.warnings([], Around(ALL, [], {}.get)) == []


def test_what_an_earlier_version_let_in_can_be_taken_out() -> None:
    row = {"prefix": "::ffff:10.0.0.0/104", "real": "fe80::1"}
    key, item = ROUTES.item(row)
    assert ROUTES.resolve({key: item}, Asked([row], "deleted", False, ALL)) == {}
    key, item = DECAP.item({"address": "127.0.0.1", "egress": False})
    assert DECAP.resolve({key: item}, Asked([{"address": "127.0.0.1"}], "deleted", False, ALL)) == {}


@pytest.mark.parametrize(
    ("table", "entry", "sentence"),
    [
        (DECAP, {"address": "127.0.0.1"}, "decap_destinations[0].address: 127.0.0.1 is a loopback address"),
        (DECAP, {"address": "fe80::9"}, "decap_destinations[0].address: fe80::9 is a link-local address"),
        (IDS, {"id": 1, "real": "::1"}, "server_ids[0].real: ::1 is a loopback address"),
        (MARKS, {"mark": 1, "real": "169.254.1.1"}, "healthcheck_destinations[0].real: 169.254.1.1 is a link-local"),
        (MARKS, {"mark": 1, "real": "0.0.0.5"}, "healthcheck_destinations[0].real: 0.0.0.5 is in 0.0.0.0/8, of which"),
    ],
)
def test_entries_do_not_lead_where_nothing_is_routed(table: Any, entry: dict[str, Any], sentence: str) -> None:
    assert table_fault(table.resolve, [entry]).startswith(sentence)


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
    assert table_fault(IDS.resolve, config) == sentence


def test_server_ids() -> None:
    hashed = Limits({**SIZES, "server_ids": 2}, frozenset({"server_id_hash"}))
    after = IDS.resolve({}, Asked([server_id(0xFFFFFFFF), server_id(7, "fc00::1")], "merged", False, hashed))
    assert after == {0xFFFFFFFF: ServerId(0xFFFFFFFF, "10.0.0.1"), 7: ServerId(7, "fc00::1")}
    three = [server_id(number) for number in (1, 2, 3)]
    assert table_fault(IDS.resolve, three, hashed) == "server_ids: 3 server ids, but sizes.server_ids is 2"
    assert table_fault(IDS.resolve, [server_id(1 << 32)], hashed) == (
        "server_ids[0].id: 4294967296 is not a server id (1 to 4294967295)"
    )
    assert list(IDS.resolve(after, Asked([{"id": 7}], "deleted", False, hashed))) == [0xFFFFFFFF]
    assert IDS.resolve(after, Asked([{"id": 7}], "merged", False, hashed)) == after


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
    assert table_fault(DECAP.resolve, config) == sentence


def test_decap_destinations() -> None:
    after = DECAP.resolve({}, Asked([{"address": "FC00::1", "egress": True}], "merged", False, ALL))
    assert after == {"fc00::1": DecapDestination("fc00::1", True)}
    assert DECAP.resolve(after, Asked([{"address": "fc00::1"}], "merged", False, ALL)) == after
    replaced = DECAP.resolve(after, Asked([{"address": "fc00::1"}], "replaced", False, ALL))
    assert replaced == {"fc00::1": DecapDestination("fc00::1", False)}
    assert DECAP.resolve(after, Asked([{"address": "fc00::1"}], "deleted", False, ALL)) == {}


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
        (
            [mark(n) for n in range(1, 65538)],
            "healthcheck_destinations: 65537 marks, but there is room for 65536",
        ),
    ],
)
def test_faults_of_healthcheck_destinations(config: list[dict[str, Any]], sentence: str) -> None:
    assert table_fault(MARKS.resolve, config) == sentence


def test_healthcheck_destinations() -> None:
    after = MARKS.resolve({}, Asked([mark(1, "FC00::1"), mark(2)], "merged", False, ALL))
    assert after == {1: HealthcheckDestination(1, "fc00::1"), 2: HealthcheckDestination(2, "10.0.0.1")}
    assert list(MARKS.resolve(after, Asked([{"mark": 1}], "deleted", False, ALL))) == [2]


@pytest.mark.parametrize(
    ("resolve", "config", "sentence"),
    [
        (ROUTES.resolve, [route("10.0.0.0/8")], "source_routes: needs feature source_routing"),
        (DECAP.resolve, [{"address": "10.0.0.1"}], "decap_destinations: needs feature inline_decap"),
    ],
)
def test_resources_whose_feature_is_not_compiled_in(resolve: Any, config: Any, sentence: str) -> None:
    assert table_fault(resolve, config, NONE) == sentence


@pytest.mark.parametrize(
    ("resolve", "name"),
    [
        (ROUTES.resolve, "source_routes"),
        (IDS.resolve, "server_ids"),
        (DECAP.resolve, "decap_destinations"),
        (MARKS.resolve, "healthcheck_destinations"),
    ],
)
@pytest.mark.parametrize("state", ["overridden", "deleted"])
def test_emptying_a_table_must_be_meant(resolve: Any, name: str, state: str) -> None:
    assert table_fault(resolve, [], state=state) == (
        f"config: state {state} with an empty or absent config would remove every entry of {name}:"
        " give allow_empty: true if that is meant"
    )
    assert resolve({}, Asked([], state, True, NONE)) == {}


def test_a_mark_leads_to_a_real_definition() -> None:
    entries = list(
        map(MARKS.entry, [HealthcheckDestination(1, "10.0.0.1"), HealthcheckDestination(2**32 - 1, "fc00::1")])
    )
    assert {entry.key: entry.value for entry in entries} == {
        bytes.fromhex("01000000"): bytes.fromhex("0a000001" + "00" * 16),
        bytes.fromhex("ffffffff"): bytes.fromhex("fc00" + "00" * 13 + "01" + "01000000"),
    }
    assert {(entry.map, entry.real) for entry in entries} == {("hc_reals_map", None)}
