# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which steps make a host's bird what it is to be, and bring back what it was."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from .bgp_settings import BgpSettings, Neighbor
from .bird_conf import is_ours
from .bird_record import BirdRecord
from .errors import HostError

CONF = "/etc/bird/bird.conf"
UNIT = "bird.service"
MODE = 0o640

_READ = f"have bird read {CONF}"


class Owner(t.NamedTuple):
    """Whose a file is: user, group, and the bits of its mode."""

    user: str
    group: str
    mode: int


OWNER = Owner("root", "bird", MODE)
"""Passwords are in it, and bird reads it as its own user."""


@dataclass(frozen=True)
class Bird:
    """What there is of bird.

    `conf`: the file's text, None where there is none; `identity`: which file it is, another for each that was written;
    `untouched`: whether it is the package's own; `default`: the package's own text; `enabled`, `active`: words of
    systemd; `restorable`: whether the file that the record names as kept is there.
    """

    installed: bool = False
    conf: str | None = None
    identity: str = ""
    owner: Owner | None = None
    untouched: bool = False
    default: str | None = None
    enabled: str = ""
    active: str = "inactive"
    restorable: bool = False

    @property
    def runs(self) -> bool:
        """Whether the daemon is there, or about to be."""
        return self.active in ("active", "activating", "reloading")

    @property
    def foreign(self) -> bool:
        """Whether somebody else wrote the file."""
        return bool(self.conf and self.conf.strip()) and not self.untouched and not is_ours(self.conf or "")


class Step(t.NamedTuple):
    """One thing to do, and the line that says so."""

    verb: str
    line: str


@dataclass
class BirdPlan:
    """What is to be done, in this order; `record`: what is known once it begins."""

    record: BirdRecord
    steps: list[Step] = field(default_factory=list)

    def add(self, verb: str, line: str) -> None:
        self.steps.append(Step(verb, line))

    @property
    def changes(self) -> list[str]:
        """One line for each step."""
        return [step.line for step in self.steps]


def require_ours(there: Bird, settings: BgpSettings) -> None:
    """HostError where somebody else wrote the file, and it is not to be replaced."""
    if there.foreign and not settings.replace_foreign:
        raise HostError(
            f"{CONF} was not written by katran.fleet and stays as it is: move it away, or say replace_foreign: true in"
            " katran_bgp, which keeps a copy beside it and announces what katran_bgp says alone"
        )


def choose_router_id(settings: BgpSettings, kept: str, local: Collection[str], candidates: Sequence[str]) -> str:
    """The router id: as told, else that of the last run as long as the host has it, else the first candidate.

    `local`: the IPv4 addresses of the host; `candidates`: the best first. It resets all sessions where it changes.
    """
    if settings.router_id:
        return settings.router_id
    if kept and kept in local:
        return kept
    if not candidates:
        raise HostError("this host has no IPv4 address to be a router id: say router_id in katran_bgp")
    return candidates[0]


def missing_links(neighbors: Sequence[Neighbor], interfaces: Collection[str]) -> list[str]:
    """A sentence for each neighbor on an interface that the host has not."""
    return [
        f"neighbors[{index}].interface: interface {neighbor.interface} does not exist on this host"
        for index, neighbor in enumerate(neighbors)
        if neighbor.interface and neighbor.interface not in interfaces
    ]


def plan_presence(there: Bird, record: BirdRecord | None, text: str, packages: Sequence[str], kept_as: str) -> BirdPlan:
    """Make the file this text and have bird run with it. `kept_as`: where somebody else's file would be kept."""
    if there.enabled == "masked":
        raise HostError(f"unit {UNIT} is masked on this host: systemctl unmask {UNIT}, or leave katran_bgp out")
    known = record or BirdRecord(enabled=there.enabled == "enabled", active=there.runs)
    plan = BirdPlan(known)
    if not there.installed:
        plan.add("install", f"install {', '.join(packages)}")
    if there.foreign:
        plan.record = replace(known, backup=kept_as)
        plan.add("keep", f"keep somebody else's {CONF} as {kept_as}")
    written = there.conf != text
    if written:
        plan.add("write", f"{'rewrite' if there.conf and is_ours(there.conf) else 'write'} {CONF}")
    elif there.owner != OWNER:
        plan.add("close", f"give {CONF} to {OWNER.user} and group {OWNER.group} alone")
    if there.enabled != "enabled":
        plan.add("enable", f"enable {UNIT}")
    if not there.runs:
        plan.add("start", f"start {UNIT}")
    elif written or known.read != there.identity:
        plan.add("configure", _READ)
    return plan


def plan_absence(there: Bird, record: BirdRecord | None) -> BirdPlan:
    """Bring back what was there before the first run."""
    known = record or BirdRecord()
    plan = BirdPlan(known)
    ours = bool(there.conf and is_ours(there.conf))
    if ours:
        if known.backup and there.restorable:
            plan.add("restore", f"bring back {CONF} from {known.backup}")
        elif there.default is not None:
            plan.add("default", f"make {CONF} the package's own again")
        else:
            plan.add("remove", f"remove {CONF}")
    if ours or record is not None:
        if there.runs and not known.active:
            plan.add("stop", f"stop {UNIT}")
        elif there.runs and ours:
            plan.add("configure", _READ)
        if there.enabled == "enabled" and not known.enabled:
            plan.add("disable", f"disable {UNIT}")
    if record is not None and not plan.steps:
        plan.add("forget", "forget what bird was before")
    return plan
