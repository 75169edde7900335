# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which entries a run makes, which are kept, and which one is meant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.audit import Audit
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.history import (
    APPLIED,
    BEFORE,
    KEPT,
    MOST_STEPS,
    REVERT,
    Entry,
    Opening,
    Step,
    before_run,
    entry_after,
    entry_of,
    is_named,
    opening,
    recorded_in,
    step_of,
    superfluous,
    unended,
)

# A busy machine is no fault of what is tested.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
AT = "2026-05-04T03:02:01.123+00:00"
JANE = Audit("run1", "jane", "abc")


def entry(number: int, run: str = "", kind: str = APPLIED, **options: Any) -> Entry:
    return Entry(number, kind, AT, run, **options)


def step(module: str = "vips", *changes: str, began: str = AT) -> Step:
    return step_of(Opening(module, began), changes, {"reals": 1}, 0.25)


# Entries


def test_the_steps_of_a_run_are_one_entry() -> None:
    opened = opening("vips", AT, JANE)
    first = entry_after(None, 1, opened, step_of(opened, ["a"], {"reals": 2}, 0.1234567), ["state.json"])
    assert first == Entry(
        1, APPLIED, AT, "run1", "jane", "abc", None, [Step("vips", AT, 0.123, ["a"], 1, {"reals": 2})], ["state.json"]
    )
    later = opening("server_ids", AT, JANE)
    files = ["state.json", "server_ids.json"]
    second = entry_after(first, 2, later, step_of(later, ["b", "c"], {"reals": 1, "x": 4}, 1.0), files)
    assert (second.number, second.files, [each.module for each in second.steps]) == (1, files, ["vips", "server_ids"])
    assert second.operations == {"reals": 3, "x": 4}
    assert second.seconds == 1.123
    assert second.summary == "a and 2 more"
    assert len(entry_after(replace(first, steps=[step()] * MOST_STEPS), 2, later, step(), files).steps) == MOST_STEPS


@pytest.mark.parametrize(
    ("last", "run", "to"),
    [
        (entry(3, "run1"), "run2", None),
        (entry(3, ""), "", None),
        (entry(3, "run1", REVERT, to=1), "run1", None),
        (entry(3, "run1"), "run1", 2),
        (entry(3, "", BEFORE), "", None),
        (None, "run1", None),
    ],
)
def test_what_else_is_an_entry_of_its_own(last: Entry | None, run: str, to: int | None) -> None:
    found = entry_after(last, 4, opening("vips", AT, Audit(run), to), step(), [])
    assert (found.number, found.run, found.kind, found.to) == (4, run, APPLIED if to is None else REVERT, to)


def test_a_run_that_was_killed() -> None:
    opened = opening("vips", AT, JANE)
    found = entry_after(None, 1, opened, unended(opened), [])
    assert found.steps == [Step("vips", AT, ended=False)]
    assert found.summary == "did not end"
    assert recorded_in(found, opened)
    assert not recorded_in(found, replace(opened, module="reals"))
    assert not recorded_in(found, replace(opened, began="later"))
    assert not recorded_in(None, opened)


def test_words() -> None:
    assert entry(0, kind=BEFORE).summary == "nothing was there"
    assert entry(0, kind=BEFORE, files=["state.json"]).summary == "as it was before the first run on record"
    assert entry(1, steps=[step("vips", "a")]).summary == "a"
    assert entry(1, kind=REVERT, to=0, steps=[step("vips", "a", "b")]).summary == "back to 0: a and 1 more"


def test_long_changes_are_cut_and_counted() -> None:
    found = step("vips", *(f"{number} {'x' * 400}" for number in range(30)))
    assert (len(found.changes), found.count) == (20, 30)
    assert {len(line) for line in found.changes} == {300}


# Files


def test_files_say_back_what_was_written() -> None:
    full = entry(
        7, "run1", REVERT, to=0, steps=[step("vips", "a"), unended(Opening("reals", AT))], files=["state.json"]
    )
    assert Entry.from_json(full.to_json(), "/h/7.json") == full
    opened = opening("revert", AT, JANE, 3)
    assert Opening.from_json(opened.to_json(), "/h/opening.json") == opened


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"schema": 2}, "schema: is not 1"),
        ({"number": -1}, "number: -1 is not a whole number of 0 to 4294967295"),
        ({"kind": "x"}, 'kind: "x" is none of before, applied, revert'),
        ({"run": 1}, "run: 1 is not a text"),
        ({"steps": [{}]}, "steps[0].module: is missing"),
        ({"files": ["a", "a"]}, "files[1]: a is listed twice"),
        ({"to": "x"}, 'to: "x" is not a whole number of 0 to 4294967295'),
    ],
)
def test_a_damaged_entry_names_the_field(change: dict[str, Any], fault: str) -> None:
    source = json.dumps({"schema": 1, **asdict(entry(1)), **change})
    with pytest.raises(StateError) as raised:
        Entry.from_json(source, "/h/1.json")
    assert str(raised.value) == f"/h/1.json is damaged ({fault}): it is left out; the other entries can be used"


