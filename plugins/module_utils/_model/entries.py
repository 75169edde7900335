# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every resource's `config` has in common: a list of entries, applied with one of four states."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from .errors import ConfigError

Config = Sequence[Mapping[str, t.Any]]
K = t.TypeVar("K")
V = t.TypeVar("V")


def require_entries(name: str, config: Config | None, how: str, allow_empty: bool) -> Config:
    if not config and how in ("overridden", "deleted") and not allow_empty:
        raise ConfigError(
            f"config: state {how} with an empty or absent config would remove every entry of {name}:"
            " give allow_empty: true if that is meant"
        )
    return config or ()


def merge_entries(before: Mapping[K, V], listed: Mapping[K, V], how: str, any_listed: bool) -> dict[K, V]:
    if how == "deleted":
        return {key: value for key, value in before.items() if any_listed and key not in listed}
    return dict(listed) if how == "overridden" else {**before, **listed}
