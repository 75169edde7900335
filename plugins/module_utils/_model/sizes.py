# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sizes of a balancer's maps, validated."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from .faults import Faults
from .map_specs import DEFAULT_SIZES
from .shape import is_number

_SIZE_RANGES = {
    "vips": (1, 65536),
    "cidr_vips": (1, 1 << 20),
    "reals": (2, 1 << 20),
    "ring": (3, 1 << 24),
    "source_routes": (1, 1 << 26),
    "server_ids": (2, 1 << 24),
    "flows": (1, 1 << 28),
    "global_flows": (1, 1 << 28),
    "source_filters": (1, 1 << 24),
}


def is_prime(number: int) -> bool:
    """Whether the number is prime, by trial division: ring sizes have at most 8 digits."""
    if number < 2 or (number % 2 == 0 and number != 2):
        return False
    return all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2))


def read_sizes(given: Mapping[str, t.Any] | None, faults: Faults) -> dict[str, int]:
    sizes = {**DEFAULT_SIZES, **{name: value for name, value in (given or {}).items() if value is not None}}
    for name, value in sizes.items():
        if name not in _SIZE_RANGES:
            faults.add(f"sizes.{name}", f"there is no such size; there are {', '.join(_SIZE_RANGES)}")
            continue
        low, high = _SIZE_RANGES[name]
        if not is_number(value, low, high):
            faults.add(f"sizes.{name}", f"{value} is not in {low} to {high}")
        elif name == "ring" and not is_prime(value):
            faults.add("sizes.ring", f"{value} is not a prime")
    vips, ring = sizes["vips"], sizes["ring"]
    if is_number(vips, 1, 1 << 32) and is_number(ring, 1, 1 << 32) and vips * ring >= 1 << 32:
        faults.add("sizes", f"{vips} VIPs × {ring} slots are more than one table can hold (2^32 - 1)")
    return sizes
