# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that the controller's plugins write: whole or not at all."""

from __future__ import annotations

import os

PRIVATE = 0o600
"""The mode of a file that only its owner reads: a report tells much of a fleet."""


def write_whole(path: str, text: str, mode: int = 0o666) -> None:
    """Put a file in place of what is there. OSError where that is not possible.

    `mode`: of the new file, less what the umask takes.
    """
    beside = f"{path}.new"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as target:
        target.write(text)
    os.replace(beside, path)
