# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table that nobody knows but this file: its description is all that a run, a recovery and a module take."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError, EngineError
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import HASH, MapSpec
from ansible_collections.katran.fleet.plugins.module_utils._model.resource import UNREADY
from ansible_collections.katran.fleet.plugins.module_utils._model.shape import Options, is_number
from ansible_collections.katran.fleet.plugins.module_utils._model.table import Table, TableEntry
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import BALANCER_TABLES, TABLES
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Host

A, B, C = (f"10.0.0.{last}" for last in (1, 2, 3))


class Mirror(t.NamedTuple):
    """Packets to a port are copied to a real."""

    port: int
    real: str


class Mirrors(Table[int, Mirror]):
    """A resource that is not there."""

    name = "mirrors"
    noun = "mirror of port"
    options: t.ClassVar[Options] = {"port": {"type": "int", "required": True}, "real": {"type": "str"}}
    module_options = UNREADY
    maps = ("mirror_map",)
    key = "port"
    feature = "source_routing"
    size = "source_routes"
    plural = "mirrors"
    make = Mirror

    def read_key(self, value: t.Any, limits: Limits) -> int:
        del limits
        if not is_number(value, 1, 65535):
            raise ConfigError(f"{value} is not a port (1 to 65535)")
        return int(value)

    def entry(self, item: Mirror) -> TableEntry:
        return TableEntry("mirror_map", item.port.to_bytes(2, "big"), item.real)

    def key_in(self, name: str, key: bytes) -> int:
        del name
        return int.from_bytes(key, "big")


def mirror(port: t.Any, real: t.Any = A) -> dict[str, t.Any]:
    return {"port": port, "real": real}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    for tables in (TABLES, BALANCER_TABLES):
        monkeypatch.setitem(tables, "mirrors", Mirrors())
    return Host(more=[MapSpec("mirror_map", HASH, 2, 4, lambda sizes: sizes["source_routes"])])


def leads(host: Host) -> dict[int, str]:
    """Port → the real that its entry leads to, as the maps say."""
    reals = {number: address for number, (address, _local) in host.actual().reals.items()}
    entries = host.maps.entries("mirror_map").items()
    return {int.from_bytes(key, "big"): reals[int.from_bytes(value, "little")] for key, value in entries}


def test_entries_appear_change_and_go(host: Host) -> None:
    foretold = host.check("mirrors", [mirror(80), mirror(443, B)])
    assert leads(host) == {}
    done = host.run("mirrors", [mirror(80), mirror(443, B)])
    assert done.operations == foretold.operations == {"mirror_map": 2, "reals": 2}
    assert done.changes == ["mirror of port 80: added (10.0.0.1)", "mirror of port 443: added (10.0.0.2)"]
    assert (done.before, done.after) == ([], [mirror(80), mirror(443, B)])
    assert leads(host) == {80: A, 443: B}

    done = host.run("mirrors", [mirror(443, C), {"port": 80}], "merged")
    assert done.changes == ["mirror of port 443: 10.0.0.2 → 10.0.0.3"]
    assert (done.before, done.after) == ([mirror(443, B)], [mirror(443, C)])
    assert leads(host) == {80: A, 443: C}

    done = host.run("mirrors", [{"port": 80}], "deleted")
    assert done.changes == ["mirror of port 80: removed"]
    assert done.operations == {"mirror_map": 1, "reals": 1}
    assert leads(host) == {443: C}
    assert [address for address, _local in host.actual().reals.values()] == [C]


def test_a_second_run_writes_nothing(host: Host) -> None:
    host.run("mirrors", [mirror(80), mirror(443, B)])
    before, steps = host.everything(), host.fuse.steps
    for state in ("overridden", "replaced", "merged"):
        assert not host.run("mirrors", [mirror(443, B), mirror(80)], state).changed
    assert (host.everything(), host.fuse.steps) == (before, steps)


def test_what_somebody_else_changed_is_told_and_repaired(host: Host) -> None:
    host.run("mirrors", [mirror(80), mirror(443, B)])
    host.maps.delete("mirror_map", [(80).to_bytes(2, "big")])
    host.maps.put("mirror_map", [((53).to_bytes(2, "big"), bytes(4))])
    done = host.run("mirrors", [], "merged")
    assert done.drift == [
        "mirror of port 80: missing in mirror_map, repaired",
        "mirror of port 53: not ours, removed from mirror_map",
    ]
    assert leads(host) == {80: A, 443: B}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ([mirror(0)], "mirrors[0].port: 0 is not a port (1 to 65535)"),
        ([mirror(80), mirror(80, B)], "mirrors[1].port: 80 is listed twice"),
        ([mirror(80, "10.0.0")], "mirrors[0].real: 10.0.0 is not an IP address"),
        ([mirror(80, None), mirror("x")], "mirrors[0].real: is missing; mirrors[1].port: x is not a port (1 to 65535)"),
        ([mirror(port) for port in range(1, 8)], "mirrors: 7 mirrors, but sizes.source_routes is 6"),
        (
            None,
            (
                "config: state overridden with an empty or absent config would remove every entry of mirrors: give"
                " allow_empty: true if that is meant"
            ),
        ),
    ],
)
def test_faults(host: Host, config: t.Any, sentence: str) -> None:
    before = host.everything()
    with pytest.raises(ConfigError) as caught:
        host.run("mirrors", config, allow_empty=False)
    assert str(caught.value) == sentence
    assert host.everything() == before


def test_a_program_without_its_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLES, "mirrors", Mirrors())
    with pytest.raises(EngineError, match=r"^mirrors: needs feature source_routing$"):
        Host().run("mirrors", [mirror(80)])


def test_its_reals_outlive_other_resources_runs(host: Host) -> None:
    host.run("mirrors", [mirror(80)])
    host.run("server_ids", [{"id": 7, "real": B}])
    host.run("server_ids", [])
    assert leads(host) == {80: A}


def test_what_a_killed_run_left_behind_is_put_in_order(host: Host) -> None:
    host.run("mirrors", [mirror(80), mirror(443, B)])
    after = 0
    while host.killed(after, "mirrors", [mirror(80, B), mirror(53, C)]):
        assert not host.run("mirrors", [mirror(80, B), mirror(53, C)]).drift
        assert leads(host) == {80: B, 53: C}
        host.run("mirrors", [mirror(80), mirror(443, B)])
        after += 1
    assert after > 4


def test_it_is_adopted_where_every_file_was_lost(host: Host) -> None:
    host.run("mirrors", [mirror(80), mirror(443, B)])
    host.file.files.clear()
    done = host.run("mirrors", [], "merged")
    assert (done.changes, leads(host)) == ([], {80: A, 443: B})
    assert host.run("mirrors", [mirror(80)]).changes == ["mirror of port 443: removed"]


def test_the_options_of_its_module() -> None:
    arguments = {"config": [{"port": "80", "real": A}], "state": "deleted"}
    read = ArgumentSpecValidator(Mirrors().spec()).validate(arguments)
    assert read.error_messages == []
    assert read.validated_parameters == {
        "config": [mirror(80)],
        "state": "deleted",
        "allow_empty": False,
        "unready_reals": [],
        "planned": None,
    }
