# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of an input, collected and told together, each naming the entry at fault; and how many there are of things."""

from __future__ import annotations

from collections.abc import Sequence

from .errors import ConfigError
from .written import visible

MAX_FAULTS = 20
_SOME = 5
"""As many are named in a line, mostly."""


def shortened(lines: list[str], rest: str) -> list[str]:
    """The first lines, and one that says how many more there are: `rest` with their number for {}."""
    more = len(lines) - MAX_FAULTS
    return lines if more <= 0 else [*lines[:MAX_FAULTS], rest.format(more)]


def some(words: Sequence[str], most: int = _SOME) -> str:
    """The first words, and how many more there are."""
    more = len(words) - most
    return ", ".join(words) if more <= 0 else f"{', '.join(words[:most])} and {more} more"


def counted(number: int, noun: str) -> str:
    """A number of things, in words."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class Faults:
    """Collects every fault of one input."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, sentence: str) -> None:
        """One fault: where it is and what is wrong. What cannot be seen of it is shown."""
        self.lines.append(visible(f"{where}: {sentence}"))

    def __str__(self) -> str:
        return "; ".join(shortened(self.lines, "and {} more"))

    def check(self) -> None:
        """ConfigError if there was any."""
        if self.lines:
            raise ConfigError(str(self))
