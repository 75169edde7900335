# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts: what checks say of a real in a VIP, and how that meets the inventory's word and a person's."""

from __future__ import annotations

import typing as t


class Verdict(t.NamedTuple):
    """What checks say of a real in a VIP, where that is not simply that it is active.

    `vip`: as str() makes it of a VIP's key; `state`: active, draining or down; `since`: ISO 8601; `reason`: in a few
    words; `share`: per cent of its weight that the real has while it slowly starts.
    """

    vip: str
    real: str
    state: str
    since: str
    reason: str = ""
    share: int = 100
