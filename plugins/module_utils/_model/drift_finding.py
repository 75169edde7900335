# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has that the inventory has not: whose doing it is, and since when, as far as that can be known. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from .faults import counted, some
from .verdicts import Words
from .vip_plan import ring_members
from .vips import Vip

CHANGED, AHEAD, DIFFERS, UNKNOWN = "changed", "ahead", "differs", "unknown"
KINDS: t.Final = {
    CHANGED: "changed on the host since the last run",
    AHEAD: "the inventory says otherwise than the last run did",
    DIFFERS: "differs from the inventory",
    UNKNOWN: "could not be compared",
}
"""Each kind of finding, and what it means."""


class Since(t.NamedTuple):
    """Since when, in ISO 8601, of which any may be unknown, "".

    `at`: at this time, as `by` says; `after`: at some time after this, when a run found or left it as it should be.
    """

    at: str = ""
    after: str = ""
    by: str = ""

    @property
    def text(self) -> str:
        """For people. What is not known is said to be."""
        if self.at:
            return f"since {self.at}, {self.by}"
        return f"since when is unknown, after {self.after}, {self.by}" if self.after else "since when is unknown"


class Finding(t.NamedTuple):
    """One difference. `area`: the module that would end it; `kind`: of KINDS; `what`: a sentence naming the entry."""

    area: str
    kind: str
    what: str
    since: Since = Since()


_LACKING = 4
"""So many settings that a host has not are told one by one."""
_REPAIRED = re.compile(r",? repaired$")
_REMOVED = re.compile(r"not ours, removed from (\w+)$")


def as_found(sentence: str) -> str:
    """What a run says of what it mends, as it is while nobody mends it."""
    return _REMOVED.sub(r"not ours, and in \1", _REPAIRED.sub("", sentence))


def findings_of(
    area: str, changes: Sequence[str], drift: Collection[str] | None, same: bool | None, since: t.Callable[[str], Since]
) -> Iterator[Finding]:
    """What a review's changes are.

    `drift`: those of them that no change of the configuration explains, None where the module cannot tell. Then `same`
    says whether the settings that are asked for are those of the last run, None where nobody knows.
    """
    for line in changes:
        if drift is not None:
            kind = CHANGED if line in drift else AHEAD
        else:
            kind = DIFFERS if same is None else CHANGED if same else AHEAD
        told = as_found(line) if drift is not None else f"would: {line}"
        yield Finding(area, kind, told, since(line))


def settings_ahead(
    area: str, before: Mapping[str, t.Any], after: Mapping[str, t.Any], since: Since
) -> Iterator[Finding]:
    """Each setting that the last run had otherwise. `before`, `after`: by name, in a module's own form.

    Many that the host does not have at all are one finding: mostly nothing of it is there.
    """
    lacking = [name for name in sorted(after) if before.get(name) is None and after[name] is not None]
    if len(lacking) > _LACKING:
        told = f"{some(lacking)}: {len(lacking)} settings of the inventory that the host has not"
        yield Finding(area, AHEAD, told, since)
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was != now and not (len(lacking) > _LACKING and name in lacking):
            yield Finding(area, AHEAD, f"{name}: {_shown(was)} on the host, {_shown(now)} in the inventory", since)


def _shown(value: t.Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, sort_keys=True)


def routes_compared(
    ready: Mapping[str, int], there: Iterable[tuple[str, int, bool]], others: int, protocols: Sequence[int], table: int
) -> Iterator[str]:
    """What is in the table of announcements that the agent did not put there, and what is not that it did.

    `ready`: place → metric, 0 where it is not announced; `there`: (place, metric, whether it leads out of lo).
    """
    found: dict[str, set[int]] = {}
    for place, metric, loopback in there:
        if not loopback or not ready.get(place) or ready[place] != metric:
            yield f"table {table} has a route to {place}, metric {metric}, that the agent does not have there"
        found.setdefault(place, set()).add(metric)
    for place, metric in sorted(ready.items()):
        if metric and metric not in found.get(place, ()):
            yield f"table {table} lacks the route to {place}, which the agent announces"
    if others:
        told = ", ".join(map(str, protocols))
        number = counted(others, "route")
        yield f"table {table} has {number} of others (routing protocol {told}), which bird announces too"


def live_digest(slots: memoryview, addresses: Mapping[int, str], step: int = 1) -> str:
    """A digest of a ring by its reals' addresses, not by the numbers that they have on one balancer.

    `slots`: the ring as the kernel has it; `step`: only every so many slots count. "" for an empty ring.
    """
    numbers = memoryview(slots).cast("B").cast("I")[::step]
    used = set(numbers)
    if used <= {0}:
        return ""
    names = sorted((addresses.get(number, f"id {number}"), number) for number in used)
    ranks = {number: rank for rank, (_name, number) in enumerate(names)}
    found = hashlib.sha256(repr([name for name, _number in names]).encode())
    found.update(array("H", map(ranks.__getitem__, numbers)))
    return found.hexdigest()[:16]


def why_another(vip: Vip, words: Words) -> list[str]:
    """What was said of a VIP's reals, beside the inventory, that changes its ring: by hand, by check."""
    asked = ring_members(vip, Words())
    by_hand = ring_members(vip, Words(words.overlay, {}))
    found = ["by hand"] if by_hand != asked else []
    return found + (["by check"] if ring_members(vip, words) != by_hand else [])


def config_digest(vip: Mapping[str, t.Any], size: int) -> str:
    """Of a VIP as it was applied, in config's own form, and of the slots of a ring."""
    return hashlib.sha256(json.dumps([vip, size], sort_keys=True).encode()).hexdigest()[:16]
