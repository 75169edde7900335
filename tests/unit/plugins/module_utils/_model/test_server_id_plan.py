# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does to program server_id_option, and the lines that name it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError, ProgramError, StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.operations import Put
from ansible_collections.katran.fleet.plugins.module_utils._model.server_id_plan import (
    AttachGroup,
    DetachGroup,
    PutDropIn,
    ReadUnits,
    ResizeMap,
    RestartUnit,
    ServerIdPlan,
    ServerIdSnapshot,
    UnitPlace,
    plan_removal,
    plan_server_id,
    server_id_specs,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.server_id_record import (
    SOCKETS,
    ServerIdKept,
    ServerIdRecord,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.server_id_settings import (
    SERVER_ID_OPTION,
    ServerIdSettings,
    kept_settings,
    parse_server_id,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import MapInfo, Missing, ProgramInfo
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import Conclude, Intend, Keep, Load, in_order
from ansible_collections.katran.fleet.plugins.module_utils._model.unit_names import drop_in_text

WEB, SLICE = "web.service", "apps.slice"
SETTINGS = ServerIdSettings((WEB,), 7, 0, 100, False, "/src")
SPECS = server_id_specs(100)
MAPS = {
    spec.name: MapInfo(spec.type, 100 + at, spec.key_size, spec.value_size, spec.entries({}), spec.flags, spec.name)
    for at, spec in enumerate(SPECS)
}
PROGRAM = ProgramInfo(13, 77, "bb", 1, 1, tuple(info.id for info in MAPS.values()), "server_id_optio")
RECORD = ServerIdRecord("", "dd", "bb", [], [WEB], [WEB], ServerIdKept(7, 0, 100, "/src"))
PLACE = UnitPlace(group="/g/web.service", programs=(5, 77, 6), drop_in=drop_in_text("default"))
GOOD = ServerIdSnapshot(
    maps=MAPS,
    current=PROGRAM,
    pins=frozenset({77}),
    running={77: PROGRAM},
    digest="dd",
    kept=Bytecode("server_id_option", bytes(8), tuple(MAPS), "dd", 1.0),
    places={WEB: PLACE},
    ids=(7, 0),
)


def plan(settings: ServerIdSettings = SETTINGS, record: ServerIdRecord = RECORD, **seen: Any) -> ServerIdPlan:
    return plan_server_id(settings, "default", record, replace(GOOD, **seen))


def web(**changes: Any) -> dict[str, UnitPlace]:
    return {WEB: replace(PLACE, **changes)}


def test_nothing_is_done_twice() -> None:
    found = plan()
    assert (found.steps, found.changes, found.warnings) == ([], [], [])


def test_another_program_takes_the_place_of_ours_alone() -> None:
    found = plan(digest="ee")
    assert found.of(AttachGroup) == [AttachGroup(WEB, "/g/web.service", 77)]
    assert found.of(DetachGroup) == []
    # Its place is taken over before it is the present one, and that is on record last.
    kinds = [type(step) for step in in_order(found.steps)]
    assert kinds.index(Load) < kinds.index(AttachGroup) < kinds.index(Keep) < kinds.index(Conclude)


def test_a_second_one_of_ours_goes() -> None:
    older = replace(PROGRAM, id=70)
    found = plan(places=web(programs=(70, 77)), running={70: older, 77: PROGRAM})
    assert found.of(AttachGroup) == []
    assert found.of(DetachGroup) == [DetachGroup(WEB, "/g/web.service", 70)]
    found = plan(places=web(programs=(70, 5)), running={70: older})
    assert found.of(AttachGroup) == [AttachGroup(WEB, "/g/web.service", 70)]


def test_a_unit_that_does_not_run_is_told_for_its_start() -> None:
    found = plan(places=web(group="", programs=(), drop_in=None))
    assert found.changes == [
        f"say that {WEB} attaches server_id_option whenever it starts",
        "have systemd read its units",
    ]
    assert found.warnings == []
    settings = replace(SETTINGS, units=(SLICE,))
    found = plan(settings, places={SLICE: UnitPlace()})
    assert not found.of(PutDropIn)
    assert found.warnings == [
        f"{SLICE} has no processes, and so no control group: the next run attaches the program once it has"
    ]


def test_systemd_reads_what_it_has_not() -> None:
    assert plan(places=web(unread=True)).changes == ["have systemd read its units"]


def test_a_boot_writes_no_files_and_does_without() -> None:
    settings = replace(SETTINGS, source_dir="", units=(WEB, "gone.service"))
    places = {WEB: replace(PLACE, drop_in=None, unread=True, programs=()), "gone.service": UnitPlace(False)}
    found = plan(settings, places=places, digest=None)
    assert found.of(PutDropIn) == found.of(ReadUnits) == []
    assert found.changes == [f"attach server_id_option to {WEB}"]
    assert found.missing == ["unit gone.service does not exist on this host"]
    # What is wanted stays so.
    assert found.of(Conclude)[0].record.wanted == [WEB, "gone.service"]


def test_who_listens_is_restarted_or_told() -> None:
    places = {WEB: replace(PLACE, listeners={1: 443, 2: 80, 3: 22}), SLICE: UnitPlace(group="/g/a", listeners={4: 81})}
    settings = replace(SETTINGS, units=(WEB, SLICE))
    found = plan(settings, places=places, named=frozenset({3}))
    assert found.to_restart == [WEB]
    assert found.warnings == [
        (
            f"{WEB} listens already (TCP ports 80, 443): its connections carry the id after it is restarted (systemctl"
            f" restart {WEB}, or restart: true)"
        ),
        (
            f"{SLICE} listens already (TCP port 81): these connections carry the id after the services in it are"
            " restarted"
        ),
    ]
    found = plan(replace(settings, restart=True), places=places)
    assert found.of(RestartUnit) == [RestartUnit(WEB)]
    # All else is there and on record before.
    assert in_order(found.steps)[-1] == RestartUnit(WEB)
    assert plan(replace(settings, server_id=0), places=places, ids=(0, 0)).warnings == []
    assert len(plan(replace(settings, server_id=0, fallback_id=9), places=places, ids=(0, 9)).warnings) == 2


def test_ids_change_alone() -> None:
    found = plan(replace(SETTINGS, server_id=8, fallback_id=9))
    assert found.of(Put) == [
        Put("server_id_own", ((layout.u32(0), layout.u32(8)), (layout.u32(1), layout.u32(9)))),
    ]
    assert found.changes == ["server id 7 → 8", "fallback id 0 → 9"]


def test_another_size_takes_another_program() -> None:
    found = plan(replace(SETTINGS, entries=200))
    assert [step.spec.name for step in found.of(ResizeMap)] == [SOCKETS]
    assert found.changes == [
        "room for 100 → 200 connections of clients",
        "load the program server_id_option",
        f"attach server_id_option to {WEB}",
    ]


def test_what_may_be_there_is_known_before_it_is() -> None:
    other = "other.service"
    found = plan(replace(SETTINGS, units=(other,)), places={**web(), other: UnitPlace(group="/g/other.service")})
    [begun] = found.of(Intend)
    assert begun.record.units == [other, WEB]
    [ended] = found.of(Conclude)
    assert (ended.record.units, ended.record.wanted) == ([other], [other])
    assert found.of(PutDropIn) == [PutDropIn(WEB, ""), PutDropIn(other, drop_in_text("default"))]
    assert found.of(DetachGroup) == [DetachGroup(WEB, "/g/web.service", 77)]


@pytest.mark.parametrize(
    ("settings", "places", "sentence"),
    [
        (SETTINGS, {WEB: UnitPlace(False)}, f"unit {WEB} does not exist on this host"),
        (
            replace(SETTINGS, units=(WEB, "-.slice")),
            {WEB: PLACE, "-.slice": UnitPlace(group="/")},
            f"units: {WEB} is in -.slice, which has the program for both: leave {WEB} out",
        ),
        (
            SETTINGS,
            {WEB: UnitPlace(group="/g/w", programs=(5,), blocked="/g")},
            f"unit {WEB}: /g has a sock_ops program that is not ours and allows no second one",
        ),
    ],
)
def test_what_cannot_be(settings: ServerIdSettings, places: dict[str, UnitPlace], sentence: str) -> None:
    with pytest.raises(ProgramError) as caught:
        plan(settings, places=places)
    assert str(caught.value).startswith(sentence)


def test_where_nobody_tells_of_units_a_run_cannot_be() -> None:
    found = plan(places=Missing("systemd is not on this host", "it will be"))
    assert found.reviewed() == ["it will be"]
    with pytest.raises(ProgramError, match=r"^systemd is not on this host$"):
        found.require()


def test_removal() -> None:
    found = plan_removal(RECORD, GOOD, {"server_id_option.json"})
    assert found.changes == [
        f"detach server_id_option from {WEB}",
        f"say no more that {WEB} attaches server_id_option whenever it starts",
        "have systemd read its units",
        "remove the maps and program of server_id_option pinned in ",
        "remove the state of server_id_option",
    ]
    assert plan_removal(ServerIdRecord(), ServerIdSnapshot(), ()).changes == []


def test_the_record_is_read_as_it_was_written() -> None:
    assert ServerIdRecord.from_json(RECORD.to_json(), "x") == RECORD
    assert kept_settings(RECORD) == replace(SETTINGS, source_dir="")
    assert kept_settings(ServerIdRecord()) is None
    for text in ('{"units": ["web"]}', '{"wanted": ["a.service", "a.service"]}', '{"settings": {"server_id": -1}}'):
        with pytest.raises(StateError, match=r"^x is damaged"):
            ServerIdRecord.from_json(text, "x")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"units": []}, "units: state attached needs at least one unit"),
        ({"units": [WEB, WEB]}, f"units[1]: {WEB} is listed twice"),
        ({"id": -1}, "id: -1 is not in 0 to 4294967295"),
        ({"fallback_id": 1 << 32}, "fallback_id: 4294967296 is not in 0 to 4294967295"),
        ({"entries": 0}, "entries: 0 is not in 1 to 16777216"),
    ],
)
def test_faults_of_options(options: dict[str, Any], sentence: str) -> None:
    params = {name: option.get("default") for name, option in SERVER_ID_OPTION.items()} | {"units": [WEB]} | options
    with pytest.raises(ConfigError) as caught:
        parse_server_id(params)
    assert str(caught.value) == sentence
