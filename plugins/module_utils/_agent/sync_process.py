# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flow exceptions of one balancer in a process of their own: it scans, talks to the peers, and fills the global tables.

Lines of JSON come in ({"settings": …} first, then {"scan": NUMBER}) and go out (reports); at the end of input it ends.
Nothing that it does, or that comes from the network, holds up or harms the agent.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
import typing as t
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

from .._engine.request import Request
from .._model.errors import FleetError, StateError
from .._model.exceptions import Known, watch
from .._model.exceptions import select as select_flows
from .._model.sealed import ACCEPT, ACK, DATA, OPEN, RANDOM_BYTES, Header, RefusedError, read_header
from .._model.sync_ledger import MOST_TOLD, Holdings, Ledger, Writes
from .._model.sync_session import Identity, Receiver, Sender
from .._model.sync_settings import SyncSettings
from .sync_tables import Tables, udp_timeout

REFRESH = 60.0
"""Seconds from scan to scan where no ring changes; a scan that takes long comes more seldom."""

SHARE = 20
AFTERWARDS = 2.0
"""Seconds after a change until another scan: a packet that read the ring before it may have been learned after it."""

GRACE = 10.0
LONGEST_GRACE = 60.0
"""Seconds after which a peer that says nothing, or has not said everything, is waited for no more."""

LOCK_RETRY = 0.1
LONGEST_LOCK = 60.0
"""Seconds from try to try where a run holds the lock, and until it is told."""

DRAINED = 256
RATE = 20_000
"""Datagrams that are read in one go, and that a peer may send in a second."""

_BUFFER = 4 << 20
_SO_RCVBUFFORCE = 33


@dataclass
class Peer:
    """Another balancer: both directions, and how many datagrams came from it in this second."""

    sender: Sender
    receiver: Receiver
    second: int = 0
    came: int = 0


