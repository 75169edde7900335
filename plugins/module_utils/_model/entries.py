# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every resource's `config` has in common: a list of entries, applied with one of four states."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from .errors import ConfigError
from .limits import UNLIMITED, Limits

Config = Sequence[Mapping[str, t.Any]]
K = t.TypeVar("K")
V = t.TypeVar("V")


@dataclass(frozen=True)
class Asked:
    """What a run is asked to make of a resource.

    `config`: entries, None where nothing is said; `state`: merged, replaced, overridden or deleted; `allow_empty`:
    whether an empty config may remove every entry; `limits`: what the balancer that is to have the entries can hold;
    `kept`: whether the entries were let in before, and are in the form in which they were kept; `allow_own_addresses`:
    whether VIPs may cover what balancers need to reach; `ssh_port`: which port of theirs must not be balanced either;
    `more_reals`: reals beside those of VIPs; `check_defaults`: what lies under every check, as it was given;
    `max_probes`: as many probes a second may come of all checks, None: any number; `newest`: whether entries count only
    where nothing newer is known.
    """

    config: Config | None
    state: str = "merged"
    allow_empty: bool = False
    limits: Limits = UNLIMITED
    kept: bool = False
    allow_own_addresses: bool = False
    ssh_port: int = 22
    more_reals: Collection[str] = ()
    check_defaults: t.Any = None
    max_probes: int | None = None
    newest: bool = False

    @property
    def deletes(self) -> bool:
        """Whether the entries are to go: then only what names them counts."""
        return self.state == "deleted"

    def entries(self, resource: str) -> Config:
        """The entries of config. ConfigError where none are given and state would remove all there are."""
        if not self.config and self.state in ("overridden", "deleted") and not self.allow_empty:
            raise ConfigError(
                f"config: state {self.state} with an empty or absent config would remove every entry of {resource}:"
                " give allow_empty: true if that is meant"
            )
        return self.config or ()

    def base(self, before: Mapping[K, V], key: K) -> V | None:
        """What an entry was, where options that are not given keep their value; else None."""
        return before.get(key) if self.state == "merged" else None

    def applied(self, before: Mapping[K, V], listed: Mapping[K, V]) -> dict[K, V]:
        """The resource once the `listed` entries are applied."""
        if self.deletes:
            return {key: value for key, value in before.items() if self.config and key not in listed}
        return dict(listed) if self.state == "overridden" else {**before, **listed}
