# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have bird announce what the agent is ready for: read what there is, plan, and in a run do what differs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .._kernel import bird
from .._kernel.durable import write_durably
from .._kernel.lock import locked, remove_lock
from .._kernel.private import read_private, require_folder
from .._kernel.state_folder import STATE_ROOT
from .._kernel.tree import remove_files
from .._kernel.units import change_unit, read_units
from .._model.announcement import TABLE
from .._model.bgp_settings import BgpSettings, Place
from .._model.bird_conf import masked, render
from .._model.bird_plan import (
    CONF,
    UNIT,
    Bird,
    BirdPlan,
    choose_router_id,
    missing_links,
    plan_absence,
    plan_presence,
    require_ours,
)
from .._model.bird_record import BirdRecord
from .._model.errors import HostError, StateError

RECORD = os.path.join(STATE_ROOT, "bgp.json")
KEPT = f"{CONF}.before-katran"
PACKAGES = ("bird2",)
LOCK_SECONDS = 60.0
_LOCK = ".bgp"


@dataclass(frozen=True)
class BgpRequest:
    """What module bgp is asked for. `settings` None: bird as it was before; `packages` empty: the distribution's."""

    settings: BgpSettings | None
    places: Sequence[Place] | None = None
    table: int = TABLE
    packages: tuple[str, ...] = ()
    check: bool = False


@dataclass
class BgpOutcome:
    """What was, or in check mode would be, done; `packages`: what the caller has to install before anything can be.

    `before`, `after`: bird.conf without passwords.
    """

    changes: list[str]
    before: str = ""
    after: str = ""
    packages: list[str] = field(default_factory=list)


def ensure_bgp(request: BgpRequest) -> BgpOutcome:
    """Compare bird with what it is to be, and make it so; HostError where that cannot be."""
    with locked(_LOCK, not request.check, LOCK_SECONDS):
        record = _read_record()
        there = _read_bird(record)
        if request.settings is None:
            return _leave(there, record, request.check)
        require_ours(there, request.settings)
        faults = missing_links(request.settings.neighbors, bird.interface_names())
        if faults:
            raise HostError("; ".join(faults))
        router_id = _router_id(request.settings, record)
        text = render(request.settings, router_id, request.places, request.table)
        if there.conf != text:
            bird.judge(text)
        packages = request.packages or PACKAGES
        plan = plan_presence(there, record, text, packages, bird.free_name(KEPT))
        plan.record = replace(plan.record, router_id=router_id)
        # Of the package's own file nothing is worth reading.
        before = "" if there.untouched else masked(there.conf or "")
        outcome = BgpOutcome(plan.changes, before, masked(text))
        if not there.installed:
            outcome.packages = list(packages)
            if not request.check:
                # A package may start and enable what it brings: that is not how the host was.
                write_durably(RECORD, plan.record.to_json())
        elif not request.check:
            _execute(plan, record, text)
        return outcome


def _leave(there: Bird, record: BirdRecord | None, check: bool) -> BgpOutcome:
    plan = plan_absence(there, record)
    after = there.conf
    for step in plan.steps:
        if step.verb == "restore":
            after = bird.read_text(plan.record.backup or "")
        elif step.verb in ("default", "remove"):
            after = there.default if step.verb == "default" else None
    if not check:
        for step in plan.steps:
            _do(step.verb, plan.record, after or "")
        remove_files(RECORD)
        remove_lock(_LOCK)
    return BgpOutcome(plan.changes, masked(there.conf or ""), masked(after or ""))


def _read_record() -> BirdRecord | None:
    """What the last run left; None where there was none."""
    require_folder(STATE_ROOT)
    try:
        source = read_private(RECORD)
    except UnicodeDecodeError as error:
        raise StateError(f"{RECORD} cannot be read: {error}") from error
    return None if source is None else BirdRecord.from_json(source, RECORD)


def _read_bird(record: BirdRecord | None) -> Bird:
    conf = bird.read_text(CONF)
    unit = read_units([UNIT])[UNIT]
    return Bird(
        installed=bird.find_bird() is not None,
        conf=conf,
        identity=bird.identity_of(CONF),
        owner=bird.owner_of(CONF),
        untouched=bird.is_packaged(conf),
        default=bird.packaged_text(),
        enabled="masked" if unit.link == "/dev/null" else unit.enabled,
        active=unit.active,
        restorable=bool(record and record.backup and os.path.exists(record.backup)),
    )


def _router_id(settings: BgpSettings, record: BirdRecord | None) -> str:
    local = bird.local_ipv4()
    towards = [bird.source_towards(each.address) for each in settings.neighbors if ":" not in each.address]
    candidates = [address for address in towards if address and address in local.values()]
    kept = record.router_id if record else ""
    return choose_router_id(settings, kept, local.values(), [*candidates, *local.values()])


def _execute(plan: BirdPlan, record: BirdRecord | None, text: str) -> None:
    if plan.record != record:
        # Before the first step: what there was is known from here on, also to a run after one that was killed.
        write_durably(RECORD, plan.record.to_json())
    for step in plan.steps:
        _do(step.verb, plan.record, text)
    # Only what bird has read for sure is written down as read, so that a run that was killed before is made up for.
    done = replace(plan.record, read=bird.identity_of(CONF))
    if done != plan.record:
        write_durably(RECORD, done.to_json())


def _do(verb: str, record: BirdRecord, text: str) -> None:
    match verb:
        case "keep":
            bird.keep_conf(record.backup or KEPT)
        case "write" | "default" | "close":
            # Whose a file is that others may have put there is not changed: it is written anew.
            bird.write_conf(text)
        case "restore":
            os.rename(record.backup or KEPT, CONF)
        case "remove":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(CONF)
        case "configure":
            bird.configure()
        case "enable" | "disable" | "start" | "stop":
            change_unit(verb, UNIT)
