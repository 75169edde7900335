# SPDX-License-Identifier: GPL-3.0-or-later
"""How the pictures in docs/ look. Needs matplotlib (pip install matplotlib: nothing else here uses it)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

DOCS = Path(__file__).resolve().parents[2] / "docs"


@contextmanager
def picture(name: str, *, same_scale: bool) -> Iterator[tuple[Axes, Axes]]:
    """Two graphs side by side, to be filled in a with block and written to docs/*name*; linear axes begin at 0."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=same_scale)
    yield left, right
    for axes in (left, right):
        if axes.get_xscale() == "linear":
            axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(DOCS / name, dpi=110)
