# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What options of subcommands take: numbers within bounds."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number."""

    def number(value: str) -> int:
        found = int(value)
        if not least <= found <= most:
            raise argparse.ArgumentTypeError(f"{value} is not in {least} to {most}")
        return found

    return number


def seconds_until(most: int) -> Callable[[str], float]:
    """Reads how long to wait at most."""

    def seconds(value: str) -> float:
        found = float(value)
        if not 0 < found <= most:
            raise argparse.ArgumentTypeError(f"{value} is not more than 0 and at most {most}")
        return found

    return seconds
