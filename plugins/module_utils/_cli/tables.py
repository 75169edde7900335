# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables for people: aligned, coloured on a terminal, with what cannot be seen made visible."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from .._model.judging import LATEST
from .._model.written import visible

COLOURS: Mapping[str, str] = {"active": "32", "draining": "33", "unknown": "33", "down": "31"}
"""First word of a cell → the colour that a terminal gives it."""

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], coloured: bool | None = None) -> str:
    """Rows below their header, each column as wide as its widest cell. `coloured`: None where the terminal decides."""
    colour = wants_colour() if coloured is None else coloured
    cells = [list(header), *([visible(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for number, row in enumerate(cells):
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if colour and number:
            padded = [_painted(cell) for cell in padded]
        lines.append("  ".join(padded).rstrip())
    return "".join(f"{line}\n" for line in lines)


def wants_colour() -> bool:
    """Whether a person reads it on a terminal that has colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _painted(cell: str) -> str:
    code = COLOURS.get(cell.split(" ", 1)[0])
    return f"\x1b[{code}m{cell}\x1b[0m" if code else cell


def span(seconds: float) -> str:
    """A time in one unit: 0.3 s, 45 s, 12 min, 3 h, 9 d."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{max(0.0, seconds):.1f} s"


def moment(at: float) -> str:
    """A time of day in the host's own zone, "-" where there is none."""
    if not at:
        return "-"
    told = datetime.fromtimestamp(min(max(at, 0.0), LATEST), tz=UTC)
    return told.astimezone().strftime("%Y-%m-%d %H:%M:%S")
