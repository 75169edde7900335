# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of QUIC that move; a script that tests start, in a network of its own.

usage: quic_client.py VIP ADDRESS OTHER-ADDRESS. It says `ready`, obeys lines on standard input, each answered by a line
of JSON, and ends with it:

connect PORT NUMBER: so many connections from the first address; how many connections each real has.
move PORT SECONDS: all of the port's go to the other address, and to another port of the client; every second one takes
another connection id, too, as a client that knows that it moves, and the others do not know, as behind a NAT. Each asks
until so many seconds are over: a list of [port of the client, real before, real that answers or ""].
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections import Counter
from typing import Any

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from quic_layouts import ALPN

AT_ONCE = 25
MOVE_AT_ONCE = 250
CONNECT_SECONDS = 30.0


class Mover:
    """One connection."""

    def __init__(self, vip: str, port: int) -> None:
        options = {"is_client": True, "alpn_protocols": [ALPN], "verify_mode": ssl.CERT_NONE, "idle_timeout": 600.0}
        self._protocol = QuicConnectionProtocol(QuicConnection(configuration=QuicConfiguration(**options)))
        self._to = vip, port
        self._socket: asyncio.BaseTransport | None = None
        self.real = ""
        self.port = 0

    async def _go_to(self, address: str) -> None:
        """Send from this address, and from a port that nobody has."""
        before = self._socket
        loop = asyncio.get_running_loop()
        self._socket, _protocol = await loop.create_datagram_endpoint(lambda: self._protocol, (address, 0))
        self.port = self._socket.get_extra_info("sockname")[1]
        if before is not None:
            before.close()

    async def connect(self, address: str) -> None:
        await self._go_to(address)
        self._protocol.connect(self._to)
        await self._protocol.wait_connected()
        self.real = await self._ask()

    async def _ask(self) -> str:
        reader, writer = await self._protocol.create_stream()
        writer.write(b"who")
        writer.write_eof()
        real, _space, asked = (await reader.read()).partition(b" ")
        assert asked == b"who"
        return real.decode()

    async def move(self, address: str, knows: bool, seconds: float) -> list[Any]:
        await self._go_to(address)
        if knows:
            self._protocol.change_connection_id()
        try:
            found = await asyncio.wait_for(self._ask(), seconds)
        except TimeoutError:
            found = ""
        return [self.port, self.real, found]


async def main(vip: str, address: str, other: str) -> None:
    loop = asyncio.get_running_loop()
    slots, move_slots = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(MOVE_AT_ONCE)
    movers: dict[int, list[Mover]] = {}

    async def connect(mover: Mover) -> None:
        async with slots:
            await asyncio.wait_for(mover.connect(address), CONNECT_SECONDS)

    async def move(mover: Mover, knows: bool, seconds: float) -> list[Any]:
        async with move_slots:
            return await mover.move(other, knows, seconds)

    print("ready", flush=True)
    while words := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        port, argument = int(words[1]), words[2]
        answer: Any
        if words[0] == "connect":
            movers[port] = [Mover(vip, port) for _number in range(int(argument))]
            await asyncio.gather(*map(connect, movers[port]))
            answer = Counter(mover.real for mover in movers[port])
        else:
            each = enumerate(movers[port])
            answer = await asyncio.gather(*(move(mover, bool(number % 2), float(argument)) for number, mover in each))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
