# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What options of subcommands take: numbers within bounds."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

from .._model.written import as_decimal, visible

_WHOLE = re.compile(r"[+-]?[0-9]{1,100}", re.ASCII)


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads a whole number, of any size without a `most`."""

    def number(value: str) -> int:
        # Not as in YAML, 05 is 5 to a shell.
        if not _WHOLE.fullmatch(value):
            raise argparse.ArgumentTypeError(f"{visible(value)} is not a whole number")
        found = int(value)
        if most is None and found < least:
            raise argparse.ArgumentTypeError(f"{value} is not {least} or more")
        if most is not None and not least <= found <= most:
            raise argparse.ArgumentTypeError(f"{value} is not in {least} to {most}")
        return found

    return number


def seconds_until(most: int) -> Callable[[str], float]:
    """Reads how long to wait at most."""

    def seconds(value: str) -> float:
        found = as_decimal(value)
        if found is None or not 0 < found <= most:
            raise argparse.ArgumentTypeError(f"{value} is not more than 0 and at most {most}")
        return found

    return seconds
