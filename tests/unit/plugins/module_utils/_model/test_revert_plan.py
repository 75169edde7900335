# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a program and its settings can come back without a compiler."""

from __future__ import annotations

from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.revert_plan import ProgramBack, program_back
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import parse_settings, with_kept
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import Missing
from ansible_collections.katran.fleet.plugins.module_utils._model.state import Previous, ProgramRecord, State
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted

KEPT = Bytecode("balancer", b"", (), "old", 0.0)
GONE = Missing("it is gone")


def settings(state: str = "attached", **named: Any) -> dict[str, Any]:
    found = with_kept({"interfaces": ["eth0"], "source_dir": "/src", **named}, {})
    return Wanted(parse_settings({**found, "state": state}), state, found["source_dir"]).to_config()


def state(digest: str = "new", previous: Previous | None = None, left: str | None = None, **named: Any) -> State:
    program = ProgramRecord(digest, digest, ["eth0"], previous=previous, rolled_back_from=left)
    return State("default", "/sys/fs/bpf", settings(**named), program)


def previous(migrated: str = "", **named: Any) -> Previous:
    return Previous("old", "old", settings(**named), migrated)


def test_nothing_differs() -> None:
    assert program_back(state(), state(), GONE) == ProgramBack(None, [])


def test_settings_of_the_host_come_back_by_themselves() -> None:
    now = state(interfaces=["eth0", "eth1"], gateway_mac="02:00:00:00:00:01", sizes={"flows": 5000})
    found = program_back(now, state(), GONE)
    assert found.warnings == []
    assert found.wanted is not None
    assert found.wanted.to_config() == state().settings
    assert (found.wanted.kept, found.wanted.back) == (True, False)
    loaded = program_back(state(), state(state="loaded"), GONE).wanted
    assert loaded is not None
    assert loaded.state == "loaded"


def test_the_program_before_the_last_upgrade_comes_back_with_its_settings() -> None:
    now = state("new", previous(max_frame=1514, source_dir="/then"), max_frame=9000)
    found = program_back(now, state("old", max_frame=1514, source_dir="/then", interfaces=["eth1"]), KEPT)
    assert found.warnings == []
    assert found.wanted is not None
    assert (found.wanted.back, found.wanted.kept, found.wanted.source_dir) == (True, True, "/then")
    assert (found.wanted.settings.max_frame, found.wanted.settings.interfaces) == (1514, ("eth1",))


def test_any_other_program_stays_with_what_is_compiled_into_it() -> None:
    why = "the program stays as it is: that of then (tag old) cannot come back, because only the program before the"
    why += " last upgrade is kept; deploy the inventory and the collection of then"
    for now, kept in ((state("new"), KEPT), (state("new", previous()), GONE)):
        found = program_back(now, state("old", max_frame=9000), kept)
        assert found == ProgramBack(None, [why])
    # The rest of its settings comes back.
    found = program_back(state("new"), state("old", max_frame=9000, interfaces=["eth1"]), GONE)
    assert found.wanted is not None
    assert (found.wanted.settings.max_frame, found.wanted.settings.interfaces) == (1514, ("eth1",))
    assert not found.wanted.back


def test_none_comes_back_across_a_migration() -> None:
    found = program_back(state("new", previous("ch_rings")), state("old"), KEPT)
    assert found.wanted is None
    why = "the program stays as it is: that of then (tag old) cannot come back, because its maps were migrated since"
    assert found.warnings == [f"{why} (ch_rings); set the sizes back"]


def test_a_rollback_that_was_killed_is_finished() -> None:
    found = program_back(state("old", left="new"), state("old"), KEPT)
    assert found.wanted is not None
    assert (found.wanted.back, found.wanted.to_config()) == (False, state().settings)


def test_where_no_balancer_was() -> None:
    stays = ["no balancer was there then: its program stays, and balances nothing (katran.fleet.remove removes it)"]
    nothing = State("default", "/sys/fs/bpf")
    assert program_back(state(), None, GONE) == ProgramBack(None, stays)
    assert program_back(state(), nothing, GONE) == ProgramBack(None, stays)
    assert program_back(nothing, state(), GONE) == ProgramBack(None, [])
