# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The maps of a balancer as flow exceptions need them: what decides of flows, their tables, and the global tables."""

from __future__ import annotations

import contextlib
import errno
import json
import typing as t
from collections.abc import Iterator
from contextlib import ExitStack

from .._engine.flows import FLOW_TABLES, loaded, open_flow_tables
from .._engine.request import Request
from .._kernel.lock import locked
from .._kernel.maps import KernelMaps
from .._kernel.open_map import Map
from .._kernel.state_folder import StateFolder
from .._model import layout
from .._model.errors import EngineError
from .._model.exceptions import Rings, VipTable
from .._model.flow_selection import KEY_BYTES
from .._model.sync_ledger import Real, Writes

BATCH = 16_384
"""Entries that are read and looked at in one go: some 20 ms, in which no datagram is read."""

_OWN, _GLOBAL = FLOW_TABLES


class Tables:
    """A balancer's maps, open. Only reading takes the instance's lock, and only while they are opened."""

    def __init__(self, request: Request) -> None:
        """EngineError or StateError where no balancer is loaded or its lock cannot be had in time."""
        self._stack = ExitStack()
        with locked(request.instance, False, request.lock_timeout), ExitStack() as stack:
            maps = stack.enter_context(loaded(request, []))
            if maps is None:
                raise EngineError(f"balancer {request.instance} is not loaded on this host")
            self._maps: KernelMaps = maps
            tables = open_flow_tables(maps, stack)
            # Of several CPUs that share a table, one.
            self.own = {each.map.info.id: each.map for each in tables if each.name in _OWN}
            self.shared = {each.map.info.id: each.map for each in tables if each.name in _GLOBAL}
            self.per_cpu = {each.map.info.id: each.map for each in tables if each.name == _GLOBAL[0]}
            # Until they are closed.
            self._stack.enter_context(stack.pop_all())
        self.reals: dict[int, Real] = {}
        self.numbers: dict[Real, int] = {}
        self.read()

    def close(self) -> None:
        """Close every map."""
        self._stack.close()

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def read(self) -> None:
        """Read anew which VIPs and reals there are."""
        self.reals = {}
        for key, value in self._maps.entries("reals").items():
            packed, flags = layout.parse_real_definition(value)
            self.reals[layout.parse_u32(key)] = (packed, bool(flags & layout.REAL_IPV6))
        self.numbers = {real: number for number, real in self.reals.items()}
        names = self._maps.names()
        prefixes = {
            (name == "vip_lpm_map", key): value
            for name in ("vip_lpm_map", "vip_lpm4_map")
            if name in names
            for key, value in self._maps.entries(name).items()
        }
        self.vips = VipTable(self._maps.entries("vip_map"), prefixes)

    @property
    def room(self) -> int:
        """Flows that each global table of a CPU has room for."""
        return min((each.info.entries for each in self.per_cpu.values()), default=0)

    def rings(self, udp_timeout: int) -> Rings:
        """What decides of new flows: its slots are those that packets meet, at any moment."""
        import numpy as np

        mapped = self._maps.map("ch_rings").mmap(writable=False)
        info = self._maps.map("ch_rings").info
        max_vips = self._maps.capacity("server_id_stats")
        slots = np.frombuffer(mapped, np.uint64, info.entries)
        return Rings(self.vips, slots, max_vips, self._maps.ring_size(), frozenset(self.reals), udp_timeout)

    def batches(self) -> Iterator[tuple[bytes, bytes, int]]:
        """The entries of the connection tables, BATCH at a time."""
        for table in self.own.values():
            # One that is taken away meanwhile stays readable while it is open.
            yield from table.batches(BATCH)

    def held(self) -> dict[bytes, int]:
        """Flow → real id, of the global tables."""
        found: dict[bytes, int] = {}
        for table in self.per_cpu.values():
            for keys, values, count in table.batches(BATCH):
                for index in range(count):
                    key = keys[index * KEY_BYTES : index * KEY_BYTES + KEY_BYTES]
                    found[key] = layout.parse_u32(values[4 * index : 4 * index + 4])
        return found

    def write(self, writes: Writes) -> None:
        """Put flows into every global table and take them out of it.

        No lock is held: an id whose real went meanwhile is looked at afterwards, and its flows are taken out again.
        The engine removes a real before it removes the flows to its id, so one of the two finds them.
        """
        put = [(key, layout.u32(number)) for key, number in writes.items() if number is not None]
        gone = [key for key, number in writes.items() if number is None]
        for table in self.shared.values():
            _put(table, put)
            table.delete_many(gone)
        numbers = {number for number in writes.values() if number is not None}
        stale = {number for number in numbers if self._real(number) != self.reals.get(number)}
        if stale:
            late = [key for key, number in writes.items() if number in stale]
            for table in self.shared.values():
                table.delete_many(late)

    def _real(self, number: int) -> Real | None:
        value = self._maps.map("reals").lookup(layout.u32(number))
        if value is None or value == layout.NO_REAL:
            return None
        packed, flags = layout.parse_real_definition(value)
        return packed, bool(flags & layout.REAL_IPV6)


def _put(table: Map, entries: list[tuple[bytes, bytes]]) -> None:
    try:
        table.update_many(entries)
    except OSError as error:
        # An LRU table that packets use at the same time may have no entry free for a moment.
        if error.errno not in (errno.ENOMEM, errno.ENOSPC, errno.EAGAIN, errno.EBUSY):
            raise
        for key, value in entries:
            with contextlib.suppress(OSError):
                table.update(key, value)


def udp_timeout(instance: str, bpffs: str) -> int:
    """The program's, in seconds; its default where nobody knows. Who needs more of a damaged file tells of it."""
    text = StateFolder(instance, bpffs).read_file("state.json")
    try:
        return int(json.loads(text or "{}")["settings"]["udp_timeout"])
    except (ValueError, TypeError, KeyError):
        return 30