class Loop:
    """One balancer's exceptions. `send`: (datagram, peer); `clock`: seconds that only ever grow."""

    def __init__(
        self, settings: SyncSettings, request: Request, send: Callable[[bytes, str], None], clock: Callable[[], float]
    ) -> None:
        self._request = request
        self._send = send
        self._clock = clock
        self._started = clock()
        self._identity = Identity(settings.key, os.urandom(RANDOM_BYTES), lambda: os.urandom(RANDOM_BYTES))
        self._tables: Tables | None = None
        self._tables_at = self._read_at = -1e9
        self._ledger = Ledger()
        self._holdings = Holdings(0)
        self._peers = {
            name: Peer(Sender(self._identity, self._everything(name), self._started), Receiver(self._identity))
            for name in settings.peers
        }
        self._ids: frozenset[int] = frozenset()
        self._scan: Iterator[None] | None = None
        self._asked = self._scanned = 0
        self._scan_at = [self._started]
        self._locked_since: float | None = None
        self._settled = False
        self.trouble = ""
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, float] = {"scan_seconds": 0.0, "scan_entries": 0, "not_told": 0}

    def _everything(self, name: str) -> Callable[[], t.Any]:
        def absent(owner: str) -> bool:
            peer = self._peers.get(owner)
            return owner == name or peer is None or not peer.receiver.is_there(self._clock())

        return lambda: chain(self._holdings.relayed(absent, self._clock()), self._ledger.all())

    # What comes in

    def scan(self, number: int) -> None:
        """Scan because something changed; report() tells the number once it is done."""
        self._asked = number
        now = self._clock()
        self._scan_at = [now, now + AFTERWARDS]

    def receive(self, datagrams: list[tuple[bytes, str]]) -> None:
        """Datagrams and where they come from."""
        writes: Writes = {}
        heard = set()
        now = self._clock()
        for datagram, source in datagrams:
            try:
                writes.update(self._take(datagram, source, now))
                heard.add(source)
            except RefusedError as error:
                self.counts[f"refused_{error.cause}"] += 1
        if writes and self._tables is not None:
            self._tables.write(writes)
        # What is not in the tables is not acknowledged.
        for name in heard:
            for answer in self._peers[name].receiver.acknowledge(self._holdings.counts[name]):
                self._send(answer, name)

    def _take(self, datagram: bytes, source: str, now: float) -> Writes:
        peer = self._peers.get(source)
        if peer is None:
            raise RefusedError("stranger")
        if peer.second != int(now):
            peer.second, peer.came = int(now), 0
        peer.came += 1
        if peer.came > RATE:
            raise RefusedError("flood")
        header = read_header(datagram)
        if header.node == self._identity.node:
            raise RefusedError("reflected")
        if header.kind == OPEN:
            self._send(peer.receiver.asked(header, datagram), source)
            peer.sender.peer_is(header.node, now)
        elif header.kind == ACCEPT:
            peer.sender.accepted(header, datagram, now)
        elif header.kind == ACK:
            peer.sender.confirmed(header, datagram, now)
        elif header.kind == DATA:
            tables = self._tables or self._open_tables(now)
            if tables is not None:
                return self._hold(tables, peer.receiver, source, header, datagram)
        return {}

    def _hold(self, tables: Tables, receiver: Receiver, source: str, header: Header, datagram: bytes) -> Writes:
        now = self._clock()
        told = receiver.told(header, datagram, now)
        self.counts["received"] += len(told.statements)
        if now - self._read_at > 0.5:
            tables.read()
            self._read_at = now
        return self._holdings.apply(source, told.statements, now, tables.numbers.get, tables.vips.may_hold)

    # What is done

    def tick(self) -> float:
        """Go on with what is to be done; seconds until there is something again."""
        now = self._clock()
        if self._scan is None and now >= min(self._scan_at):
            self._scan_at = [each for each in self._scan_at if each > now]
            self._scan = self._scanning()
        if self._scan is not None:
            try:
                next(self._scan)
            except StopIteration:
                self._scan = None
            except (FleetError, OSError) as error:
                self._scan = None
                self._scan_at.append(self._clock() + self._put_off(error))
        now = self._clock()
        for name, peer in self._peers.items():
            for datagram in peer.sender.tick(now):
                self._send(datagram, name)
        if self._scan is not None:
            return 0.0
        due = [*self._scan_at, *(peer.sender.next_tick(now) for peer in self._peers.values())]
        return max(min(due) - now, 0.0)

    def _put_off(self, error: FleetError | OSError) -> float:
        """Seconds until a scan that failed is tried again."""
        now = self._clock()
        if isinstance(error, StateError):
            # Another run holds the lock; what is open serves peers meanwhile.
            self._locked_since = self._locked_since or now
            if now - self._locked_since < LONGEST_LOCK:
                return LOCK_RETRY
        self._close_tables()
        self._failed(str(error))
        return 1.0

    def _scanning(self) -> Iterator[None]:
        asked, started = self._asked, self._clock()
        # The program, and with it the maps, may be another since.
        tables = Tables(self._request)
        self._locked_since = None
        self._close_tables()
        self._tables = tables
        self._take_over(tables, started)
        rings = tables.rings(udp_timeout(self._request.instance, self._request.bpffs))
        watched = watch(chain(self._ledger.flows, self._ledger.withdrawn))
        found: list[Known] = []
        entries = exceptions = 0
        for keys, values, count in tables.batches():
            clock = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            number, known = select_flows(keys, values, count, rings, watched, clock)
            entries, exceptions = entries + count, exceptions + number
            # Twice: CPUs may know a flow each.
            found.extend(islice(known, max(2 * MOST_TOLD + len(watched) - len(found), 0)))
            yield
        now = self._clock()
        statements = self._ledger.update(found, tables.reals, now)
        refresh = self._due_refresh(now)
        for peer in self._peers.values():
            if refresh:
                peer.sender.tell(self._ledger.refreshed())
            peer.sender.tell(statements)
        tables.write(self._holdings.review(now, tables.numbers.get, tables.vips.may_hold))
        self._scanned = asked
        self.trouble = ""
        self.counts["scans"] += 1
        seconds = self._clock() - started
        left_out = max(exceptions - len(found), 0) + self._ledger.left_out
        self.gauges.update(scan_seconds=seconds, scan_entries=entries, not_told=left_out)
        if not self._scan_at:
            self._scan_at = [self._clock() + max(REFRESH, SHARE * seconds)]

    def _due_refresh(self, now: float) -> bool:
        due = now - self.gauges.get("refreshed", self._started) >= REFRESH
        if due:
            self.gauges["refreshed"] = now
        return due

    def _open_tables(self, now: float) -> Tables | None:
        """The balancer's maps; None where there are none, which is looked at once a second."""
        if self._tables is None and now - self._tables_at >= 1.0:
            try:
                self._tables = Tables(self._request)
                self._take_over(self._tables, now)
            except (FleetError, OSError):
                # The next scan tells why.
                self._tables_at = now
        return self._tables

    def _take_over(self, tables: Tables, now: float) -> None:
        """Hold what the global tables have, and have in them what is held where they are others than before."""
        self._read_at = now
        before, self._holdings.room = self._holdings.room, tables.room
        there, ids = tables.held(), frozenset(tables.per_cpu)
        if not before:
            self._holdings.adopt(there, tables.reals, now)
        missing = set(self._holdings.flows).difference(there)
        if ids == self._ids:
            # Purged, or the kernel needed the room.
            self._holdings.forget(missing)
            missing.clear()
        self._ids = ids
        writes = self._holdings.review(now, tables.numbers.get, tables.vips.may_hold)
        numbers = {key: self._holdings.flows[key].number for key in missing if key in self._holdings.flows}
        tables.write({**numbers, **writes})

    def _close_tables(self) -> None:
        if self._tables is not None:
            self._tables.close()
        self._tables, self._tables_at = None, -1e9

    def _failed(self, sentence: str) -> None:
        self.trouble = sentence
        self.counts["failures"] += 1

    # What is told

    @property
    def in_sync(self) -> bool:
        """Whether what peers had to tell at the start is held, or they are not there to tell it; from then on true."""
        waited = self._clock() - self._started
        if not self._settled:
            self._settled = all(
                peer.receiver.complete or waited > (GRACE if peer.receiver.heard is None else LONGEST_GRACE)
                for peer in self._peers.values()
            )
        return self._settled

    def report(self) -> dict[str, t.Any]:
        """What the agent is told."""
        senders = {name: peer.sender for name, peer in self._peers.items()}
        live = self._ledger.live
        stats: dict[str, float] = {f"{name}_total": number for name, number in self.counts.items()}
        stats.update({f"not_held_{name}_total": number for name, number in self._holdings.refused.items()})
        stats.update({name: self.gauges[name] for name in ("scan_seconds", "scan_entries", "not_told")})
        stats.update(
            told_total=sum(each.sent for each in senders.values()),
            acknowledged_total=sum(each.acknowledged for each in senders.values()),
            repeated_total=sum(each.repeated for each in senders.values()),
            # One that cannot be reached lacks all of them.
            unacknowledged=sum(each.unacknowledged if each.is_open else live for each in senders.values()),
            exceptions=live,
            held=len(self._holdings.flows),
            peers=len(senders),
            peers_reached=sum(each.is_open for each in senders.values()),
            in_sync=float(self.in_sync),
        )
        return {
            "stats": stats,
            "in_sync": self.in_sync,
            "scanned": self._scanned,
            "done": {name: each.is_done for name, each in senders.items()},
            "reached": {name: each.is_open for name, each in senders.items()},
            "trouble": self.trouble,
        }

    def close(self) -> None:
        """Close every map; what is in them stays."""
        self._close_tables()


