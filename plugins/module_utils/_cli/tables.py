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

GREEN, YELLOW, RED = "32", "33", "31"
COLOURS: Mapping[str, str] = {
    **dict.fromkeys(("active", "announced", "ready", "running"), GREEN),
    **dict.fromkeys(("draining", "unknown", "degraded"), YELLOW),
    **dict.fromkeys(("down", "withdrawn", "stopped"), RED),
}
"""First word of a cell → the colour that a terminal gives it."""

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    coloured: bool | None = None,
    width: int | None = None,
    cut: bool = False,
) -> str:
    """Rows below their header, each column as wide as its widest cell. `coloured`: None where the terminal decides.

    `width`: columns of the terminal. Where a line is longer, its last cell follows on a line of its own; with `cut`,
    lines end there. Cells of numbers are written to the right.
    """
    colour = wants_colour() if coloured is None else coloured
    cells = [list(header), *([visible(cell) for cell in row] for row in rows)]
    columns = list(zip(*cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [_are_numbers(column[1:]) for column in columns]
    breaks = width is not None and not cut and sum(widths) + 2 * len(widths) - 2 > width and len(widths) > 1
    lines = []
    for number, row in enumerate(cells):
        padded = [
            cell.rjust(size) if to_right else cell.ljust(size)
            for cell, size, to_right in zip(row, widths, right, strict=True)
        ]
        last = f"    {padded.pop().strip()}" if breaks else ""
        if width is not None and cut:
            padded = _cut(padded, width)
        if colour and number:
            padded = [_painted(cell) for cell in padded]
        lines.append("  ".join(padded).rstrip())
        if last.strip() not in ("", "-") and number:
            lines.append(last)
    return "".join(f"{line}\n" for line in lines)


def _are_numbers(cells: Sequence[str]) -> bool:
    return (
        bool(cells)
        and all(cell[:1].isdigit() or cell[:1] in ("-", "<", ">", "", "~") for cell in cells)
        and all(cell.isascii() and ":" not in cell and cell.count(".") < 2 for cell in cells)
    )


def _cut(cells: Sequence[str], width: int) -> list[str]:
    """The cells of a line as far as there is room, the last one that is shown ending with an ellipsis if need be."""
    found: list[str] = []
    for cell in cells:
        room = width - sum(map(len, found)) - 2 * len(found)
        if room <= 0:
            break
        text = cell.rstrip()
        found.append(cell[:room] if len(text) <= room else f"{cell[: room - 1]}…")
    return found


def screen_width() -> int | None:
    """How many columns a person's terminal has; None where lines need no end: nobody sees them on one."""
    if not sys.stdout.isatty() and "COLUMNS" not in os.environ:
        return None
    import shutil  # pylint: disable=import-outside-toplevel  # no other command needs it

    return shutil.get_terminal_size().columns


def wants_colour() -> bool:
    """Whether a person reads it on a terminal that has colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, code: str) -> str:
    """A text in a colour, where a person reads it on a terminal."""
    return f"\x1b[{code}m{text}\x1b[0m" if code and wants_colour() else text


def _painted(cell: str) -> str:
    code = COLOURS.get(cell.split(" ", 1)[0].rstrip(","))
    return f"\x1b[{code}m{cell}\x1b[0m" if code else cell


def span(seconds: float) -> str:
    """A time in one unit: 0.3 s, 45 s, 12 min, 3 h, 9 d."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{max(0.0, seconds):.1f} s"


def moment(at: float) -> str:
    """A time in the host's own zone, which is named; "-" where there is none."""
    if not at:
        return "-"
    told = datetime.fromtimestamp(min(max(at, 0.0), LATEST), tz=UTC)
    return told.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def moment_of(text: str | None) -> str:
    """The same of a time in ISO 8601; "-" for what is none, as in a damaged file."""
    try:
        return moment(datetime.fromisoformat(text or "").timestamp())
    except (ValueError, OverflowError, OSError):
        return "-"
