# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a balancer can hold and do."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .faults import Faults, shortened
from .features import features_needed
from .sizes import read_sizes
from .vips import MORE_VIPS, Vip


@dataclass(frozen=True)
class Limits:
    """What a balancer can hold. `features` None: unknown, everything is allowed."""

    sizes: Mapping[str, int]
    features: frozenset[str] | None

    def has(self, feature: str) -> bool:
        """Whether the feature is compiled in, as far as is known."""
        return self.features is None or feature in self.features


def idle_vips(vips: Iterable[Vip], limits: Limits) -> list[str]:
    """What VIPs have that the loaded program cannot do: it was applied to one that could."""
    found = []
    for vip in vips:
        local = any(real.local for real in vip.reals)
        entry = {"address": vip.key.address, "flags": vip.flags, "down_reals": vip.down_reals}
        needed = features_needed([{**entry, "reals": [{"local": local}]}])
        missing = [feature for feature in needed if not limits.has(feature)]
        if missing:
            found.append(f"vip {vip.key}: needs {_features(missing)}, which the program does not have")
    return shortened(found, MORE_VIPS)


def _features(names: Sequence[str]) -> str:
    return f"feature{'' if len(names) == 1 else 's'} {' and '.join(names)}"


def parse_planned(planned: Mapping[str, t.Any]) -> Limits:
    """The option planned of resource modules: features, and sizes where they are not the defaults."""
    faults = Faults()
    sizes = read_sizes(planned.get("sizes"), faults)
    faults.check()
    return Limits(sizes, frozenset(planned.get("features") or ()))


def limits_of_settings(settings: Mapping[str, t.Any]) -> Limits:
    """The limits of a balancer from its settings in state.json."""
    return Limits(settings["sizes"], frozenset(settings["features"]))
