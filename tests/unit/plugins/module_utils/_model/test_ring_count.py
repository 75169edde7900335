# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many slots of a ring each real has."""

from __future__ import annotations

from array import array
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.ring_count import count_slots


def ring(*ids: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in ids)


@pytest.mark.parametrize("ids", [[], [0], [1, 1, 255], [256, 1], [0, 1 << 16], [1 << 24, 1 << 24], [0xFFFFFFFF, 0]])
def test_ids_of_any_size(ids: list[int]) -> None:
    assert count_slots(ring(*ids)) == Counter(ids)


@given(st.lists(st.integers(0, 300) | st.integers(0, 0xFFFFFFFF), max_size=200))
def test_all_slots_are_counted(ids: list[int]) -> None:
    assert count_slots(array("Q", ids).tobytes()) == Counter(ids)
