# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which marks are the agent's, and which real each leads to. Pure.

Balancers of one host may have program healthcheck on one interface, each its own. A mark means something to one of
them alone: the others let such a packet pass to the next.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping

MARK_BASE = 0x4B000000
"""Marks of the agent's probes: this, the number of the balancer, and the id of the real in the 20 bits below."""

MOST_BALANCERS = 16
"""So many on one host may have checks at once."""

_REAL_BITS = 20

MARK_LAST = 0x4BFFFFFF
_MASK = 0xFF000000


def is_ours(mark: int) -> bool:
    """Whether a mark is one of the agent's, and so nobody else's to keep."""
    return mark & _MASK == MARK_BASE


def marks_of(reals: Collection[str], real_ids: Mapping[str, int], number: int = 0) -> dict[str, int]:
    """Real → the mark of its probes, of those that have an id. `number`: of the balancer on this host."""
    base = MARK_BASE | number << _REAL_BITS
    return {real: base | real_ids[real] for real in sorted(reals) if real in real_ids}


def number_for(instance: str, taken: Collection[int]) -> int | None:
    """A number for a balancer that none of this host's others has; None where all are taken.

    It follows from the name as far as that goes: a balancer that comes or goes leaves the marks of others alone.
    """
    first = 0 if instance == "default" else zlib.crc32(instance.encode()) % MOST_BALANCERS
    order = (number % MOST_BALANCERS for number in range(first, first + MOST_BALANCERS))
    return next((number for number in order if number not in taken), None)
