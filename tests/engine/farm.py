# SPDX-License-Identifier: GPL-3.0-or-later
"""Many reals in one network namespace, and their service; a script that tests start beside a balancer.

usage: farm.py SERVICE-ADDRESS REAL... This kernel has no ipip device: the inner packets go to the kernel by a tun
device, those for a real that refuses by another one, where nobody listens. It says `ready`, obeys lines on standard
input, each answered by a line of JSON, and ends with it:

refuse REAL, mute REAL, serve REAL: how the real answers from then on; arrivals: real → when the kernel took the first
packet of each of its connections, in seconds since the epoch, since this was last asked.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import socket
import struct
import subprocess
import sys

PORT = 80
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x400454CA, 0x0001, 0x1000, 0x4000
_PARTIAL = struct.pack("BBHHHH", 1, 0, 0, 0, 20, 16)
"""Before each packet of TCP: its checksum is left to the wire, as a veth has it (VIRTIO_NET_HDR_F_NEEDS_CSUM)."""

_SO_TIMESTAMPNS = 35
_SYN, _SYN_ACK = 0x02, 0x12
REFUSE = f"""
table inet farm {{
  chain input {{ type filter hook input priority 0; iifname "dead" tcp dport {PORT} reject with tcp reset; }}
}}
"""


def _run(*command: str, text: str | None = None) -> None:
    subprocess.run(command, check=True, input=text, text=True)


def _tun(name: str) -> int:
    """A tun device; what is written to it, the kernel takes in."""
    found = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(found, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR))
    _run("ip", "link", "set", name, "up")
    _run("sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")
    return found


class Farm:
    """The reals' ends of the tunnels."""

    def __init__(self, reals: list[str]) -> None:
        self._raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IPIP)
        self._raw.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        well = _tun("well")
        self._ways: dict[bytes, int | None] = {socket.inet_aton(real): well for real in reals}
        self._words = {"refuse": _tun("dead"), "mute": None, "serve": well}
        self._arrivals: dict[bytes, list[float]] = {}

    def serve(self) -> None:
        """Until standard input ends."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._raw, selectors.EVENT_READ)
            ready.register(sys.stdin, selectors.EVENT_READ)
            while True:
                for key, _events in ready.select():
                    if key.fileobj is self._raw:
                        self._take()
                    elif not self._obey(sys.stdin.readline().split()):
                        return

    def _take(self) -> None:
        packet, told, _flags, _peer = self._raw.recvmsg(65535, 64)
        inner, real = packet[(packet[0] & 15) * 4 :], packet[16:20]
        way = self._ways.get(real)
        # Of a real that is mute, and of addresses that are no real's.
        if way is None:
            return
        if inner[9] == socket.IPPROTO_TCP and inner[(inner[0] & 15) * 4 + 13] & _SYN_ACK == _SYN:
            seconds, nanoseconds = struct.unpack("qq", told[0][2])
            self._arrivals.setdefault(real, []).append(seconds + nanoseconds / 1e9)
        os.write(way, _PARTIAL + inner)

    def _obey(self, words: list[str]) -> bool:
        if not words:
            return False
        answer = {}
        if words[0] == "arrivals":
            answer = {socket.inet_ntoa(real): times for real, times in self._arrivals.items()}
            self._arrivals.clear()
        else:
            self._ways[socket.inet_aton(words[1])] = self._words[words[0]]
        print(json.dumps(answer), flush=True)
        return True


def main(service: str, *reals: str) -> None:
    for address in (service, *reals):
        _run("ip", "addr", "add", f"{address}/32", "dev", "lo")
    _run("nft", "-f", "-", text=REFUSE)
    farm = Farm(list(reals))
    with socket.create_server((service, PORT), backlog=4096) as listener:
        # The kernel alone makes the connections, and a probe resets its own.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 60)
        print("ready", flush=True)
        farm.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
