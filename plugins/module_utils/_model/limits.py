# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a balancer can hold and do."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from .faults import Faults
from .map_specs import DEFAULT_SIZES
from .sizes import read_sizes


@dataclass(frozen=True)
class Limits:
    """What a balancer can hold. `features` None: unknown, everything is allowed."""

    sizes: Mapping[str, int]
    features: frozenset[str] | None

    def has(self, feature: str) -> bool:
        """Whether the feature is compiled in, as far as is known."""
        return self.features is None or feature in self.features


UNLIMITED = Limits(DEFAULT_SIZES, None)
"""Those of a balancer of which nothing is known."""


def parse_planned(planned: Mapping[str, t.Any]) -> Limits:
    """The option planned of resource modules: features, and sizes where they are not the defaults."""
    faults = Faults()
    sizes = read_sizes(planned.get("sizes"), faults)
    faults.check()
    return Limits(sizes, frozenset(planned.get("features") or ()))


def limits_of_settings(settings: Mapping[str, t.Any]) -> Limits:
    """The limits of a balancer from its settings in state.json."""
    return Limits({**DEFAULT_SIZES, **settings["sizes"]}, frozenset(settings["features"]))
