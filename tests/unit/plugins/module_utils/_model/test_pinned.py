# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pins of a program's maps beside the maps that the program has: what is lost, what is a stray, what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import HASH, MapSpec
from ansible_collections.katran.fleet.plugins.module_utils._model.pinned import (
    PinnedMaps,
    compare,
    is_named,
    is_of,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import MapInfo, ProgramInfo

LONG = "a_name_of_many_letters"
SPECS = [MapSpec(name, HASH, 4, 8, lambda _sizes: 16) for name in ("vip_map", "ctl_array", LONG)]
V, C, L = (MapInfo(spec.type, 10 + at, 4, 8, 16, 0, spec.name[:15]) for at, spec in enumerate(SPECS))
PROGRAM = ProgramInfo(6, 77, "aa", 1, 1, (V.id, C.id, L.id), "balancer")
FOLDER = "/sys/fs/bpf/katran"


def test_whether_a_map_is_of_a_description() -> None:
    spec = SPECS[2]
    assert is_of(spec, L)
    assert is_named(spec, L)
    assert is_of(spec, replace(L, name="other", entries=99, id=1, flags=7))
    assert not is_named(spec, replace(L, name="other"))
    assert not is_named(spec, replace(L, name=LONG[:14]))
    for other in (replace(L, type=HASH + 1), replace(L, key_size=5), replace(L, value_size=9)):
        assert not is_of(spec, other)
        assert not is_named(spec, other)


def test_pins_that_are_as_they_should_be() -> None:
    pins: dict[str, MapInfo | str] = {V.name: V, "ctl_array": C, LONG: L, "foreign": "a file"}
    assert compare(SPECS, pins, PROGRAM, []) == PinnedMaps({V.name: V, C.name: C, LONG: L}, {}, {}, True)


def test_a_map_that_is_not_pinned_is_lost() -> None:
    found = compare(SPECS, {"vip_map": V}, PROGRAM, [L, C])
    assert found == PinnedMaps({"vip_map": V, "ctl_array": C, LONG: L}, {"ctl_array": C.id, LONG: L.id}, {}, True)
    assert (found.astray, found.of_balancer, found.unknown) == (True, True, [])
    assert found.lines(FOLDER) == [f"pin {LONG}, ctl_array again, which the running program has"]
    assert found.warnings(FOLDER, "balancer") == [
        f"map {name}: nothing is pinned at {FOLDER}/{name}, not the map that the program uses: run module"
        " katran.fleet.balancer, which pins the program's own again"
        for name in (LONG, "ctl_array")
    ]


def test_another_map_in_its_place() -> None:
    other = replace(C, id=99)
    found = compare(SPECS, {"vip_map": V, "ctl_array": other, LONG: "a program"}, PROGRAM, [C])
    assert found.maps == {"vip_map": V, "ctl_array": C}
    assert (found.lost, found.strays) == ({"ctl_array": C.id}, {"ctl_array": "another map", LONG: "a program"})
    assert found.unknown == [LONG]
    assert found.own == replace(found, strays={"ctl_array": "another map"})
    assert found.lines(FOLDER) == [
        f"unpin a program at {FOLDER}/{LONG}, which cannot be map {LONG}",
        (f"pin ctl_array again, which the running program has, in place of another map pinned at {FOLDER}/ctl_array"),
    ]
    remedy = "run module katran.fleet.decap, which pins the program's own again"
    assert found.warnings(FOLDER, "decap") == [
        f"map ctl_array: another map is pinned at {FOLDER}/ctl_array, not the map that the program uses: {remedy}",
        f"map {LONG}: a program is pinned at {FOLDER}/{LONG}: {remedy}",
    ]


def test_a_map_of_the_next_program_may_be_pinned_already() -> None:
    other = replace(C, id=99, name="made_by_others", entries=99)
    found = compare(SPECS, {"ctl_array": other}, PROGRAM, [])
    assert found == PinnedMaps({"ctl_array": other}, {}, {}, True)
    # One that cannot be it is a stray.
    wrong = replace(other, value_size=9)
    assert compare(SPECS, {"ctl_array": wrong}, PROGRAM, []).strays == {"ctl_array": "another map"}


def test_where_nobody_knows_the_program() -> None:
    found = compare(SPECS, {"vip_map": V, "ctl_array": "a link"}, None, [])
    assert found == PinnedMaps({"vip_map": V}, {}, {"ctl_array": "a link"}, False)
    assert not found.of_balancer


def test_a_name_of_two_descriptions() -> None:
    wide = MapSpec("ctl_array", HASH, 4, 16, lambda _sizes: 16)
    info = replace(C, value_size=16)
    program = replace(PROGRAM, map_ids=(info.id,))
    assert compare([*SPECS, wide], {"ctl_array": info}, program, []).maps == {"ctl_array": info}
    assert compare([*SPECS, wide], {}, program, [info]).lost == {"ctl_array": info.id}


def test_a_map_of_the_program_under_the_wrong_name() -> None:
    found = compare(SPECS, {"vip_map": C, "ctl_array": V}, PROGRAM, [V, C])
    assert found.maps == {"vip_map": V, "ctl_array": C}
    assert found.lost == {"vip_map": V.id, "ctl_array": C.id}
    assert found.strays == {"vip_map": "another map", "ctl_array": "another map"}


@pytest.mark.parametrize(
    ("names", "whole"),
    [((), False), (("vip_map",), False), (("ctl_array",), False), (("vip_map", "ctl_array"), True)],
)
def test_whether_a_balancer_is_there(names: tuple[str, ...], whole: bool) -> None:
    found = PinnedMaps(dict.fromkeys(names, V))
    assert (found.of_balancer, found.astray, found.certain) == (whole, False, False)
    assert found.lines(FOLDER) == found.warnings(FOLDER, "balancer") == []
