# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders for root alone, and what is said where one is open to others."""

from __future__ import annotations

PRIVATE = 0o700


def closing(path: str, mode: int) -> str:
    """The line about closing a folder that has this mode."""
    return f"close {path} to all but root (mode {mode:04o} → {PRIVATE:04o})"
