# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of a proof every run of CI repeats: enough to notice what breaks, in the time that there is.

Tests that are marked `proof` run in `make engine-proofs` and `make lab-proofs` alone. Those marked `dosed` run always,
with more trials there (KATRAN_PROOFS=1).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

WHOLE = os.environ.get("KATRAN_PROOFS") == "1"
SEED = int(os.environ.get("KATRAN_SEED") or time.time() // 86400)
"""Another one every day, so that runs of CI in the end try all; KATRAN_SEED=NUMBER repeats one."""


def dose(usual: int, whole: int) -> int:
    """How many trials: `whole` where that is what is asked for."""
    return whole if WHOLE else usual


def some(all_of_them: Sequence[T], usual: int) -> Sequence[T]:
    """So many of these at the most, spread evenly; all where that is what is asked for.

    Prints the seed, by which a failure can be repeated.
    """
    if WHOLE or usual >= len(all_of_them):
        return all_of_them
    stride = len(all_of_them) / usual
    first = random.Random(SEED).random() * stride
    print(f"{usual} of {len(all_of_them)} (KATRAN_SEED={SEED}; KATRAN_PROOFS=1 for all)")
    return [all_of_them[int(first + number * stride)] for number in range(usual)]
