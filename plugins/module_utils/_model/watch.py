# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether programs run where they were put, and what is said where that changes. Pure: no I/O."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Iterable, Mapping

from .decap_record import KERNEL, TC
from .options import no_interface
from .snapshot import RootArray

WHAT = {
    "balancer": "no packet that comes in there is balanced",
    "decap": "what balancers send there is not decapsulated",
    "root": "none of the programs in its slots runs there",
    "server_id_option": "its connections carry no server id",
}
"""Program → what it means where it does not run."""

IN_UNITS = "server_id_option"
"""The program whose places are units of systemd."""

UNSEEN = "?"
"""Where a program runs that cannot be looked at, such as for a damaged file."""

RESTORE = "systemctl restart katran-restore.service brings it back, and so does a deploy"


class Ingress(t.NamedTuple):
    """The ingress of an interface, where tc runs programs."""

    interface: str

    def __str__(self) -> str:
        return self.interface


class Place(t.NamedTuple):
    """Where an instance's program is to run: on an interface, at its ingress, in a slot of root's array, in a unit."""

    instance: str
    program: str
    where: str | RootArray | Ingress

    @property
    def title(self) -> str:
        """The program, as sentences call it."""
        return f"{self.program} of instance {self.instance}"

    @property
    def spot(self) -> str:
        """The place, as sentences call it."""
        if isinstance(self.where, RootArray):
            return f"slot {self.where.position} of {self.where.path}"
        return f"{'unit' if self.program == IN_UNITS else 'interface'} {self.where}"


def places_of_real(way: str, interfaces: Iterable[str], tunnels: Iterable[str]) -> list[str | Ingress]:
    """Where decap is to run that goes this way: at the ingress of interfaces or of the kernel's tunnels, or by XDP."""
    inward = {TC: interfaces, KERNEL: tunnels}
    return [*map(Ingress, inward[way])] if way in inward else [*interfaces]


def spot_of(told: t.Any) -> str | RootArray | Ingress:
    """The `where` of a place as another process told it, whose tuples come as lists."""
    if isinstance(told, str):
        return told
    return Ingress(*told) if len(told) == 1 else RootArray(*told)


def unpinned(place: Place) -> str:
    """What is said of a program that runs where it should, and whose pin is gone: packets do not need it."""
    return f"{place.spot}: the pin of {place.title} is gone, so nobody can change it; it goes on as before ({RESTORE})"


def judge(place: Place, exists: bool, running: int | None, pinned: Collection[int], last: int | None = None) -> str:
    """What is wrong with a place, "" where nothing is.

    `running`: the id of the program there; `pinned`: of ours; `last`: the id that was last found to be ours there.
    """
    if not exists:
        return f"{no_interface(str(place.where))}, where {place.title} is to run"
    harm = WHAT[place.program]
    if running is None:
        return f"{place.spot}: {place.title} was taken off: {harm} ({RESTORE})"
    if not pinned and running == last:
        return unpinned(place)
    if not pinned:
        return f"{place.spot}: the pin of {place.title} is gone, so nobody can change it ({RESTORE})"
    if running not in pinned:
        return (
            f"{place.spot}: {place.title} was replaced by another program (id {running}): {harm} (take that off, then"
            f" {RESTORE})"
        )
    return ""


def news(before: Mapping[Place, str], after: Mapping[Place, str]) -> list[tuple[bool, str]]:
    """(whether something is wrong, line) for each place whose judgement changed. One that is not known was well."""
    found = []
    for place, sentence in after.items():
        if sentence != before.get(place, ""):
            found.append((bool(sentence), sentence or f"{place.spot}: {place.title} runs there as it should"))
    return found
