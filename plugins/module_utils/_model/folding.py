# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is the same on many hosts, said once: which hosts say it, and their names in few words."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Collection, Hashable, Iterable, Sequence

_NUMBER = re.compile(r"([0-9]+)")
_LONGEST = 9
"""Digits that count as a number: longer ones are serial numbers and hashes, which nobody counts through."""

_WORTH = 3
"""Names in a row that are written as a range."""

S = t.TypeVar("S", bound=Hashable)
Parts = tuple[str, ...]


def _parts(name: str) -> Parts:
    """Text and digits in turn, text first: lb07.example → lb, 07, .example."""
    return tuple(_NUMBER.split(name))


def natural(name: str) -> tuple[tuple[str, int, str], ...]:
    """By this key lb2 comes before lb10. No two names have the same key."""
    parts = _parts(name)
    numbers = (*parts[1::2], "")
    return tuple((text, int(digits or 0), digits) for text, digits in zip(parts[::2], numbers, strict=True))


def _step(first: Parts, second: Parts) -> int | None:
    """Which part alone is one more in the second name than in the first; None where that is not all the difference."""
    if len(first) != len(second):
        return None
    different = [index for index, (one, other) in enumerate(zip(first, second, strict=True)) if one != other]
    if len(different) != 1 or different[0] % 2 == 0:
        return None
    one, other = first[different[0]], second[different[0]]
    padded = one.startswith("0") or other.startswith("0")
    if max(len(one), len(other)) > _LONGEST or (padded and len(one) != len(other)):
        return None
    return different[0] if int(other) == int(one) + 1 else None


def names_text(names: Iterable[str]) -> str:
    """Every name once, in natural order: those that are counted through by their first and last, as lb1–lb48, lb50."""
    told: list[str] = []
    row: list[str] = []
    counted: int | None = None
    for name in sorted(set(names), key=natural):
        step = _step(_parts(row[-1]), _parts(name)) if row else None
        if row and (step is None or counted not in (None, step)):
            told += _row_text(row)
            row, counted = [], None
        elif row:
            counted = step
        row.append(name)
    return ", ".join([*told, *_row_text(row)])


def _row_text(row: Sequence[str]) -> list[str]:
    return [f"{row[0]}–{row[-1]}"] if len(row) >= _WORTH else list(row)


class Folded(t.NamedTuple, t.Generic[S]):
    """What these hosts, in natural order, all say."""

    hosts: tuple[str, ...]
    said: S

    @property
    def names(self) -> str:
        """The hosts in few words."""
        return names_text(self.hosts)


def fold(said: Iterable[tuple[str, S]], everywhere: Collection[str] = ()) -> list[Folded[S]]:
    """Each thing that is said once, with all hosts that say it: (host, what it says) may come in any order.

    What all hosts `everywhere` say comes first; then by the first host that says it, and what one host says in the
    order in which it does.
    """
    hosts: dict[S, list[str]] = {}
    places: dict[S, tuple[t.Any, int]] = {}
    for place, (host, each) in enumerate(said):
        hosts.setdefault(each, []).append(host)
        places[each] = min(places.get(each, (natural(host), place)), (natural(host), place))
    whole = frozenset(everywhere)
    order = sorted(hosts, key=lambda each: (not whole or not whole.issubset(hosts[each]), places[each]))
    return [Folded(tuple(sorted(set(hosts[each]), key=natural)), each) for each in order]
