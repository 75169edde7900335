# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Operations, whole rings and bytecode, byte for byte."""

from __future__ import annotations

import json
import struct
from array import array

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode, map_references
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.operations import (
    BlankSlots,
    Delete,
    DeleteDownSet,
    Operation,
    PurgeFlows,
    Put,
    PutDownSet,
    PutRing,
    ZeroCounters,
    blank,
    count,
    digest,
    map_of,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.ring_slots import ring_slots


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (PutRing(1, None, (), 0), "ch_rings"),
        (BlankSlots(1, frozenset(), 0), "ch_rings"),
        (PutDownSet(b"", frozenset()), "vip_to_down_reals_map"),
        (DeleteDownSet(b""), "vip_to_down_reals_map"),
        (PurgeFlows(frozenset()), "lru_mapping"),
        (Put("vip_map", ()), "vip_map"),
        (Delete("reals", ()), "reals"),
        (ZeroCounters("stats", ()), "stats"),
    ],
)
def test_the_map_of_an_operation(operation: Operation, name: str) -> None:
    assert map_of(operation) == name


def test_counts_are_sorted_and_leave_out_nothing_behind_a_purge() -> None:
    found = count([PurgeFlows(frozenset({1})), Put("vip_map", ((b"a", b"b"),)), Put("ctl_array", ((b"a", b"b"),))])
    assert list(found.items()) == [("ctl_array", 1), ("vip_map", 1)]
    assert count([PutRing(1, None, (), 0)]) == {}


def test_the_slots_of_a_ring() -> None:
    assert PutRing(1, None, (7,), 3).slots(2) == bytes(16)
    assert PutRing(1, array("B", [1, 0]), (7, 2**32 - 1), 2).slots(2) == struct.pack("<QQ", 2**32 - 1, 7)


def test_slots_of_some_reals_are_blanked() -> None:
    live = memoryview(struct.pack("=4Q", 7, 2**63 + 1, 8, 7))
    assert blank(live, frozenset({7, 9})) == struct.pack("=4Q", 0, 2**63 + 1, 8, 0)
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("typecode", ["B", "H", "I"])
@pytest.mark.parametrize("ids", [(1, 255, 256), (65535, 65536, 2**24), (2**32 - 1, 2**31, 5), (0, 0, 0)])
def test_every_byte_of_an_id_reaches_its_slot(typecode: str, ids: tuple[int, ...]) -> None:
    # The index behind the last real stands for none.
    ring = array(typecode, [2, 0, 1, 3, 2])
    assert ring_slots(ring, ids) == struct.pack("<5Q", ids[2], ids[0], ids[1], 0, ids[2])


LOAD_MAP, LOAD_NUMBER, EXIT = (
    "1811000000000000 0000000000000000",
    "1801000011000000 1811000000000000",
    "9500000000000000",
)


def code(*parts: str) -> bytes:
    return bytes.fromhex("".join(parts))


def test_only_loads_of_maps_refer_to_maps() -> None:
    # The second half of a load of a number may look like a load of a map.
    assert map_references(code(EXIT, LOAD_NUMBER, LOAD_MAP, EXIT, LOAD_MAP)) == [24, 48]
    assert map_references(b"") == []


def test_maps_are_bound_by_name() -> None:
    second = "1811000001000000 0000000000000000"
    program = Bytecode("balancer", code(second, EXIT, LOAD_MAP), ("reals", "vip_map"), "dd", 1.0)
    assert program.bind({"reals": 5, "vip_map": 0x01020304}) == code(
        "1811000004030201 0000000000000000", EXIT, "1811000005000000 0000000000000000"
    )
    assert program.instructions == code(second, EXIT, LOAD_MAP)


ANEW = "move it away, and the next run of its module compiles it anew"


def kept(**options: object) -> str:
    good = json.loads(Bytecode("balancer", code(LOAD_MAP, EXIT), ("reals",), "dd", 1.5).to_json())
    return json.dumps({**good, **options})


def test_the_form_that_is_kept() -> None:
    assert json.loads(kept()) == {
        "schema": 1,
        "program": "balancer",
        "maps": ["reals"],
        "digest": "dd",
        "compile_seconds": 1.5,
        "instructions": "GBEAAAAAAAAAAAAAAAAAAJUAAAAAAAAA",
    }
    found = Bytecode.from_json(kept(), "file", "balancer")
    assert found == Bytecode("balancer", code(LOAD_MAP, EXIT), ("reals",), "dd", 1.5)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"program": "decap"}, 'program: "decap" is none of balancer'),
        ({"schema": 2}, "schema: 2 is not a whole number of 1 to 1"),
        ({"schema": 0}, "schema: 0 is not a whole number of 1 to 1"),
        ({"instructions": ""}, "instructions: 0 bytes are no whole number of instructions"),
        ({"instructions": "AAAA"}, "instructions: 3 bytes are no whole number of instructions"),
        ({"instructions": 7}, "instructions: 7 is not a text"),
        ({"instructions": "GBEAAAAAAAA="}, "instructions: the last one is cut off"),
        ({"maps": []}, "instructions: one refers to map 0 of 0"),
        ({"instructions": "GBEAAP////8AAAAAAAAAAA=="}, "instructions: one refers to map -1 of 1"),
        ({"instructions": "GBEAAAEAAAAAAAAAAAAAAA=="}, "instructions: one refers to map 1 of 1"),
        ({"maps": ["reals", "reals"]}, "maps[1]: reals is listed twice"),
    ],
)
def test_what_cannot_be_kept_bytecode(options: dict[str, object], fault: str) -> None:
    with pytest.raises(StateError) as caught:
        Bytecode.from_json(kept(**options), "file", "balancer")
    assert str(caught.value) == f"file is damaged ({fault}): {ANEW}"


def test_what_is_not_base64() -> None:
    with pytest.raises(StateError, match=r"^file is damaged \(instructions: it is not base64 \(.+\)\): move "):
        Bytecode.from_json(kept(instructions="!"), "file", "balancer")
