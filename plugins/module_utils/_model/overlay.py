# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The overlay: what an operator said of a real by hand, laid over every VIP that has it.

A word may be said of one balancer, or of the fleet. Those of the fleet have the moment at which they were said, the
same on every balancer, and so have their ends: a balancer that was away for either is told afterwards, and of two that
contradict each other the newer one is right (`_model/lagging.py`).
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from .addresses import read_host, read_known_host
from .entries import Asked
from .faults import Faults
from .resource import PURGE, Resource, Row
from .shape import Options, numbered
from .state import State
from .vips import REAL_STATES


class Overlay(t.NamedTuple):
    """A real's state laid over every VIP that has it; `since` is when an operator said so (ISO 8601).

    `fleet`: whether that was said of every balancer.
    """

    address: str
    state: str
    since: str = ""
    fleet: bool = False

    def kept(self) -> dict[str, t.Any]:
        """The entry of state.json."""
        found = self._asdict()
        return found if self.fleet else {name: value for name, value in found.items() if name != "fleet"}


Ended = Mapping[str, str]
"""Real → when a word about it ended that was said of the fleet."""

_MOST_ENDED = 1024


def moment(text: t.Any) -> datetime | None:
    """A moment as ISO 8601 with its time zone; None for anything else."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return None if found.tzinfo is None else found.astimezone(UTC)


def is_later(one: str, other: str) -> bool:
    """Whether a moment is later than another; one that is none is earlier than all."""
    first, second = moment(one), moment(other)
    return first is not None and (second is None or first > second)


def resolve_reals(
    before: Mapping[str, Overlay], asked: Asked, since: str, known: Iterable[str], ended: Ended | None = None
) -> tuple[dict[str, Overlay], list[str]]:
    """The overlay after applying what is asked, and warnings for reals that no VIP has. ConfigError lists all faults.

    `since`: the time that new words get, unless an entry has its own, and so is said of the fleet; `known`: the reals
    that VIPs have; `ended`: None where what is asked counts, else entries count that are newer than the word here, and
    than the end of one.
    """
    entries, limits = asked.entries("reals"), asked.limits
    faults = Faults()
    present = set(known)
    warnings = []
    listed: dict[str, Overlay] = {}
    for index, entry in numbered(entries):
        address = read_known_host(entry.get("address"))
        if not isinstance(address, str) and not asked.deletes and address.text not in present:
            # One that VIPs have may have been let in by an earlier version: then this is the way to drain it.
            address = read_host(address.text)
        if isinstance(address, str):
            faults.add(f"reals[{index}].address", address)
            continue
        state = entry.get("state")
        if address.text in listed:
            faults.add(f"reals[{index}].address", f"{address.text} is listed twice")
            continue
        if not asked.deletes:
            if state is None:
                faults.add(f"reals[{index}].state", "is missing")
            elif state not in REAL_STATES:
                faults.add(f"reals[{index}].state", f"{state} is none of {', '.join(REAL_STATES)}")
            if address.text not in present:
                warnings.append(f"reals[{index}].address: no VIP has the real {address.text}")
        at = entry.get("since")
        if at is not None and moment(at) is None:
            faults.add(f"reals[{index}].since", f"{at} is not a moment (ISO 8601 with its time zone)")
            continue
        old = before.get(address.text)
        if ended is not None and not _is_news(old, ended.get(address.text, ""), at):
            if old is not None and not asked.deletes:
                listed[address.text] = old
            continue
        # What is said of the fleet anew has a new moment: others may have heard something else in between.
        same = old is not None and old.state == state and (at is None or (old.fleet and old.since == at))
        new = Overlay(address.text, str(state), at or since, at is not None)
        listed[address.text] = old if same and old else new
    after = asked.applied(before, listed)
    if len(after) > limits.sizes["reals"]:
        faults.add("reals", f"{len(after)} reals, but sizes.reals is {limits.sizes['reals']}")
    faults.check()
    return after, warnings


def _is_news(old: Overlay | None, ended: str, at: t.Any) -> bool:
    """Whether what is said since `at` is newer than what is known: a word, or (ISO 8601, or "") the end of one."""
    return all(is_later(str(at or ""), known) for known in (old.since if old is not None else "", ended))


def ended_after(
    before: Mapping[str, Overlay], after: Mapping[str, Overlay], asked: Asked, since: str, ended: Ended
) -> dict[str, str]:
    """When words of the fleet ended, once what is asked is applied. `since`: the time that ends get without their own.

    An end is kept also where the word never came, so that it is told to balancers that heard it. What has a word again
    has no end.
    """
    found = {address: at for address, at in ended.items() if address not in after}
    listed = {}
    for entry in asked.config or () if asked.deletes else ():
        address = read_known_host(entry.get("address"))
        if not isinstance(address, str) and entry.get("since") is not None:
            listed[address.text] = str(entry["since"])
    gone = {address: since for address, word in before.items() if address not in after and word.fleet}
    for address, at in {**gone, **listed}.items():
        if address not in after and (address not in found or is_later(at, found[address])):
            found[address] = at
    newest = sorted(found, key=lambda address: (str(moment(found[address]) or ""), address))[-_MOST_ENDED:]
    return {address: found[address] for address in sorted(newest)}


def ended_of(state: State) -> dict[str, str]:
    """When words of the fleet ended, as the last run left it."""
    return {entry["address"]: entry["since"] for entry in state.ended_words}


def fleet_words(overlay: Mapping[str, Overlay], ended: Ended) -> dict[str, list[dict[str, str]]]:
    """What a balancer tells of words that were said of the fleet: those that hold, and those that ended."""
    words = [(each.address, each.state, each.since) for each in overlay.values() if each.fleet]
    return {
        "words": [{"address": address, "state": state, "since": since} for address, state, since in sorted(words)],
        "ended": [{"address": address, "since": since} for address, since in sorted(ended.items())],
    }


def overlay_of(state: State) -> dict[str, Overlay]:
    """The overlay as the last run left it."""
    found = (
        Overlay(entry["address"], entry["state"], entry.get("since", ""), entry.get("fleet", False))
        for entry in state.overlay
    )
    return {entry.address: entry for entry in found}


def effective_state(address: str, state: str, overlay: Mapping[str, Overlay]) -> str:
    """A real's state where a person's word stands in the place of the inventory's."""
    over = overlay.get(address)
    return state if over is None else over.state


class RealStates(Resource):
    """The overlay, described as the other resources are. An operator says it by hand: no variable does."""

    name = "reals"
    noun = "real"
    options: t.ClassVar[Options] = {
        "address": {"type": "str", "required": True},
        "state": {"type": "str", "choices": list(REAL_STATES)},
        "since": {"type": "str"},
    }
    module_options: t.ClassVar[Options] = {**PURGE, "newest": {"type": "bool", "default": False}}
    has_variables = False

    def title(self, row: Row) -> str:
        """As `changes` calls a real."""
        return f"{self.noun} {row['address']}"

    def check(self, asked: Asked) -> None:
        """ConfigError lists what is wrong with entries."""
        resolve_reals({}, asked, "", ())

    def needs(self, rows: Iterable[Row], vips: Iterable[Row]) -> set[str]:
        """None."""
        del rows, vips
        return set()
