# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run would leave behind, without leaving it: for the next step of a review that has several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .maps import Maps
from .state_files import StateFile


class RehearsedMaps:
    """A balancer's maps (the interface is Maps): read from there, written to memory alone.

    Rings are not kept: nothing reads a ring of a VIP after it was written.
    """

    def __init__(self, present: Maps) -> None:
        self._present = present
        self._entries: dict[str, dict[bytes, bytes]] = {}
        self._down: dict[bytes, frozenset[int]] | None = None
        self._index: Mapping[bytes, bytes] | None = None
        self._indexed = False

    def names(self) -> frozenset[str]:
        """The maps that there are."""
        return self._present.names()

    def capacity(self, name: str) -> int:
        """How many entries the map can hold."""
        return self._present.capacity(name)

    def entries(self, name: str) -> dict[bytes, bytes]:
        """All entries; of an array the nonzero ones."""
        return dict(self._written(name)) if name in self._entries else self._present.entries(name)

    def put(self, name: str, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write entries."""
        self._written(name).update(entries)

    def delete(self, name: str, keys: Sequence[bytes]) -> None:
        """Remove entries."""
        for key in keys:
            self._written(name).pop(key, None)

    def _written(self, name: str) -> dict[bytes, bytes]:
        if name not in self._entries:
            self._entries[name] = dict(self._present.entries(name)) if name in self._present.names() else {}
        return self._entries[name]

    def ring_size(self) -> int:
        """How many slots a VIP's ring has."""
        return self._present.ring_size()

    def ring(self, number: int) -> memoryview:
        """The live slots of a VIP's ring."""
        return self._present.ring(number)

    def put_ring(self, number: int, slots: bytes, changed: int) -> None:
        """Nothing: see above."""

    def down_sets(self) -> dict[bytes, frozenset[int]]:
        """All sets."""
        return dict(self._sets())

    def put_down_set(self, key: bytes, ids: frozenset[int]) -> None:
        """Replace a set."""
        self._sets()[key] = ids

    def delete_down_set(self, key: bytes) -> None:
        """Remove a set."""
        self._sets().pop(key, None)

    def _sets(self) -> dict[bytes, frozenset[int]]:
        if self._down is None:
            self._down = dict(self._present.down_sets())
        return self._down

    def index(self) -> Mapping[bytes, bytes] | None:
        """The VIP index."""
        return self._index if self._indexed else self._present.index()

    def put_index(self, slots: Sequence[tuple[bytes, bytes]]) -> None:
        """Let this be the VIP index."""
        self._index, self._indexed = dict(slots), True

    def drop_index(self) -> None:
        """Let there be no VIP index."""
        self._index, self._indexed = None, True

    def purge_flows(self, ids: frozenset[int]) -> int:
        """Nothing: flows are no configuration."""
        del ids
        return 0

    def zero_counters(self, name: str, indexes: Iterable[int]) -> None:
        """Nothing: neither are counters."""


class RehearsedFile(StateFile):
    """A balancer's state: read from there, written to memory alone."""

    def __init__(self, instance: str, bpffs: str, of: StateFile) -> None:
        super().__init__(instance, bpffs)
        self.directory, self.path = of.directory, of.path
        self._texts: dict[str, str] = {}

    def write_file(self, name: str, text: str) -> None:
        """Take this as the text of a file."""
        self._texts[name] = text

    def read_file(self, name: str) -> str | None:
        """The text of a file, None where there is none."""
        return self._texts[name] if name in self._texts else super().read_file(name)

    def sweep(self) -> None:
        """Nothing: a review leaves all as it is."""
