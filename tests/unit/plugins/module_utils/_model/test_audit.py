# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller says of who asks is never believed further than it goes."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.audit import Audit, harmless, is_run, parse_audit

# A busy machine is no fault of what is tested.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NO_JSON = "KATRAN_AUDIT is ignored: it is no JSON"


def test_what_is_said() -> None:
    said = {"run": "0f2b.a_-", "user": " jane ", "revision": "abc+dirty", "more": 1}
    found = parse_audit(json.dumps(said))
    assert found == Audit("0f2b.a_-", "jane", "abc+dirty")
    assert found.by == "by jane, run 0f2b.a_-, revision abc+dirty"
    assert Audit().by == ""
    assert Audit(user="jane").by == "by jane"


@pytest.mark.parametrize("source", [None, ""])
def test_nobody_says_anything(source: str | None) -> None:
    assert parse_audit(source) == Audit()


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("{", NO_JSON),
        ("[" * 4096, NO_JSON),
        ("9" * 4096, "KATRAN_AUDIT is ignored: it is no mapping of run, user and revision"),
        (" " * 4097, "KATRAN_AUDIT is ignored: it has 4097 characters, and at most 4096 are read"),
        ("[]", "KATRAN_AUDIT is ignored: it is no mapping of run, user and revision"),
        ("null", "KATRAN_AUDIT is ignored: it is no mapping of run, user and revision"),
    ],
)
def test_what_is_no_mapping_is_ignored(source: str, fault: str) -> None:
    assert parse_audit(source) == Audit(fault=fault)


def test_what_cannot_be_is_left_out() -> None:
    found = parse_audit(json.dumps({"run": "a b", "user": ["x"], "revision": None}))
    assert found == Audit(
        fault="KATRAN_AUDIT: left out is what cannot be: run is not an id of letters, digits, '.', '_' and '-';"
        " user is not a text; revision is not a text"
    )
    # The rest stands.
    assert parse_audit('{"run": "../x", "user": "jane"}').user == "jane"


def test_nothing_reaches_a_terminal_that_it_would_obey() -> None:
    found = parse_audit(json.dumps({"user": "a\x1b[31m\n\u202eb\ud800", "revision": "x" * 200}))
    assert found.user == "a?[31m??b?"
    assert found.revision == "x" * 128


def test_ids_of_runs() -> None:
    assert all(map(is_run, ("a", "0", "a" * 64, "a-b_c.d")))
    assert not any(map(is_run, ("", "-a", ".", "a" * 65, "a/b", "ä", "a\n")))


@PATIENT
@given(st.text(max_size=5000))
def test_any_text(source: str) -> None:
    found = parse_audit(source)
    for value in (found.run, found.user, found.revision, found.fault):
        assert value.isprintable()


@PATIENT
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=3), st.text())
def test_any_json(value: object, key: str) -> None:
    found = parse_audit(json.dumps({"run": value, "user": value, "revision": value, key: value}))
    assert found.run == "" or is_run(found.run)
    assert len(found.user) <= 64
    assert found.user.isprintable()
    assert found.fault.isprintable()


@PATIENT
@given(st.text(), st.integers(0, 20))
def test_harmless(value: str, most: int) -> None:
    found = harmless(value, most)
    assert len(found) == min(len(value), most)
    assert found.isprintable()
