# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids that are assigned once and kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Ids:
    """Numbers assigned once and kept: a key's number, and freed numbers, oldest first, awaiting reuse.

    `first` is the lowest number ever given out. A number that is both was given out again by a run that has not ended:
    what it had before is still to be cleared away.
    """

    first: int
    assigned: dict[str, int] = field(default_factory=dict)
    quarantine: list[int] = field(default_factory=list)

    def copy(self) -> Ids:
        """An independent copy: planning changes ids, check mode must not."""
        return Ids(self.first, dict(self.assigned), list(self.quarantine))

    def assign(self, keys: Iterable[str], limit: int) -> list[str]:
        """Give each key without a number one below `limit`; returns the keys for which there was no room.

        Numbers never used come first, then the one that was freed longest ago.
        """
        used = set(self.assigned.values())
        taken = used.union(self.quarantine)
        fresh = (number for number in range(self.first, limit) if number not in taken)
        freed = (number for number in list(self.quarantine) if number < limit and number not in used)
        left = []
        for key in keys:
            if key in self.assigned:
                continue
            number = next(fresh, None)
            if number is None:
                number = next(freed, None)
            if number is None:
                left.append(key)
                continue
            self.assigned[key] = number
        return left

    def free(self, key: str) -> int | None:
        """Take the key's number away into quarantine; returns it."""
        number = self.assigned.pop(key, None)
        if number is not None:
            if number in self.quarantine:
                self.quarantine.remove(number)
            self.quarantine.append(number)
        return number

    def adopted(self, found: Iterable[tuple[str, int]]) -> Ids:
        """A copy with the keys and numbers that the kernel has, where neither is taken.

        A number that a killed run gave out again, but that the kernel shows with its old key, is taken back.
        """
        pairs = list(found)
        ids = self.copy()
        owners = {number: key for key, number in ids.assigned.items()}
        promised = set(ids.quarantine).difference(number for key, number in pairs if ids.assigned.get(key) == number)
        for key, number in pairs:
            owner = owners.get(number)
            if key in ids.assigned or number < ids.first or (owner is not None and number not in promised):
                continue
            if owner is not None:
                del ids.assigned[owner]
            if number in ids.quarantine:
                ids.quarantine.remove(number)
            promised.discard(number)
            ids.assigned[key] = number
            owners[number] = key
        return ids

    def reused(self) -> list[int]:
        """The numbers that are both assigned and in quarantine, sorted."""
        return sorted(set(self.assigned.values()).intersection(self.quarantine))

    def settled(self) -> Ids:
        """A copy in which no assigned number is in quarantine: what is saved when a run ends."""
        used = set(self.assigned.values())
        return Ids(self.first, dict(self.assigned), [number for number in self.quarantine if number not in used])
