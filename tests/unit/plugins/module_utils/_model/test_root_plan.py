# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run does to program root, and what its plan has in common with other programs'."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import ROOT_MAPS
from ansible_collections.katran.fleet.plugins.module_utils._model.program_plan import (
    ProgramPlan,
    kept_bytecode,
    uses_maps,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.root_plan import RootSnapshot, plan_removal, plan_root
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import RootRecord, RootSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import (
    Attachment,
    MapInfo,
    Missing,
    ProgramInfo,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import (
    Attach,
    Compile,
    Conclude,
    CreateMaps,
    Detach,
    Discard,
    Intend,
    Keep,
    Load,
    Remove,
    TakeKept,
)

SETTINGS = RootSettings(("eth0", "eth1"), "native", "/src")
KEPT = Bytecode("root", bytes(8), ("root_array",), "dd", 1.0)
ARRAY = MapInfo(3, 50, 4, 4, 3, 0, "root_array")
PROGRAM = ProgramInfo(6, 77, "bb", 10, 20, (50,), "root")
OLDER, FOREIGN = replace(PROGRAM, id=76), replace(PROGRAM, id=99, tag="zz", map_ids=(51,))
RECORD = RootRecord(source_digest="dd", tag="bb", interfaces=["eth0", "eth1"], mode="native", source_dir="/src")


def attached(**programs: int) -> dict[str, Attachment]:
    return {name: Attachment(name, index, number, "native") for index, (name, number) in enumerate(programs.items())}


GOOD = RootSnapshot(
    maps={"root_array": ARRAY},
    current=PROGRAM,
    pins=frozenset({77}),
    attached=attached(eth0=77, eth1=77),
    running={77: PROGRAM, 76: OLDER, 99: FOREIGN},
    digest="dd",
    kept=KEPT,
    directory="/sys/fs/bpf/katran/default",
)


def plan(seen: RootSnapshot = GOOD, record: RootRecord = RECORD, **options: Any) -> ProgramPlan:
    return plan_root(replace(SETTINGS, **options), record, seen)


def test_what_is_as_it_should_be_stays() -> None:
    found = plan()
    assert (found.steps, found.changes, found.lacks, found.warnings) == ([], [], [], [])
    assert found.before == found.after == {"interfaces": ["eth0", "eth1"], "mode": "native"}
    found.require()
    assert found.reviewed() == []


def test_a_fresh_host() -> None:
    found = plan(RootSnapshot(digest="dd"), RootRecord())
    assert found.changes == [
        "create 1 map",
        "compile the program root",
        "load the program root",
        "attach root to eth0 in native mode",
        "attach root to eth1 in native mode",
    ]
    assert found.ordered() == [
        Compile("/src", {}),
        Intend(RootRecord(interfaces=["eth0", "eth1"])),
        CreateMaps(ROOT_MAPS, {}),
        Load(("root_array",)),
        Attach("eth0", "native"),
        Attach("eth1", "native"),
        Keep(),
        Conclude(RootRecord(interfaces=["eth0", "eth1"], mode="native", source_dir="/src")),
    ]
    assert found.before == {}


def test_other_sources_are_compiled_and_the_older_program_replaced() -> None:
    found = plan(replace(GOOD, digest="ee"))
    assert found.changes == [
        "compile the program root",
        "load the program root",
        "attach root to eth0 in native mode",
        "attach root to eth1 in native mode",
    ]
    there = attached(eth0=77, eth1=77)
    assert found.of(Attach) == [Attach(name, "native", there[name]) for name in ("eth0", "eth1")]


def test_kept_bytecode_is_taken_where_the_sources_are_the_same() -> None:
    for digest in ("dd", None):
        # None: at boot, when there is nothing to compare with.
        found = plan(replace(GOOD, digest=digest, current=None, pins=frozenset()))
        assert found.of(Compile, TakeKept) == [TakeKept(KEPT)]
        assert "load the program root" in found.changes
    lost = Missing("no bytecode")
    found = plan(replace(GOOD, kept=lost))
    assert (found.lacks, len(found.of(Compile))) == ([], 1)
    assert plan(replace(GOOD, digest=None, kept=lost)).lacks == [lost]


def test_a_program_that_uses_other_maps_is_loaded_anew() -> None:
    assert plan(replace(GOOD, maps={"root_array": replace(ARRAY, id=52)})).of(TakeKept, Load) == [
        TakeKept(KEPT),
        Load(("root_array",)),
    ]
    assert uses_maps(GOOD, KEPT)
    assert not uses_maps(replace(GOOD, maps={}), KEPT)
    assert not uses_maps(replace(GOOD, current=None), KEPT)
    two = replace(KEPT, maps=("root_array", "more"))
    assert not uses_maps(replace(GOOD, maps={"root_array": ARRAY, "more": replace(ARRAY, id=60)}), two)
    assert kept_bytecode(KEPT, "dd", "dd") is KEPT
    assert kept_bytecode(KEPT, "ee", "dd") is None
    assert kept_bytecode(KEPT, None, None) is None
    assert kept_bytecode(Missing("x"), "dd", "dd") is None


def test_what_a_killed_run_pinned_is_discarded() -> None:
    found = plan(replace(GOOD, pins=frozenset({77, 78})))
    assert (found.ordered(), found.changes) == ([Discard()], [])


def test_another_mode_changes_over() -> None:
    found = plan(mode="generic")
    assert found.changes == [
        "attach root to eth0 in generic mode",
        "attach root to eth1 in generic mode",
        "detach root from eth0",
        "detach root from eth1",
    ]
    assert found.after == {"interfaces": ["eth0", "eth1"], "mode": "generic"}
    assert found.ordered()[-1] == Conclude(replace(RECORD, mode="generic"))


def test_fewer_interfaces() -> None:
    found = plan(interfaces=("eth1",))
    assert found.changes == ["detach root from eth0"]
    assert found.ordered() == [
        Detach(attached(eth0=77)["eth0"]),
        Conclude(replace(RECORD, interfaces=["eth1"])),
    ]


def test_more_interfaces_are_on_record_before_they_have_it() -> None:
    seen = replace(GOOD, attached=attached(eth0=77))
    found = plan(seen, replace(RECORD, interfaces=["eth7", "eth0"]))
    assert found.of(Intend) == [Intend(replace(RECORD, interfaces=["eth0", "eth1", "eth7"]))]
    assert found.of(Attach) == [Attach("eth1", "native")]


def test_anothers_program_is_in_the_way() -> None:
    with pytest.raises(ProgramError) as caught:
        plan(replace(GOOD, attached=attached(eth0=77, eth1=99)))
    assert str(caught.value) == "interface eth1 already has an XDP program that is not ours (id 99); detach it first"
    assert plan(replace(GOOD, attached=attached(eth0=77, eth1=77, eth2=99))).changes == []


def test_the_sources_stay_on_record_where_none_are_told() -> None:
    assert plan(source_dir="").steps == []
    assert plan(source_dir="/other").of(Conclude) == [Conclude(replace(RECORD, source_dir="/other"))]


def test_what_a_host_lacks() -> None:
    with pytest.raises(ProgramError, match=r"^interface eth1 does not exist on this host$"):
        plan(replace(GOOD, absent=["eth1", "eth2"]))
    first, second, third = Missing("one", "first review"), Missing("two"), Missing("three", "last review")
    found = plan(replace(GOOD, bpffs=first, attached=second, digest=third))
    assert found.lacks == [first, second, third]
    found.warnings.append("more")
    assert found.reviewed() == ["first review", "last review", "more"]
    with pytest.raises(ProgramError, match=r"^one$"):
        found.require()


FILES = ("root.json", "root.bytecode.json")


def test_the_end() -> None:
    found = plan_removal(RECORD, replace(GOOD, attached=attached(eth0=77, eth1=76, eth2=99)), FILES)
    there = attached(eth0=77, eth1=76)
    assert found.changes == [
        "detach root from eth0",
        "detach root from eth1",
        "remove the maps and program of root pinned in /sys/fs/bpf/katran/default",
        "remove the state of root",
    ]
    assert found.ordered() == [Detach(there["eth0"]), Detach(there["eth1"]), Remove(("root_array",), FILES)]


def test_the_end_of_what_never_was() -> None:
    found = plan_removal(RootRecord(), RootSnapshot(attached=Missing("no pyroute2")), ())
    assert (found.changes, found.steps, found.lacks) == ([], [Remove((), FILES)], [])


@pytest.mark.parametrize(
    ("record", "seen"),
    [
        (RECORD, RootSnapshot()),
        (RootRecord(), RootSnapshot(pins=frozenset({77}))),
        (RootRecord(), RootSnapshot(maps={"root_array": ARRAY})),
    ],
)
def test_whatever_there_is_of_it_may_be_attached(record: RootRecord, seen: RootSnapshot) -> None:
    missing = Missing("no pyroute2")
    assert plan_removal(record, replace(seen, attached=missing), ()).lacks == [missing]


def test_pins_alone_are_told() -> None:
    for seen in (replace(GOOD, maps={}), replace(GOOD, pins=frozenset())):
        found = plan_removal(RootRecord(), replace(seen, attached={}), ())
        assert found.changes == ["remove the maps and program of root pinned in /sys/fs/bpf/katran/default"]


def test_root_stays_while_it_runs_others() -> None:
    with pytest.raises(ProgramError) as caught:
        plan_removal(RECORD, replace(GOOD, slots={2: 12, 0: 10}), ())
    assert str(caught.value) == (
        "program root still runs slot 0 (program id 10), slot 2 (program id 12): remove that first"
    )
