# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reals to make rings of."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

RING_SIZE = 65537

Reals = Sequence[tuple[str, int]]


def some_reals(count: int, weight: int | None = None) -> list[tuple[str, int]]:
    """Addresses of both families; weights 1 to 10 unless given."""
    base = ipaddress.ip_address("2001:db8::7:0")
    return [
        (str(base + 13 * i) if i % 3 == 0 else f"10.{i % 7}.{i // 250}.{i % 250}", weight or 1 + i * 7 % 10)
        for i in range(count)
    ]
