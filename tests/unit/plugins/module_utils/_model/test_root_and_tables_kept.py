# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of root as they arrive, and rows of tables as the kernel and checks tell them."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import HC_SOURCE_IPV4, HC_SOURCE_IPV6
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import (
    RootRecord,
    RootSettings,
    kept_settings,
    parse_root,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.table import Around
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import TABLES, HealthcheckDestination
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import ALL

DECAP, MARKS, IDS, ROUTES = (
    TABLES[name] for name in ("decap_destinations", "healthcheck_destinations", "server_ids", "source_routes")
)


def test_options_of_root() -> None:
    found = parse_root({"interfaces": ["eth0"], "mode": "generic", "source_dir": "/src"})
    assert found == RootSettings(("eth0",), "generic", "/src")
    with pytest.raises(ConfigError, match=r"^interfaces\[1\]: eth0 is listed twice$"):
        parse_root({"interfaces": ["eth0", "eth0"], "mode": "native", "source_dir": "/src"})


def test_the_settings_of_roots_last_run() -> None:
    assert kept_settings(RootRecord()) is None
    assert kept_settings(RootRecord(interfaces=["eth0"])) is None
    assert kept_settings(RootRecord(mode="native")) is None
    record = RootRecord(interfaces=["eth0", "eth1"], mode="generic", source_dir="/src")
    assert kept_settings(record) == RootSettings(("eth0", "eth1"), "generic", "")


@pytest.mark.parametrize(("value", "egress"), [(0, False), (layout.DECAP_EGRESS, True), (~layout.DECAP_EGRESS, False)])
@pytest.mark.parametrize("address", ["198.51.100.1", "2001:db8::1"])
def test_decapsulation_destinations_in_the_kernel(address: str, value: int, egress: bool) -> None:
    row = DECAP.row_in("decap_dst", layout.pack_address(address), layout.u32(value & 0xFFFFFFFF), {})
    assert row == {"address": address, "egress": egress}


@pytest.mark.parametrize("real", ["10.0.0.1", "fd00::1"])
def test_marks_in_the_kernel(real: str) -> None:
    entry = MARKS.entry(HealthcheckDestination(7, real))
    assert MARKS.row_in(entry.map, entry.key, entry.value, {}) == {"mark": 7, "real": real}


def test_what_the_ids_do_not_tell() -> None:
    assert IDS.may_use([{"id": 1}]) == {"tcp_server_id", "server_id_hash"}
    assert IDS.may_use([]) == set()
    assert DECAP.may_use([{"address": "10.0.0.1"}]) == {"inline_decap"}
    assert DECAP.may_use([]) == set()
    assert ROUTES.may_use([{"prefix": "192.0.2.0/24"}]) == {"source_routing"}


def test_which_vips_follow_a_table() -> None:
    tcp = {"address": "198.51.100.1", "port": 443, "protocol": "tcp", "flags": []}
    assert not DECAP.followed_by(tcp)
    assert not MARKS.followed_by(tcp)
    assert IDS.followed_by(tcp)
    assert not ROUTES.followed_by(tcp)
    assert ROUTES.followed_by({**tcp, "flags": ["source_routing"]})


def test_probes_need_a_source_of_their_family() -> None:
    v4, v6 = HealthcheckDestination(1, "10.0.0.1"), HealthcheckDestination(2, "fd00::1")
    late = [v4, v6, HealthcheckDestination(3, "10.0.0.3"), HealthcheckDestination(4, "fd00::4")]
    no4 = (
        "healthcheck_destinations: 10.0.0.1 is IPv4, but program healthcheck has no IPv4 source"
        " (module katran.fleet.healthcheck, source_ipv4)"
    )
    no6 = (
        "healthcheck_destinations: fd00::1 is IPv6, but program healthcheck has no IPv6 source"
        " (module katran.fleet.healthcheck, source_ipv6)"
    )
    four, six = layout.u32(HC_SOURCE_IPV4), layout.u32(HC_SOURCE_IPV6)

    def warnings(items: list[HealthcheckDestination], sources: dict[bytes, bytes] | None) -> list[str]:
        return MARKS.warnings(items, Around(ALL, (), {"hc_pckt_srcs_map": sources}.get))

    assert warnings(late, {}) == [no4, no6]
    assert warnings(late, {four: b"x"}) == [no6]
    assert warnings(late, {six: b"x"}) == [no4]
    assert warnings(late, {four: b"x", six: b"x"}) == []
    assert warnings([v6], {}) == [no6]
    assert warnings(late, None) == []
