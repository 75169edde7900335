# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who refers to a balancer's reals beside its VIPs."""

from __future__ import annotations

from collections.abc import Collection

from .state import State


def other_references(state: State, settled: Collection[str]) -> dict[str, bool]:
    """The reals that are referred to by others than the `settled` resources → whether it is local."""
    found: dict[str, bool] = {}
    for name in sorted(set(state.references) - set(settled)):
        for address in state.references[name]:
            found[address] = found.get(address, False) or name == "lost_local"
    return found
