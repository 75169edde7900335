# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a diff has of a run: an element for each changed entry, under its name; the lines of the run before them."""

from __future__ import annotations

import typing as t

from ansible_collections.katran.fleet.plugins.module_utils._ansible.diffs import MOST, entries_diff, settings_diff

Row = dict[str, t.Any]


def title(row: Row) -> str:
    return f"thing {row['id']}"


def rows(*ids: int) -> list[Row]:
    return [{"id": number, "size": 10 * number} for number in ids]


def element(number: int, before: t.Any, after: t.Any) -> Row:
    name = f"thing {number}"
    return {"before_header": name, "after_header": name, "before": before, "after": after}


def names(diff: list[Row]) -> list[str]:
    return [each["before_header"] for each in diff if "before_header" in each]


def test_nothing_changed_is_no_diff() -> None:
    assert entries_diff(title, [], [], [], []) == []
    assert settings_diff("thing 1", {"a": 1}, {"a": 1}, []) == []


def test_each_entry_is_compared_with_itself() -> None:
    before, after = rows(1, 2), [{"id": 2, "size": 21}, *rows(3)]
    lines = ["thing 1: removed", "thing 2: 20 → 21", "thing 3: added"]
    assert entries_diff(title, before, after, lines, []) == [
        {"prepared": "# thing 1: removed\n# thing 2: 20 → 21\n# thing 3: added\n\n"},
        element(1, before[0], ""),
        element(2, before[1], after[0]),
        element(3, "", after[1]),
    ]


def test_entries_keep_their_order() -> None:
    assert names(entries_diff(title, rows(2, 4, 6), rows(1, 2, 3, 5, 6, 7), [], [])) == [
        f"thing {number}" for number in (1, 2, 4, 3, 5, 6, 7)
    ]
    assert names(entries_diff(title, rows(1, 2), [], [], [])) == ["thing 1", "thing 2"]
    assert names(entries_diff(title, [], rows(1, 2), [], [])) == ["thing 1", "thing 2"]


def test_drift_is_told_however_much_else_changes() -> None:
    changes = [f"thing {number}: added" for number in range(MOST + 50)]
    drift = ["thing 7: missing in things, repaired"]
    told = entries_diff(title, [], rows(*range(MOST + 50)), [*changes, *drift], drift)
    lines = told[0]["prepared"].splitlines()
    assert lines[:MOST] == [f"# {line}" for line in changes[:MOST]]
    assert lines[MOST:] == ["# and 50 more lines", f"# {drift[0]}", ""]


def test_a_great_many_entries_are_summed_up() -> None:
    told = entries_diff(title, rows(*range(300)), [], [], [])
    assert names(told) == [f"thing {number}" for number in range(MOST)]
    sentence = "and 200 more changed entries, all of which are in before and after of the task's result"
    assert told[MOST:] == [{"prepared": f"# {sentence}\n\n"}]
    exactly = entries_diff(title, rows(*range(MOST)), [], [], [])
    assert len(exactly) == len(names(exactly)) == MOST


def test_settings() -> None:
    assert settings_diff("balancer blue", {}, {"gue_port": 1}, ["load the program"]) == [
        {"prepared": "# load the program\n\n"},
        {"before_header": "balancer blue", "after_header": "balancer blue", "before": "", "after": {"gue_port": 1}},
    ]
    # Steps that no setting asks for, such as those that repair something.
    assert settings_diff("balancer blue", {"a": 1}, {"a": 1}, ["attach to eth0"]) == [
        {"prepared": "# attach to eth0\n\n"}
    ]
