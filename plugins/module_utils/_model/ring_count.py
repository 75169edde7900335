# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many slots of a ring each real has. Pure."""

from __future__ import annotations

from collections import Counter

from .layout import SLOT


def count_slots(ring: bytes) -> dict[int, int]:
    """Real id → how many slots of a ring, as ch_rings holds it, lead to it; 0 those that lead to none."""
    low, high = ring[0::SLOT], ring[1::SLOT]
    if not any(high) and not any(map(any, (ring[2::SLOT], ring[3::SLOT]))):
        # Most balancers have fewer than 256 reals: their ids are bytes, which are counted without an object for each.
        return dict(Counter(low))
    return dict(Counter(memoryview(ring).cast("Q")))