@PATIENT
@given(st.text() | st.binary().map(lambda data: data.decode(errors="replace")))
def test_any_text_is_an_entry_or_a_sentence(source: str) -> None:
    for kind in (Entry, Opening):
        with pytest.raises(StateError):
            kind.from_json(source, "/h/1.json")


# What is kept


def test_the_newest_are_kept_and_one_before_them() -> None:
    sizes = {number: {number: 10} for number in range(40)}
    assert superfluous(sizes, ()) == list(range(40 - KEPT - 1))
    assert superfluous({}, ()) == []


def test_room_is_bounded() -> None:
    sizes = {number: {number: 10} for number in range(5)}
    assert superfluous(sizes, (), most=30) == [0, 1]
    # The newest two stay in any case.
    assert superfluous(sizes, (), most=5) == [0, 1, 2]
    # What is in use, and what entries share, costs nothing twice.
    assert superfluous(sizes, (4,), most=30) == [0]
    assert superfluous({number: {1: 10} for number in range(5)}, (), most=10) == []


@PATIENT
@given(
    st.dictionaries(st.integers(0, 60), st.dictionaries(st.integers(0, 9), st.integers(0, 100), max_size=3)),
    st.integers(0, 300),
)
def test_whatever_there_is(sizes: dict[int, dict[int, int]], most: int) -> None:
    gone = superfluous(sizes, (), most)
    kept = sorted(set(sizes) - set(gone))
    assert gone == sorted(sizes)[: len(gone)]
    assert len(kept) <= KEPT + 1
    assert len(kept) >= min(2, len(sizes))
    taken = {inode: count for number in kept for inode, count in sizes[number].items()}
    assert len(kept) <= 2 or sum(taken.values()) <= most


# Which one is meant


def known(*entries: Entry) -> dict[int, Entry | str]:
    return {each.number: each for each in entries}


def numbers(found: Sequence[Entry]) -> list[int]:
    return [each.number for each in found]


BASE = known(entry(0, kind=BEFORE), entry(1, "aaaaaaaa1"), entry(2, "bbbbbbbb1"), entry(3, "bbbbbbbb1", REVERT, to=1))


def test_before_a_run() -> None:
    found, since = before_run(BASE, "bbbbbbbb1")
    assert found is not None
    assert (found.number, numbers(since)) == (1, [2, 3])
    found, since = before_run(BASE, "aaaaaaaa")
    assert found is not None
    assert (found.number, numbers(since)) == (0, [1, 2, 3])
    # It was interrupted by another.
    found, since = before_run({**BASE, 4: entry(4, "aaaaaaaa1")}, "aaaaaaaa1")
    assert found is not None
    assert found.number == 0
    # Its own way back is not it, and seven characters name none.
    assert before_run(known(entry(0), entry(1, "cccccccc", REVERT)), "cccccccc") == (None, [])
    assert before_run(BASE, "aaaaaaa") == (None, [])
    assert before_run(BASE, "cccccccc") == (None, [])
    assert before_run({}, "aaaaaaaa1") == (None, [])


def test_before_a_run_that_cannot_be_told() -> None:
    with pytest.raises(StateError, match=r"^what was before run x is no longer kept on this host: 20 runs are"):
        before_run(known(entry(5, "x")), "x")
    with pytest.raises(StateError, match=r"^it is damaged$"):
        before_run({1: "it is damaged", 2: entry(2, "x")}, "x")
    with pytest.raises(StateError, match=r"^bbbbbbbb is the beginning of the ids of 2 runs: bbbbbbbb1, bbbbbbbb2$"):
        before_run({**BASE, 4: entry(4, "bbbbbbbb2")}, "bbbbbbbb")


def test_names_of_runs() -> None:
    assert is_named("aaaaaaaa1", "aaaaaaaa1")
    assert is_named("aaaaaaaa1", "aaaaaaaa")
    assert is_named("a", "a")
    assert not is_named("aaaaaaaa1", "aaaaaaa")
    assert not is_named("aaaaaaaa1", "aaaaaaaa2")
    assert not is_named("", "")


def test_by_number() -> None:
    assert entry_of(BASE, 2) is BASE[2]
    with pytest.raises(StateError, match=r"^there is no applied configuration 9 on this host: there are 0 to 3 "):
        entry_of(BASE, 9)
    with pytest.raises(StateError, match=r"on this host: nothing was applied yet \(katran history\)$"):
        entry_of({}, 0)
    with pytest.raises(StateError, match=r"^damaged$"):
        entry_of({1: "damaged"}, 1)
