# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a balancer's life that other programs' have not."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from .map_specs import MapSpec
from .settings import BalancerSettings
from .snapshot import RootArray
from .state import Coming
from .steps import Phase


@dataclass(frozen=True)
class Prove:
    """Let a program prove itself on scratch maps."""

    phase: t.ClassVar[Phase] = Phase.TEST
    settings: BalancerSettings


@dataclass(frozen=True)
class Watch:
    """Begin to watch what the present program does."""

    phase: t.ClassVar[Phase] = Phase.WATCH


@dataclass(frozen=True)
class MigrateMaps:
    """Make maps of another size or type beside those that there are, with their contents. Sizes by name."""

    phase: t.ClassVar[Phase] = Phase.MIGRATE
    specs: tuple[MapSpec, ...]
    old: Mapping[str, int]
    new: Mapping[str, int]


@dataclass(frozen=True)
class MakeTables:
    """Make tables for CPUs, of so many entries, as those of a map of tables; CPUs that have none get theirs now.

    `size`: the option that says how many; `by_node`: each on the memory node of its CPU; `shared`: one table for all.
    """

    phase: t.ClassVar[Phase] = Phase.MAKE_TABLES
    map: str
    spec: MapSpec
    entries: Mapping[int, int]
    size: str
    by_node: bool
    shared: bool = False


@dataclass(frozen=True)
class IndexVips:
    """Make the index of the VIPs that there are, for a program that looks into it."""

    phase: t.ClassVar[Phase] = Phase.WRITE
    slots: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Announce:
    """Write down and pin what is about to be attached, but for what only its loading and migration tell."""

    phase: t.ClassVar[Phase] = Phase.ANNOUNCE
    coming: Coming


@dataclass(frozen=True)
class RememberPlaces:
    """Write down where the program will be beside where it is, so that a run after a kill knows both."""

    phase: t.ClassVar[Phase] = Phase.ANNOUNCE
    interfaces: tuple[str, ...]
    slot: RootArray | None


@dataclass(frozen=True)
class Verify:
    """See that packets fare no worse than before."""

    phase: t.ClassVar[Phase] = Phase.VERIFY


@dataclass(frozen=True)
class SettleTables:
    """Give the other CPUs the tables that were made, with their flows, and take tables away: map → CPUs.

    `unfinished`: finish first what a killed run began.
    """

    phase: t.ClassVar[Phase] = Phase.SETTLE_TABLES
    gone: Mapping[str, tuple[int, ...]]
    unfinished: bool


@dataclass(frozen=True)
class ConcludeState:
    """Write down the settings, and what else there is. `places`: also where the program is.

    `forget`: that it was rolled back, and from what.
    """

    phase: t.ClassVar[Phase] = Phase.CONCLUDE
    settings: Mapping[str, t.Any]
    gateway_mac: str
    places: tuple[tuple[str, ...], RootArray | None] | None
    forget: bool


@dataclass(frozen=True)
class ForgetPrevious:
    """Remove the program that could be gone back to."""

    phase: t.ClassVar[Phase] = Phase.FORGET
