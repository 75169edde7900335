# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which marks are the agent's, and which real each leads to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

MARK_BASE = 0x4B000000
"""Marks of the agent's probes: this, and the id of the real in the bits below."""

MARK_LAST = 0x4BFFFFFF
_MASK = 0xFF000000


def is_ours(mark: int) -> bool:
    """Whether a mark is one of the agent's, and so nobody else's to keep."""
    return mark & _MASK == MARK_BASE


def marks_of(reals: Collection[str], real_ids: Mapping[str, int]) -> dict[str, int]:
    """Real → the mark of its probes, of those that have an id."""
    return {real: MARK_BASE | real_ids[real] for real in sorted(reals) if real in real_ids}
