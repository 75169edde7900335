# SPDX-License-Identifier: GPL-3.0-or-later
"""Is what a page shows what is seen?"""

from __future__ import annotations

import re
from collections.abc import Sequence

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _plain(line: str) -> str:
    """A line without colours; blanks, and Ansible's rows of stars, in one form whatever their number."""
    return re.sub(r"\*{3,}", "***", " ".join(_ESCAPES.sub("", line).split()))


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, re.split(r" ?\.\.\. ?", _plain(line)))))


def _chunks(shown: Sequence[str]) -> list[list[str]]:
    """Lines that follow each other without a "..." in between."""
    chunks: list[list[str]] = [[]]
    for line in shown:
        if line.strip() == "...":
            chunks.append([])
        elif line.strip():
            chunks[-1].append(line)
    return [chunk for chunk in chunks if chunk]


def missing(shown: Sequence[str], seen: str) -> str:
    """The first shown line that the output has not where it should; empty if all is there.

    Shown lines are found in the order in which they stand. Those without a line "..." between them follow each other in
    the output as well; before the first and after the last there may be more. Empty lines do not count.
    """
    lines = [line for line in map(_plain, seen.splitlines()) if line]
    at = 0
    for chunk in _chunks(shown):
        patterns = [_pattern(line) for line in chunk]
        best = -1
        for begin in range(at, len(lines)):
            good = 0
            while good < len(patterns) and begin + good < len(lines) and patterns[good].fullmatch(lines[begin + good]):
                good += 1
            if good == len(patterns):
                at = begin + good
                break
            best = max(best, good)
        else:
            return chunk[max(best, 0)]
    return ""
