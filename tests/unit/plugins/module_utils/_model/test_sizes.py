# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sizes of a balancer's maps at their bounds."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.faults import Faults
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DEFAULT_SIZES
from ansible_collections.katran.fleet.plugins.module_utils._model.sizes import is_prime, read_sizes


def test_primes() -> None:
    # Among them the squares of primes, whose only divisor is the last that is tried.
    sieve = [number for number in range(2, 5000) if all(number % divisor for divisor in range(2, number))]
    assert [number for number in range(-2, 5000) if is_prime(number)] == sieve


@pytest.mark.parametrize(
    ("sizes", "sentences"),
    [
        ({}, []),
        ({"vips": None}, []),
        ({"vips": 65536, "ring": 65521}, []),
        (
            {"vips": 65536, "ring": 65536},
            [
                "sizes.ring: 65536 is not a prime",
                "sizes: 65536 VIPs × 65536 slots are more than one table can hold (2^32 - 1)",
            ],
        ),
        (
            {"vips": 65536, "ring": 65537},
            ["sizes: 65536 VIPs × 65537 slots are more than one table can hold (2^32 - 1)"],
        ),
        ({"vips": 1, "reals": 2, "ring": 3, "server_ids": 2}, []),
        ({"vips": True}, ["sizes.vips: True is not in 1 to 65536"]),
    ],
)
def test_sizes(sizes: dict[str, int | None], sentences: list[str]) -> None:
    faults = Faults()
    found = read_sizes(sizes, faults)
    assert faults.lines == sentences
    assert found == {**DEFAULT_SIZES, **{name: size for name, size in sizes.items() if size is not None}}
