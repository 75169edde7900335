# SPDX-License-Identifier: GPL-3.0-or-later
"""A real that serves, and a client that asks; scripts that tests start beside a balancer.

usage: transfers.py serve SOURCE...: a real in a network of its own, which takes tunnels from these. It says `here`,
reads a line once its interface is there, and says `ready`. A line `MTU MSS` gives it others, after which it says
`done`; it ends with its standard input.

transfers.py ask VIP KEPT NEW: what became of a transfer each way, of so many requests over kept connections, and of so
many over new ones, as one line of JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import socket
import subprocess
import sys
import time

from ansible_collections.katran.fleet.plugins.module_utils._kernel.nft import set_mss

VIPS = ("198.51.100.1", "2001:db8::1")
LINK, REALS, ROUTERS = "real", ("198.18.2.2", "fd00:2::2"), ("198.18.2.1", "fd00:2::1")
PORT = 80
SIZE = 10_000_000
AT_ONCE = 40
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: "


def content() -> bytes:
    """What is transferred; the same in every process."""
    return random.Random("katran").randbytes(SIZE)


class Server(asyncio.Protocol):
    """GET /: three bytes. GET /content: all of it. POST: the digest of what came."""

    content = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.head = b""
        self.left = 0
        self.digest = hashlib.sha256()

    def data_received(self, data: bytes) -> None:
        if self.left:
            self._take(data)
            return
        self.head += data
        while b"\r\n\r\n" in self.head and not self.left:
            head, _end, self.head = self.head.partition(b"\r\n\r\n")
            if head.startswith(b"POST"):
                self.left, self.digest = int(head.rpartition(b": ")[2]), hashlib.sha256()
                body, self.head = self.head, b""
                self._take(body)
            elif head.startswith(b"GET /content"):
                self._say(self.content)
            else:
                self._say(b"ok\n")

    def _take(self, data: bytes) -> None:
        self.left -= len(data)
        self.digest.update(data)
        if not self.left:
            self._say(self.digest.hexdigest().encode())

    def _say(self, body: bytes) -> None:
        self.transport.write(_OK + str(len(body)).encode() + b"\r\n\r\n" + body)


async def serve() -> None:
    Server.content = content()
    loop = asyncio.get_running_loop()
    for vip in VIPS:
        await loop.create_server(Server, vip, PORT, backlog=4096)
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        mtu, mss = map(int, line.split())
        run("ip", "link", "set", LINK, "mtu", str(mtu))
        set_mss(mss, VIPS)
        print("done", flush=True)


class Client:
    """One connection, over which requests are made one after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, vip: str) -> Client:
        return cls(*await asyncio.wait_for(asyncio.open_connection(vip, PORT), 10))

    async def ask(self, request: bytes) -> bytes:
        self.writer.write(request)
        await self.writer.drain()
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)
        if not head.startswith(_OK):
            raise ValueError(head)
        return await asyncio.wait_for(self.reader.readexactly(int(head[len(_OK) :])), 60)

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


_GET = b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n"


async def transfers(vip: str) -> dict[str, object]:
    """The digests of both ways, and the largest segment that the client sent."""
    body = content()
    client = await Client.to(vip)
    down = await client.ask(b"GET /content HTTP/1.1\r\nHost: vip\r\n\r\n")
    post = f"POST / HTTP/1.1\r\nHost: vip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    up = (await client.ask(post + body)).decode()
    segment = client.writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    await client.close()
    return {
        "wanted": hashlib.sha256(body).hexdigest(),
        "down": hashlib.sha256(down).hexdigest(),
        "up": up,
        "segment": segment,
    }


async def requests(vip: str, count: int, keep: bool) -> tuple[int, list[str]]:
    """Requests that were answered, and what went wrong with others."""
    answered, errors, left = 0, list[str](), iter(range(count))

    async def worker() -> None:
        nonlocal answered
        client = None
        for _number in left:
            try:
                client = client or await Client.to(vip)
                right = await client.ask(_GET) == b"ok\n"
                answered += right
                if not keep:
                    await client.close()
                    client = None
            except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
                errors.append(repr(error))
                client = None
        if client:
            await client.close()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return answered, errors


async def ask(vip: str, kept: int, new: int) -> dict[str, object]:
    started = time.monotonic()
    found = await transfers(vip) if kept else {}
    moved = time.monotonic()
    over_kept, over_new = await requests(vip, kept, True), await requests(vip, new, False)
    seconds = {"transfers": round(moved - started, 1), "requests": round(time.monotonic() - moved, 1)}
    return {**found, "answered": over_kept[0] + over_new[0], "errors": over_kept[1] + over_new[1], "seconds": seconds}


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        print(json.dumps(asyncio.run(ask(sys.argv[2], *map(int, sys.argv[3:])))))
        sys.exit()

    from ansible_collections.katran.fleet.tests.engine.real import ensure
    from ansible_collections.katran.fleet.tests.engine.sandbox import sandbox

    with sandbox():
        print("here", flush=True)
        sys.stdin.readline()
        run("ip", "link", "set", "lo", "up")
        run("ethtool", "-K", LINK, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
        run("ip", "link", "set", LINK, "up")
        run("ip", "addr", "add", f"{REALS[0]}/24", "dev", LINK)
        run("ip", "addr", "add", f"{REALS[1]}/64", "dev", LINK, "nodad")
        for router in ROUTERS:
            run("ip", "route", "add", "default", "via", router)
        ensure(*VIPS, interfaces=[LINK], sources=sys.argv[2:])
        asyncio.run(serve())
