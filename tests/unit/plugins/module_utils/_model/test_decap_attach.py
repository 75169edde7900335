# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real whose program another takes along: attach false leaves it where it is, and brings it nowhere."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.katran.fleet.plugins.module_utils._model.decap_plan import DecapSnapshot
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_record import DecapRecord
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import PartialError
from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import is_parameter
from ansible_collections.katran.fleet.plugins.module_utils._model.program_plan import moved
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import Attachment
from ansible_collections.katran.fleet.plugins.module_utils._model.steps import Attach, Conclude
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.test_decap_plan_steps import (
    GOOD,
    RECORD,
    plan,
)


def test_the_program_stays_where_it_is() -> None:
    found = plan(attach=False, interfaces=())
    assert (found.steps, found.changes) == ([], [])


def test_another_program_in_its_place_is_left_alone() -> None:
    other = replace(GOOD, attached={"eth0": Attachment("eth0", 9, 99, "native")})
    found = plan(other, attach=False, interfaces=())
    assert not found.of(Attach)
    assert found.changes == []
    assert found.of(Conclude) == [Conclude(replace(RECORD, interfaces=[]))]


def test_ours_among_others_sorted() -> None:
    ours, others = (Attachment("", 3, id_, "native") for id_ in (77, 99))
    seen = replace(GOOD, attached={name: replace(ours, interface=name) for name in ("eth2", "eth1")} | {"eth0": others})
    found = plan(seen, replace(RECORD, interfaces=["eth1", "eth2"]), attach=False, interfaces=())
    assert (found.changes, found.steps) == ([], [])


def test_a_fresh_real_gets_it_nowhere() -> None:
    found = plan(DecapSnapshot(digest="dd"), DecapRecord(), attach=False, interfaces=())
    assert "load the program decap" in found.changes
    assert not found.of(Attach)
    assert found.of(Conclude)[0].record.interfaces == []


def test_sentences_and_words() -> None:
    partial = PartialError("eth9 is missing", ["eth0 attached"])
    assert (str(partial), partial.done) == ("eth9 is missing", ["eth0 attached"])
    assert moved("eth9", "decap") == (
        "interface eth9 does not exist on this host: where it moved to another network namespace, program decap may"
        " still run there (ip -n NAMESPACE link set eth9 xdp off)"
    )
    assert is_parameter("net/core/bpf_jit_enable")
    assert not is_parameter("eth0")
