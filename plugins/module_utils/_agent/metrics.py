# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics for Prometheus, by a unix socket and by HTTP on an address that the settings name.

What one scrape costs is bounded: answers of the same second are one, who sends no request in time is left, and only
addresses that are allowed are answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import time
import typing as t
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .._engine.counters import Counted, CounterReader, Pair
from .._kernel.private import make_private
from .._model.errors import FleetError
from .._model.metrics_settings import MetricsSettings
from .families import Of, families
from .view import View

if t.TYPE_CHECKING:
    import h11
    from prometheus_client.metrics_core import Metric

SOCKET = "/run/katran-fleet/metrics.sock"
_READ_SECONDS = 5.0
_SAME_SECONDS = 1.0
_FILL_SECONDS = 60.0
_CONNECTIONS = 16
_TEXT = (("Content-Type", "text/plain; charset=utf-8"),)

Answered = tuple[int, t.Sequence[tuple[str, str]], bytes]


class Collector:
    """Makes the families anew for each scrape, as prometheus_client asks a collector."""

    def __init__(self, look: Callable[[], View], bpffs: Callable[[str], str], each_real: bool = False) -> None:
        """`look`: the view of this moment; `bpffs`: instance → where its maps are pinned."""
        self.look = look
        self.bpffs = bpffs
        self.each_real = each_real
        self._readers: dict[tuple[str, str], CounterReader] = {}
        self._filled: dict[str, tuple[float, Mapping[str, Pair]]] = {}

    def describe(self) -> Iterable[Metric]:
        """Nothing: that a registry would ask for everything once more."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family. What cannot be read for a moment is left out."""
        view = self.look()
        every = []
        for name, each in view.instances.items():
            counted, fill = Counted(), dict[str, Pair]()
            with contextlib.suppress(FleetError, OSError, KeyError):
                bpffs = self.bpffs(name)
                reader = self._readers.setdefault((name, bpffs), CounterReader(name, bpffs))
                counted = reader.read()
                fill = dict(self._fill(name, reader))
            every.append(Of(each, counted, fill))
        yield from families(view, every, self.each_real)

    def _fill(self, name: str, reader: CounterReader) -> Mapping[str, Pair]:
        """A look at every flow of large tables takes long, and they fill slowly."""
        at, found = self._filled.get(name, (-_FILL_SECONDS, {}))
        if time.monotonic() - at >= _FILL_SECONDS:
            found = reader.fill()
            self._filled[name] = time.monotonic(), found
        return found


@dataclass
class Metrics:
    """The servers. `refused`: connections from addresses that are not allowed."""

    collector: Collector
    allowed: Collection[str] = ("127.0.0.0/8", "::1/128")
    refused: int = 0
    _servers: list[asyncio.Server] = field(default_factory=list)
    _open: Counter[type] = field(default_factory=Counter)
    _last: dict[str, tuple[float, bytes, str]] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def start(self, settings: MetricsSettings, path: str = SOCKET) -> None:
        """Listen. OSError where the address is taken; what listens already goes on doing so until stop()."""
        self.allowed = settings.allow
        make_private(os.path.dirname(path))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._servers.append(await asyncio.start_unix_server(self._serve, path))
        os.chmod(path, 0o600)
        for address, port in settings.listen:
            self._servers.append(await asyncio.start_server(self._serve, address, port))

    async def stop(self) -> None:
        """Listen no more."""
        for server in self._servers:
            server.close()
            await server.wait_closed()
        self._servers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        # Whoever may come to the port does not keep root from the unix socket.
        kind = type(peer)
        if not self._is_allowed(peer) or self._open[kind] >= _CONNECTIONS:
            writer.close()
            return
        self._open[kind] += 1
        try:
            # Who asks may go away meanwhile, or be too slow.
            with contextlib.suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._answer(reader, writer), _READ_SECONDS)
        finally:
            self._open[kind] -= 1
            # What nobody reads would keep the connection, and stop() with it, for good.
            writer.transport.abort()

    def _is_allowed(self, peer: t.Any) -> bool:
        if not isinstance(peer, tuple):
            return True
        address = ipaddress.ip_address(peer[0].partition("%")[0])
        plain = getattr(address, "ipv4_mapped", None) or address
        found = any(plain in ipaddress.ip_network(each) for each in self.allowed)
        self.refused += not found
        return found

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import h11  # pylint: disable=import-outside-toplevel

        link = h11.Connection(h11.SERVER, max_incomplete_event_size=8192)
        try:
            request = await _request(link, reader)
        except h11.ProtocolError:
            return
        if request is None:
            return
        status, headers, body = await self._found(request)
        length = ("Content-Length", str(len(body)))
        head = h11.Response(status_code=status, headers=[*headers, length, ("Connection", "close")])
        writer.write(link.send(head) or b"")
        if request.method != b"HEAD":
            writer.write(link.send(h11.Data(data=body)) or b"")
        writer.close()
        await writer.wait_closed()

    async def _found(self, request: h11.Request) -> Answered:
        if request.method not in (b"GET", b"HEAD"):
            return 405, _TEXT, b"GET and HEAD alone\n"
        if request.target.partition(b"?")[0] != b"/metrics":
            return 404, _TEXT, b"/metrics\n"
        accepted = dict(request.headers).get(b"accept", b"").decode("latin-1")
        body, kind = await self._text(accepted)
        return 200, (("Content-Type", kind),), body

    async def _text(self, accepted: str) -> tuple[bytes, str]:
        from prometheus_client.exposition import choose_encoder  # pylint: disable=import-outside-toplevel

        encoder, kind = choose_encoder(accepted)
        async with self._lock:
            last = self._last.get(kind)
            if last is None or time.monotonic() - last[0] >= _SAME_SECONDS:
                # In a thread: probes go on meanwhile.
                body = await asyncio.to_thread(lambda: encoder(self._registry()))
                last = self._last[kind] = time.monotonic(), body, kind
        return last[1], last[2]

    def _registry(self) -> t.Any:
        from prometheus_client import CollectorRegistry  # pylint: disable=import-outside-toplevel

        registry = CollectorRegistry(auto_describe=False)
        registry.register(t.cast("t.Any", self.collector))
        return registry


async def _request(link: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The request that comes; None where none does. ProtocolError of h11 for what is none."""
    import h11  # pylint: disable=import-outside-toplevel

    while True:
        event = link.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        link.receive_data(await reader.read(4096))
