# SPDX-License-Identifier: GPL-3.0-or-later
"""A real with services of every temper, in a network of its own; a script that tests start beside a balancer.

usage: services.py FOLDER, with certificates in it. It says `here`, reads a line once its interface is there, says
`ready`, and ends with its standard input. Behind tunnels to `REALS` it serves `VIPS`; what is in the path or the port
says how.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import subprocess
import sys
from pathlib import Path
from typing import cast

LINK = "out-peer"
REALS = ("198.18.7.10", "fd00:7::10")
VIPS = ("198.51.100.1", "2001:db8::1")
BALANCER = ("198.18.7.1", "fd00:7::1")
HTTP, GARBAGE, RESET, MUTE, TLS, EXPIRED, REFUSED, CLOSED, SILENT = range(8001, 8010)
DROP = f"""
add table inet t
add chain inet t c {{ type filter hook input priority 0; }}
add rule inet t c th dport {SILENT} drop
"""
UDP, DNS = 53, 54
HEAD = "HTTP/1.1 200 OK\r\n"
CHUNKS = "Transfer-Encoding: chunked\r\n\r\n5\r\nall i\r\n6\r\ns well\r\n0\r\n\r\n"
ANSWERS = {
    "/": f"{HEAD}Content-Length: 11\r\n\r\nall is well",
    "/chunked": HEAD + CHUNKS,
    "/until-closed": f"{HEAD}\r\nso all is well",
    "/old": "HTTP/1.0 200 OK\r\n\r\nall is well",
    "/500": "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    "/503": "HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n",
    "/301": "HTTP/1.1 301 There\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    "/drain": f"{HEAD}Katran-State: drain\r\nContent-Length: 0\r\n\r\n",
    "/500-drain": "HTTP/1.1 500 Oh\r\nKatran-State: drain\r\nContent-Length: 0\r\n\r\n",
    "/continue": f"HTTP/1.1 100 Continue\r\n\r\n{HEAD}Content-Length: 0\r\n\r\n",
    "/long-header": f"{HEAD}X: {'x' * 20000}\r\n\r\n",
    "/many-headers": HEAD + "".join(f"X-{number}: {'x' * 50}\r\n" for number in range(1000)) + "\r\n",
    "/long-body": f"{HEAD}Content-Length: 200000\r\n\r\n{'x' * 199989}all is well",
    "/late-text": f"{HEAD}Content-Length: 50000\r\n\r\n{'x' * 49989}all is well",
    "/pieces": f"{HEAD}Transfer-Encoding: chunked\r\n\r\n" + "1\r\nx\r\n" * 3000,
    "/cut": f"{HEAD}Content-Length: 100\r\n\r\nall",
    "/cut-header": "HTTP/1.1 200 OK\r\nContent-Le",
    "/two-lengths": f"{HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "/no-status": "HTTP/1.1 abc\r\n\r\n",
}


class Http(asyncio.Protocol):
    """What is asked for is how it is answered; /slow, /drip and /mute take their time, /echo says what it was sent."""

    def __init__(self) -> None:
        self.asked = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.asked += data
        if self.asked.endswith(b"\r\n\r\n"):
            path = self.asked.split()[1].decode()
            loop = asyncio.get_running_loop()
            if path == "/slow":
                loop.call_later(0.3, self._say, ANSWERS["/"], True)
            elif path == "/drip":
                for number, letter in enumerate(ANSWERS["/"]):
                    loop.call_later(0.05 * number, self._say, letter, False)
            elif path == "/echo":
                self._say(f"{HEAD}Content-Length: {len(self.asked)}\r\n\r\n{self.asked.decode()}", True)
            elif path != "/mute":
                self._say(ANSWERS[path], True)

    def _say(self, text: str, last: bool) -> None:
        assert self.transport
        self.transport.write(text.encode())
        if last:
            self.transport.close()


class Once(asyncio.Protocol):
    """Says something, or resets, and closes."""

    def __init__(self, says: bytes | None, reset: bool = False) -> None:
        self.says = says
        self.reset = reset

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self.reset:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self.says is not None:
            transport.write(self.says)
            transport.close()


class Datagrams(asyncio.DatagramProtocol):
    """Says `pong` to `ping`, and nothing to `mute`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data != b"mute":
            self.transport.sendto(b"pong" if data == b"ping" else b"what", addr)


class Names(Datagrams):
    """Answers by the name that it is asked for."""

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        import dns.flags
        import dns.message
        import dns.rcode

        query = dns.message.from_wire(data)
        word = query.question[0].name.to_text().split(".")[0]
        answer = dns.message.make_response(query)
        if word in ("servfail", "refused", "nxdomain"):
            answer.set_rcode(dns.rcode.from_text(word))
        wire = answer.to_wire()
        if word == "garbage":
            wire = data[:2] + b"garbage"
        elif word == "question":
            wire = data
        elif word == "other":
            wire = data[:2] + dns.message.make_response(dns.message.make_query("elsewhere.", "A")).to_wire()[2:]
        elif word == "stranger":
            self.transport.sendto(bytes([data[0] ^ 1]) + wire[1:], addr)
        if word != "mute":
            self.transport.sendto(wire, addr)


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def serve(address: str, folder: Path) -> None:
    """Every service on one address."""
    loop = asyncio.get_running_loop()

    async def listen(port: int, protocol: type[asyncio.Protocol], *arguments: object, certificate: str = "") -> None:
        context = server_context(folder / certificate) if certificate else None
        await loop.create_server(lambda: protocol(*arguments), address, port, ssl=context, backlog=4096)

    await listen(HTTP, Http)
    await listen(GARBAGE, Once, b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    await listen(RESET, Once, b"", True)
    await listen(CLOSED, Once, b"")
    await listen(MUTE, Once, None)
    await listen(TLS, Http, certificate="good.pem")
    await listen(EXPIRED, Http, certificate="expired.pem")
    await loop.create_datagram_endpoint(Datagrams, (address, UDP))
    await loop.create_datagram_endpoint(Names, (address, DNS))


async def main(folder: Path) -> None:
    for address in VIPS:
        await serve(address, folder)
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    from ansible_collections.katran.fleet.tests.engine.real import ensure
    from ansible_collections.katran.fleet.tests.engine.sandbox import sandbox

    with sandbox(), contextlib.suppress(KeyboardInterrupt):
        print("here", flush=True)
        sys.stdin.readline()
        run("ip", "link", "set", "lo", "up")
        # A refused datagram is told each time.
        run("sysctl", "-w", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
        run("nft", DROP)
        run("ip", "link", "set", LINK, "up")
        run("ip", "addr", "add", f"{REALS[0]}/24", "dev", LINK)
        run("ip", "addr", "add", f"{REALS[1]}/64", "dev", LINK, "nodad")
        ensure(*VIPS, interfaces=[LINK], sources=list(BALANCER))
        asyncio.run(main(Path(sys.argv[1])))
