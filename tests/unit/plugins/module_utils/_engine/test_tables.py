# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each change of a table costs, and what killed runs leave to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.known_tables import known_table
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Clock, Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.tables import TableRun
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import HEALTHCHECK_MAPS
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import TABLES
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._engine.counted_runs import (
    ABC,
    WEB,
    A,
    B,
    C,
    D,
    apply,
    real,
    table,
    vip,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import (
    Fuse,
    FusedMaps,
    Host,
    MemoryFile,
    Shape,
)


def test_source_routes(host: Host) -> None:
    apply(host, ABC)
    first = [{"prefix": "192.0.2.0/24", "real": A}, {"prefix": "2001:db8::/32", "real": "fc00::1"}]
    result = table(host, "source_routes", *first)
    assert result.operations == {"lpm_src_v4": 1, "lpm_src_v6": 1, "reals": 1}
    assert result.changes == [
        "source route 192.0.2.0/24: added (10.0.0.1)",
        "source route 2001:db8::/32: added (fc00::1)",
    ]
    result = table(host, "source_routes", {"prefix": "192.0.2.0/24", "real": B}, state="merged")
    assert result.operations == {"lpm_src_v4": 1}
    assert result.changes == ["source route 192.0.2.0/24: 10.0.0.1 → 10.0.0.2"]
    result = table(host, "source_routes", {"prefix": "2001:db8::/32"}, state="deleted")
    assert result.operations == {"lpm_src_v6": 1, "reals": 1}
    assert result.changes == ["source route 2001:db8::/32: removed"]


def test_server_ids(host: Host) -> None:
    result = table(host, "server_ids", {"id": 1, "real": A}, {"id": 2, "real": A}, {"id": 99, "real": B})
    assert result.operations == {"reals": 2, "server_id_map": 3}
    assert result.warnings == []
    result = table(host, "server_ids", {"id": 2, "real": B}, {"id": 99, "real": B})
    assert result.operations == {"reals": 1, "server_id_map": 2}
    assert result.changes == ["server id 1: removed", "server id 2: 10.0.0.1 → 10.0.0.2"]
    assert result.warnings == [
        (
            "server id 2 moves from 10.0.0.1 to 10.0.0.2, where connections that carry it break: give a host an id that"
            " no other had"
        )
    ]
    assert table(host, "server_ids", {"id": 2, "real": B}, {"id": 99, "real": B}).warnings == []


def test_decap_destinations(host: Host) -> None:
    result = table(host, "decap_destinations", {"address": WEB, "egress": True}, {"address": "fc00::9", "egress": None})
    assert result.operations == {"decap_dst": 2}
    result = table(host, "decap_destinations", {"address": WEB, "egress": False}, state="merged")
    assert result.operations == {"decap_dst": 1}
    assert result.changes == ["decapsulation destination 198.51.100.1: egress → ingress"]


def test_all_reals_of_a_table_change_while_every_id_is_taken() -> None:
    host = Host(Shape.of(reals=4))
    table(host, "server_ids", *({"id": number, "real": f"10.0.0.{number}"} for number in (1, 2, 3)))
    host.maps.flows = {b"a": 1, b"b": 2}
    result = table(host, "server_ids", *({"id": number, "real": f"10.9.0.{number}"} for number in (1, 2, 3)))
    # Each entry goes before its id leads elsewhere, and comes back.
    assert result.operations == {"reals": 3, "server_id_map": 6}
    assert host.maps.flows == {}


@pytest.mark.parametrize("text", ["[", '[{"id": 1}]', '{"id": 1}', "[1]"])
def test_a_damaged_table_file_is_said_to_be_so(tmp_path: Path, text: str) -> None:
    file = StateFile("blue", "/sys/fs/bpf", str(tmp_path))
    file.write_file("server_ids.json", text)
    with pytest.raises(StateError, match=r"server_ids\.json is damaged \(.*\): move it away, and the next run adopts"):
        known_table(TABLES["server_ids"], file, file.read(), {"reals": {}})


def test_what_killed_runs_left_in_rings_is_safe_from_another_resources_run(host: Host) -> None:
    assert host.killed(50, "vips", [ABC])
    assert host.killed(1, "vips", [])
    assert {address for address, _local in host.actual().reals.values()} == {A, B, C}
    table(host, "server_ids", {"id": 1, "real": D})
    # No VIP has them as far as the file knows, but a ring may.
    assert {address for address, _local in host.actual().reals.values()} == {A, B, C, D}
    apply(host)
    assert {address for address, _local in host.actual().reals.values()} == {D}


def test_a_full_table_is_replaced(host: Host) -> None:
    """There is room for none of the new entries before the old ones are gone."""
    first = [{"prefix": f"192.0.{last}.0/24", "real": A} for last in range(10)]
    table(host, "source_routes", *first)
    second = [{"prefix": f"198.18.{last}.0/24", "real": A} for last in range(10)]
    assert table(host, "source_routes", *second).operations == {"lpm_src_v4": 20}


def test_a_killed_run_of_a_table_does_not_hide_what_somebody_did_to_others(host: Host) -> None:
    apply(host, ABC)
    table(host, "decap_destinations", {"address": "192.0.2.1"})
    assert host.killed(2, "server_ids", [{"id": 1, "real": "10.0.0.9"}])
    for name in ("vip_map", "decap_dst"):
        host.maps.delete(name, list(host.maps.entries(name)))
    result = apply(host, ABC)
    assert result.drift == ["vip 198.51.100.1:443/tcp: missing in vip_map, repaired"]
    result = table(host, "decap_destinations", {"address": "192.0.2.1"})
    assert result.drift == ["decapsulation destination 192.0.2.1: missing in decap_dst, repaired"]
    # Of what it began itself nothing is said, and when it has ended, everything is again.
    result = table(host, "server_ids")
    assert result.drift == []
    host.maps.delete("reals", list(host.maps.entries("reals"))[:1])
    assert [line for line in apply(host, ABC).drift if "missing in reals" in line]


def test_entries_that_a_killed_run_did_not_reach_keep_their_real(host: Host) -> None:
    table(host, "server_ids", {"id": 1, "real": A})
    # Killed with the intent saved and the new real written, before the entry leads to it.
    assert host.killed(2, "server_ids", [{"id": 1, "real": B}])
    apply(host, vip(reals=[real(C)]))
    assert host.actual().tables["server_id_map"] == {"1": A}
    assert {address for address, _local in host.actual().reals.values()} == {A, B, C}


def test_a_table_beside_the_balancer_keeps_no_state_of_one() -> None:
    fuse = Fuse()
    maps, file = FusedMaps(Shape.of(), fuse, HEALTHCHECK_MAPS), MemoryFile(fuse)

    def run(*config: tuple[int, str], state: str = "overridden") -> Result:
        request = Request("blue", "/sys/fs/bpf", 1, False)
        rows = [{"mark": mark, "real": address} for mark, address in config]
        return TableRun(TABLES["healthcheck_destinations"], request, maps, file, Clock()).run(Asked(rows, state, True))

    assert run((1, A), (2, "fc00::1")).operations == {"hc_reals_map": 2}
    assert file.files == {
        "healthcheck_destinations.json": f'[{{"mark": 1, "real": "{A}"}},\n{{"mark": 2, "real": "fc00::1"}}]\n'
    }
    steps = fuse.steps
    assert not run((1, A), (2, "fc00::1")).changed
    assert fuse.steps == steps
    maps.delete("hc_reals_map", list(maps.entries("hc_reals_map"))[:1])
    assert run((1, B), (2, "fc00::1")).changes == [f"mark 1: {A} → {B}"]
    maps.delete("hc_reals_map", list(maps.entries("hc_reals_map")))
    assert run(state="merged").drift == [f"mark {mark}: missing in hc_reals_map, repaired" for mark in (1, 2)]
    # Without its file, what the kernel has is what there was.
    file.files.clear()
    assert run((1, B)).changes == ["mark 2: removed"]
    assert run().changes == ["mark 1: removed"]
    assert maps.entries("hc_reals_map") == {}
