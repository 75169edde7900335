# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of module balancer is asked for, and what the state makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import parse_settings
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import Missing, RootArray
from ansible_collections.katran.fleet.plugins.module_utils._model.state import Previous, ProgramRecord, State
from ansible_collections.katran.fleet.plugins.module_utils._model.wanted import Wanted, kept_wanted, wanted_back
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.stored import SETTINGS

WANTED = Wanted(parse_settings(SETTINGS), "attached", "/src")
GUE: dict[str, Any] = {**SETTINGS, "encapsulation": "gue", "interfaces": ["eth9"], "source_dir": "/before"}
OTHER: dict[str, Any] = {**SETTINGS, "interfaces": ["eth1"], "source_dir": "/there", "state": "loaded"}
CODE = Bytecode("balancer", b"", (), "dd", 1.0)


def state(settings: dict[str, Any] | None = None, **program: Any) -> State:
    given = OTHER if settings is None else settings
    return State("edge", "/sys/fs/bpf", given, program=ProgramRecord(**program))


def previous(migrated: str = "") -> Previous:
    return Previous("aa", "bb", GUE, migrated)


def test_only_what_is_to_be_attached_has_places() -> None:
    assert (WANTED.attaches, WANTED.interfaces, WANTED.slot) == (True, ["eth0"], None)
    for idle in (replace(WANTED, state="loaded"), replace(WANTED, attach_later=True)):
        assert (idle.attaches, idle.interfaces, idle.slot) == (False, [], None)
    slot = RootArray("/sys/fs/bpf/array", 1)
    shared = replace(WANTED, settings=replace(WANTED.settings, interfaces=(), root_array=slot))
    assert (shared.interfaces, shared.slot) == ([], slot)
    assert replace(shared, attach_later=True).slot is None


def test_what_is_kept_of_it() -> None:
    assert WANTED.to_config() == {**WANTED.settings.to_config(), "source_dir": "/src", "state": "attached"}


def test_features_that_resources_use_are_added() -> None:
    with_vlan = replace(WANTED, settings=replace(WANTED.settings, features=frozenset({"vlan"})))
    assert with_vlan.with_features(["vlan"]) is with_vlan
    assert with_vlan.with_features([]) is with_vlan
    more = with_vlan.with_features(["global_lru", "vlan"])
    assert more.settings.features == {"vlan", "global_lru"}
    assert replace(more, settings=with_vlan.settings) == with_vlan


def test_a_restore_takes_what_the_last_run_left() -> None:
    found = kept_wanted(state())
    assert found == Wanted(parse_settings(OTHER), "loaded", "/there", kept=True)
    assert not found.back


def test_a_program_that_was_rolled_back_stays_until_the_sources_change() -> None:
    left = state(rolled_back_from="dd")
    left.settings = GUE
    found = WANTED.kept_as(left, "dd")
    assert (found.kept, found.settings.encapsulation, found.settings.interfaces) == (True, "gue", ("eth0",))
    assert (found.state, found.source_dir) == ("attached", "/src")
    for digest in ("ee", None, Missing("no sources")):
        assert WANTED.kept_as(left, digest) is WANTED
    assert WANTED.kept_as(state(), "dd") is WANTED
    kept = replace(WANTED, kept=True)
    assert kept.kept_as(left, "dd") is kept


def test_the_program_before_comes_back_with_its_own_settings_on_the_host_as_it_is() -> None:
    found = wanted_back("edge", state(previous=previous()), CODE)
    assert (found.settings.encapsulation, found.settings.interfaces) == ("gue", ("eth1",))
    assert (found.state, found.source_dir, found.kept, found.back) == ("loaded", "/before", True, True)
    assert not found.accept_rehash


MIGRATED = (
    "balancer edge cannot be rolled back across a migration of its maps (sizes.vips 512 → 256):"
    " the previous program's maps are gone; set the sizes back instead"
)
NOTHING = "balancer edge has no previous program to go back to"


@pytest.mark.parametrize(
    ("left", "code", "sentence"),
    [
        (state(), CODE, NOTHING),
        (state({}, previous=previous()), CODE, NOTHING),
        (state(previous=previous()), Missing("no bytecode"), NOTHING),
        (
            state(previous=previous("sizes.vips 512 → 256")),
            CODE,
            MIGRATED,
        ),
    ],
)
def test_there_may_be_none_to_go_back_to(left: State, code: Bytecode | Missing, sentence: str) -> None:
    with pytest.raises(ProgramError) as caught:
        wanted_back("edge", left, code)
    assert str(caught.value) == sentence
