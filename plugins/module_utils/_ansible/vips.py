# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules vips and reals: resources whose entries have flows of their own."""

from __future__ import annotations

from .._engine.flows import purge_gone
from .resource import run_resource


def run_vips() -> None:
    """The whole of module vips."""
    run_resource("vips", purge_gone)


def run_reals() -> None:
    """The whole of module reals."""
    run_resource("reals", purge_gone)
