# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `--diff` shows of a run: one element for each changed entry, under its name.

Before and after are handed over as mappings. Ansible's callback writes them as JSON or, with result_format yaml, as
YAML, sorted by key: a line that changes stands below the address it belongs to, and no host needs PyYAML for it.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Mapping, Sequence

MOST = 100
"""As many entries are shown one by one; a first deploy of a large table would fill the screen for minutes."""

Element = dict[str, t.Any]
Row = Mapping[str, t.Any]


def remarks(lines: Sequence[str]) -> Element:
    """Lines as they are, told from a diff's own by their first character."""
    return {"prepared": "".join(f"# {line}\n" for line in lines) + "\n"}


def diff_of(name: str, before: Row | None, after: Row | None) -> Element:
    """One element; None where there is nothing before or after, which shows as an empty side."""
    return {"before_header": name, "after_header": name, "before": before or "", "after": after or ""}


def settings_diff(name: str, before: Row, after: Row, changes: Sequence[str]) -> list[Element]:
    """What a run changes at one thing: the steps, and the settings that differ."""
    found = [remarks(changes)] if changes else []
    return found if before == after else [*found, diff_of(name, before, after)]


def entries_diff(
    title: Callable[[Row], str],
    before: Sequence[Row],
    after: Sequence[Row],
    changes: Sequence[str],
    drift: Collection[str],
) -> list[Element]:
    """What a run changes at a list of entries, which `before` and `after` have in the same order.

    `title`: the name of an entry; `drift`: those of the lines of `changes` that somebody else caused.
    """
    was, now = ({title(row): row for row in rows} for rows in (before, after))
    names = _merged(list(was), list(now))
    configured = [line for line in changes if line not in drift]
    lines = [*configured[:MOST], *_more(len(configured), "lines"), *drift]
    found = [remarks(lines)] if lines else []
    found += [diff_of(name, was.get(name), now.get(name)) for name in names[:MOST]]
    rest = list(_more(len(names), "changed entries, all of which are in before and after of the task's result"))
    return [*found, remarks(rest)] if rest else found


def _more(number: int, what: str) -> list[str]:
    return [f"and {number - MOST} more {what}"] if number > MOST else []


def _merged(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """The names of both lists, in the order that they have in common."""
    found: list[str] = []
    rest, common = iter(second), set(first).intersection(second)
    for name in first:
        if name in common:
            for other in rest:
                found.append(other)
                if other == name:
                    break
        else:
            found.append(name)
    return [*found, *rest]