def open_socket(settings: SyncSettings) -> socket.socket:
    """The socket of a balancer. OSError where its address is not the host's, or its port is in use."""
    family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        # Without the privilege, what the kernel gives.
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        except PermissionError:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        made.bind((settings.address, settings.port))
    except OSError:
        made.close()
        raise
    return made


def read_waiting(source: socket.socket) -> list[tuple[bytes, str]]:
    """The datagrams that wait, up to DRAINED."""
    found = []
    for _turn in range(DRAINED):
        try:
            datagram, where = source.recvfrom(2048)
        except BlockingIOError:
            break
        except ConnectionError:
            # An earlier datagram reached nobody.
            continue
        found.append((datagram, where[0]))
    return found


def serve(
    settings: SyncSettings, request: Request, lines: t.BinaryIO, report: Callable[[dict[str, t.Any]], None]
) -> None:
    """Do this until the input ends. `lines`: unbuffered."""
    with open_socket(settings) as wire:

        def send(datagram: bytes, peer: str) -> None:
            # What the network does not take is sent again like what it loses.
            with contextlib.suppress(OSError):
                wire.sendto(datagram, (peer, settings.port))

        loop = Loop(settings, request, send, time.monotonic)
        poll = select.poll()
        poll.register(wire, select.POLLIN)
        poll.register(lines, select.POLLIN)
        told: dict[str, t.Any] = {}
        told_at = -1e9
        try:
            while True:
                wait = loop.tick()
                ready = dict(poll.poll(min(wait, 1.0) * 1000))
                if lines.fileno() in ready and not _obey(loop, lines):
                    return
                if wire.fileno() in ready:
                    loop.receive(read_waiting(wire))
                now, found = time.monotonic(), loop.report()
                changed = any(
                    found[name] != told.get(name) for name in ("scanned", "done", "reached", "in_sync", "trouble")
                )
                if changed or now - told_at >= 1.0:
                    told, told_at = found, now
                    report(found)
        finally:
            loop.close()


def _obey(loop: Loop, lines: t.BinaryIO) -> bool:
    """One order; False at the end of them."""
    line = lines.readline()
    if line:
        loop.scan(int(json.loads(line)["scan"]))
    return bool(line)


def main() -> None:
    """The process: orders on stdin, reports on stdout."""
    os.nice(10)
    lines = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115  # it lives as long as the process
    first = lines.readline()
    if not first:
        return
    order = json.loads(first)
    told = order["settings"]
    settings = SyncSettings(told["address"], told["port"], tuple(told["peers"]), bytes.fromhex(told["key"]))
    request = Request(order["instance"], order["bpffs"], 0.0, check=False)

    def report(found: dict[str, t.Any]) -> None:
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()

    try:
        serve(settings, request, lines, report)
    except BrokenPipeError:
        # Nobody reads any more.
        os._exit(1)
    except OSError as error:
        report({"failed": f"flow exceptions on {settings.address} port {settings.port}: {error.strerror or error}"})
        raise SystemExit(1) from error
