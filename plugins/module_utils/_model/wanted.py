# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of module balancer is asked for, and what the state makes of it."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from .bytecode import Bytecode
from .errors import ProgramError
from .link_mtu import Links, RealLinks
from .settings import COMPILED, BalancerSettings, parse_settings, with_kept, with_program_of
from .snapshot import Missing, RootArray
from .state import State


@dataclass(frozen=True)
class Wanted:
    """What a run is asked for.

    `kept`: use the bytecode kept on the host, whatever the sources; `back`: the previous program's; `attach_later`:
    leave the attachments as they are. Restore at boot does the first and the last; `boot`: it does without an interface
    that is missing. `untouched`: resources whose features stay. `names_program`: whether something was asked that goes
    with the program; `ends_rollback`: take what is asked for also where it is what was rolled back. `links`: how the
    interfaces' MTUs are to be compared; None: not at all. `after_vips`: the VIPs are in place, or in a review would be.
    """

    settings: BalancerSettings
    state: str
    source_dir: str
    accept_rehash: bool = False
    kept: bool = False
    back: bool = False
    attach_later: bool = False
    boot: bool = False
    untouched: frozenset[str] = frozenset()
    names_program: bool = True
    ends_rollback: bool = False
    links: Links | None = None
    after_vips: bool = False

    def settle(self, _state: State) -> Wanted:
        """What is wanted on top of what a state has: all is said."""
        return self

    @property
    def asks_gateway(self) -> bool:
        """Whether the gateway's MAC has to be found out."""
        return self.settings.gateway_mac == "auto"

    @property
    def attaches(self) -> bool:
        """Whether the program is to run."""
        return self.state == "attached" and not self.attach_later

    @property
    def interfaces(self) -> list[str]:
        """The interfaces to be attached to."""
        return list(self.settings.interfaces) if self.attaches else []

    @property
    def slot(self) -> RootArray | None:
        """The slot of root's array to be taken."""
        return self.settings.root_array if self.attaches else None

    def to_config(self) -> dict[str, t.Any]:
        """The settings in the module's own form: what state.json keeps."""
        return {**self.settings.to_config(), "source_dir": self.source_dir, "state": self.state}

    def with_features(self, used: Collection[str]) -> Wanted:
        """With these features as well."""
        features = self.settings.features.union(used)
        return self if features == self.settings.features else self._with(replace(self.settings, features=features))

    def _with(self, settings: BalancerSettings) -> Wanted:
        return replace(self, settings=settings)

    def kept_as(self, state: State, digest: str | Missing | None) -> Wanted:
        """A program that was rolled back by hand stays until the sources or settings differ from those it left.

        `digest`: of what a compile would take.
        """
        left = state.program.rolled_back_from
        if not left or self.kept or self.ends_rollback or (self.names_program and left != digest):
            return self
        return replace(self._with(with_program_of(parse_settings(state.settings), self.settings)), kept=True)


@dataclass(frozen=True)
class Asking:
    """What a run of module balancer names; what it does not name stays as the last run left it."""

    named: Mapping[str, t.Any]
    state: str
    accept_rehash: bool = False
    untouched: frozenset[str] = frozenset()
    ends_rollback: bool = False
    links: RealLinks | None = None
    after_vips: bool = False

    def check(self) -> None:
        """ConfigError lists the faults of what is named, whatever stays."""
        parse_settings({**with_kept(self.named, {}), "state": "loaded"})

    @property
    def asks_gateway(self) -> bool:
        """Whether the gateway's MAC may have to be found out."""
        return bool(self.named.get("gateway_mac", "auto") == "auto")

    def settle(self, state: State) -> Wanted:
        """What is wanted on top of what a state has. ConfigError lists the faults of both together."""
        params = with_kept(self.named, state.settings)
        settings = parse_settings({**params, "state": self.state})
        return Wanted(
            settings,
            self.state,
            params["source_dir"],
            self.accept_rehash,
            untouched=self.untouched,
            names_program=not {*COMPILED, "sizes", "source_dir"}.isdisjoint(self.named),
            ends_rollback=self.ends_rollback,
            links=self.links.of(settings.encapsulation, settings.max_frame) if self.links else None,
            after_vips=self.after_vips,
        )


def kept_wanted(state: State) -> Wanted:
    """What the last run left."""
    settings = state.settings
    return Wanted(parse_settings(settings), settings["state"], settings["source_dir"], kept=True)


def wanted_back(instance: str, state: State, previous: Bytecode | Missing) -> Wanted:
    """The program before the last upgrade. ProgramError where there is none to go back to."""
    before = state.program.previous
    if before and before.migrated:
        raise ProgramError(
            f"balancer {instance} cannot be rolled back across a migration of its maps ({before.migrated}):"
            " the previous program's maps are gone; set the sizes back instead"
        )
    if not before or not state.settings or isinstance(previous, Missing):
        raise ProgramError(f"balancer {instance} has no previous program to go back to")
    settings = with_program_of(parse_settings(before.settings), parse_settings(state.settings))
    return Wanted(settings, state.settings["state"], before.settings["source_dir"], kept=True, back=True)
