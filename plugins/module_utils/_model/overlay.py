# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The overlay: what an operator said of a real by hand, laid over every VIP that has it."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from .addresses import read_host, read_known_host
from .entries import Asked
from .faults import Faults
from .resource import PURGE, Resource, Row
from .shape import Options, numbered
from .state import State
from .vips import REAL_STATES


class Overlay(t.NamedTuple):
    """A real's state laid over every VIP that has it; `since` is when an operator said so (ISO 8601)."""

    address: str
    state: str
    since: str = ""


def resolve_reals(
    before: Mapping[str, Overlay], asked: Asked, since: str, known: Iterable[str]
) -> tuple[dict[str, Overlay], list[str]]:
    """The overlay after applying what is asked, and warnings for reals that no VIP has. ConfigError lists all faults.

    `since`: the time that new words get; `known`: the reals that VIPs have.
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
        old = before.get(address.text)
        same = old is not None and old.state == state
        listed[address.text] = old if same and old else Overlay(address.text, str(state), since)
    after = asked.applied(before, listed)
    if len(after) > limits.sizes["reals"]:
        faults.add("reals", f"{len(after)} reals, but sizes.reals is {limits.sizes['reals']}")
    faults.check()
    return after, warnings


def overlay_of(state: State) -> dict[str, Overlay]:
    """The overlay as the last run left it."""
    entries = ((entry["address"], entry["state"], entry.get("since", "")) for entry in state.overlay)
    return {entry[0]: Overlay._make(entry) for entry in entries}


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
    }
    module_options = PURGE
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
