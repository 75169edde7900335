# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probe flows: one to each real of each VIP through the tunnel, from this balancer's own address. They leave no trace.

Frames go out by a packet socket, made as the datapath makes them, so that no map, table or counter of the program
changes. Answers are seen on a packet socket too; the source ports belong to sockets that take nothing, so the host's
kernel answers nothing either. What a SYN began is ended with a reset through the same tunnel.
"""

from __future__ import annotations

import errno
import os
import socket
import time
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..._kernel.link_view import mac_of
from ..._kernel.netlink import open_route
from ..._kernel.network import FAMILIES, carriers, own_address
from ..._kernel.probe_socket import ProbeSocket
from ..._kernel.routes import default_routes
from ..._model.addresses import Address, read_address
from ..._model.doctor import probe_packets as packets
from ..._model.doctor.finding import Finding
from ..._model.doctor.probe import Flow, full_size, of_flows, of_sizes
from ..._model.gateways import hops_over
from ..._model.link_mtu import Tunnel
from .examiner import Probing

_TRIES = 3
"""A packet may be lost on a busy host; three in a row are not."""

_PER_SECOND = 2000
_PORTS = 64
"""Source ports of a kind: the flows of a VIP have different ones, as far as they go."""

_SHORTEST_PAUSE = 0.001
_KIND_BITS, _LARGE = 4, 8
"""A token is 12 bits of the run, 16 of the flow, and 4 of which try it is and whether it is a large echo."""

_LATE_SECONDS = 0.05

_SSH = 22
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_ALIVE = {"syn_ack", "reset", "datagram", "refused"}


@dataclass(frozen=True)
class Out:
    """The way out for a family: interface, gateway's MAC and own address."""

    interface: str
    mac: bytes
    own: Address


@dataclass(frozen=True)
class Path:
    """How probes leave. `outs`: whether IPv6 → the way out, as far as there is one."""

    outs: Mapping[bool, Out]
    way: packets.Way
    tunnel: Tunnel


class Probes:
    """The probe flows of one examination."""

    def __init__(self, path: Path, flows: Sequence[Flow], probing: Probing) -> None:
        self.path, self.flows, self.probing = path, list(flows), probing
        self.outer_sources: set[str] = set()
        self.sent = 0
        self._numbers = {id(flow): number for number, flow in enumerate(self.flows)}
        self._asked_at: dict[int, float] = {}
        self._by_port: dict[tuple[int, bytes], int] = {}
        # Another one each time, so that a late answer to another run's probe is not taken for ours.
        self._first = int.from_bytes(os.urandom(2), "big") >> _KIND_BITS << (_KIND_BITS + 16)

    def run(self) -> list[Finding]:
        """Send them all, and say what the answers tell."""
        asked = [flow for flow in self.flows if not self._refused(flow)]
        if not asked:
            return []
        own = {ipv6: out.own.packed if ipv6 else out.own.packed[:4] for ipv6, out in self.path.outs.items()}
        with ProbeSocket(own) as wire:
            self._ask(wire, asked, self._services, lambda flow: bool(flow.kinds & {*_ALIVE, "echo"}))
            mute = [flow for flow in asked if not flow.kinds & _ALIVE]
            self._ask(wire, mute, self._who_lives, lambda flow: {"echo", "alive"} <= flow.kinds)
            sizes = self._one_of_each_real([flow for flow in asked if flow.kinds & {"syn_ack", "datagram", "echo"}])
            self._ask(wire, sizes, self._echoes, lambda flow: "echo" in flow.kinds and "large" in flow.kinds)
        return [*of_flows(asked), *of_sizes(self.path.tunnel, sizes)]

    def seen(self, left: int) -> dict[str, t.Any]:
        """What the comparison of hosts goes by. `left`: how many flows were not sent at all."""
        return {
            "own": {("ipv6" if ipv6 else "ipv4"): out.own.text for ipv6, out in self.path.outs.items()},
            "outer_sources": sorted(self.outer_sources),
            "source_ports": sorted({flow.port for flow in self.flows if flow.port}),
            "sent": self.sent,
            "left": left,
            "results": [flow.row() for flow in sorted(self.flows, key=lambda each: (each.vip, each.rank))],
        }

    def _refused(self, flow: Flow) -> bool:
        """Whether a flow cannot be sent, which it then says."""
        family = "IPv6" if flow.vip.ipv6 else "IPv4"
        if flow.vip.ipv6 and not flow.real.ipv6:
            flow.fault = "there is no IPv6 in IPv4"
        elif flow.vip.ipv6 not in self.path.outs:
            flow.fault = f"this host has no {family} address on its way out, to which an answer could come"
        elif flow.real.ipv6 not in self.path.outs:
            flow.fault = "this host has no way out of the real's family"
        elif flow.real.text in {out.own.text for out in self.path.outs.values()}:
            flow.fault = "the real is this host itself"
        return bool(flow.fault)

    @staticmethod
    def _one_of_each_real(flows: Iterable[Flow]) -> list[Flow]:
        """Of the flows to a real, one of each family: those with an MSS first, since they say how large packets get."""
        found: dict[tuple[str, bool], Flow] = {}
        for flow in sorted(flows, key=lambda each: not each.mss):
            found.setdefault((flow.real.text, flow.vip.ipv6), flow)
        return list(found.values())

    # A round: send, and see what comes back

    def _ask(
        self,
        wire: ProbeSocket,
        flows: Sequence[Flow],
        send: Callable[[ProbeSocket, Flow, int], None],
        done: Callable[[Flow], bool],
    ) -> None:
        """Ask flows until each is done, _TRIES times at most."""
        for attempt in range(_TRIES):
            left = [flow for flow in flows if not done(flow) and not flow.fault]
            if not left:
                break
            began = time.monotonic()
            for index, flow in enumerate(left):
                number = self._numbers[id(flow)]
                self._asked_at[number] = time.monotonic()
                try:
                    send(wire, flow, self._first | number << _KIND_BITS | attempt)
                except OSError as error:
                    # A full queue, or a link that drops a frame, is a loss like one on the way.
                    if error.errno != errno.ENOBUFS and not flow.kinds:
                        flow.fault = f"it cannot be sent: {error.strerror or error}"
                pace = began + index / _PER_SECOND - time.monotonic()
                if pace > _SHORTEST_PAUSE:
                    self._listen(wire, left, time.monotonic() + pace, done)
            self._listen(wire, left, time.monotonic() + self.probing.seconds, done)
        # Whose echo came first may answer as well.
        late = [flow for flow in flows if flow.service == "udp" and not flow.fault]
        self._listen(wire, late, time.monotonic() + _LATE_SECONDS, lambda flow: bool(flow.kinds & _ALIVE))

    def _listen(self, wire: ProbeSocket, flows: Sequence[Flow], deadline: float, done: Callable[[Flow], bool]) -> None:
        """Take answers until the deadline, or until all flows are done."""
        waiting = {self._numbers[id(flow)]: flow for flow in flows if not done(flow) and not flow.fault}
        if not waiting:
            return
        for packet in wire.receive(deadline):
            answer = packets.read_answer(packet)
            number = None if answer is None else self._take(wire, answer)
            if number in waiting and done(waiting[number]):
                del waiting[number]
                if not waiting:
                    return

    def _take(self, wire: ProbeSocket, answer: packets.Answer) -> int | None:
        """Note an answer with its flow, and which that is; None where it is none's."""
        target = answer.vip.ljust(16, b"\0")
        number = self._by_port.get((answer.port, target))
        if number is None and (answer.token ^ self._first) >> (_KIND_BITS + 16) == 0:
            number = (answer.token >> _KIND_BITS) & 0xFFFF
        if number is None or number >= len(self.flows):
            if answer.kind == "refused":
                self._no_tunnel(target)
            return None
        flow = self.flows[number]
        if not flow.kinds:
            flow.took = time.monotonic() - self._asked_at.get(number, time.monotonic())
        if target == flow.address.packed:
            large = answer.kind == "echo" and answer.token & _LARGE
            flow.kinds.add("large" if large else answer.kind)
            if answer.kind == "syn_ack":
                flow.mss = answer.mss
                self._send_in_tunnel(wire, flow, self._segment(flow, _after(answer.token), reset=True))
        elif target == flow.real.packed and answer.kind not in ("unreachable", "too_big"):
            flow.kinds.add("alive")
            if answer.kind == "syn_ack":
                reset = packets.segment(
                    self._own(flow.real), flow.real, self._ports(flow), _after(answer.token), reset=True
                )
                self._send(wire, flow.real.ipv6, reset)
        return number

    def _no_tunnel(self, real: bytes) -> None:
        """A real refused the tunnel itself: what is quoted is a datagram of GUE to its own address."""
        for flow in self.flows:
            if flow.real.packed == real:
                flow.kinds |= {"no_tunnel", "alive"}

    # What is sent

    def _services(self, wire: ProbeSocket, flow: Flow, token: int) -> None:
        """What the service answers; of one that may be silent, an echo shows that packets arrive."""
        if flow.service == "tcp":
            flow.port = wire.port(flow.vip.ipv6, socket.SOCK_STREAM, flow.rank % _PORTS)
            self._send_in_tunnel(wire, flow, self._segment(flow, token))
            return
        if flow.service == "udp":
            flow.port = wire.port(flow.vip.ipv6, socket.SOCK_DGRAM, flow.rank % _PORTS)
            self._by_port[flow.port, flow.address.packed] = self._numbers[id(flow)]
            self._send_in_tunnel(wire, flow, packets.datagram(self._own(flow.address), flow.address, self._ports(flow)))
        self._echo(wire, flow, token)

    def _who_lives(self, wire: ProbeSocket, flow: Flow, token: int) -> None:
        """An echo in the tunnel, and to the real's own address an echo and a SYN."""
        self._echo(wire, flow, token)
        own = self._own(flow.real)
        self._send(wire, flow.real.ipv6, packets.echo(own, flow.real, token))
        port = wire.port(flow.real.ipv6, socket.SOCK_STREAM, flow.rank % _PORTS)
        service = flow.vip.port or _SSH
        self._send(wire, flow.real.ipv6, packets.segment(own, flow.real, (port, service), token))

    def _echoes(self, wire: ProbeSocket, flow: Flow, token: int) -> None:
        """A small echo in the tunnel, and one of full size."""
        self._echo(wire, flow, token)
        try:
            self._echo(wire, flow, token | _LARGE, full_size(self.path.tunnel, flow))
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            # The balancer's own interface is too small, which is told of that: of the real nothing is known.
            flow.kinds.add("large")

    def _echo(self, wire: ProbeSocket, flow: Flow, token: int, size: int = 0) -> None:
        self._send_in_tunnel(wire, flow, packets.echo(self._own(flow.address), flow.address, token, size))

    def _segment(self, flow: Flow, sequence: int, reset: bool = False) -> bytes:
        return packets.segment(self._own(flow.address), flow.address, self._ports(flow), sequence, reset)

    def _own(self, towards: Address) -> Address:
        return self.path.outs[towards.ipv6].own

    @staticmethod
    def _ports(flow: Flow) -> tuple[int, int]:
        return flow.port, flow.vip.port

    def _send_in_tunnel(self, wire: ProbeSocket, flow: Flow, inner: bytes) -> None:
        outer = packets.tunnelled(self.path.way, self.path.tunnel.encapsulation, inner, flow.real, flow.port)
        self.outer_sources.add(packets.outer_source(outer))
        self._send(wire, flow.real.ipv6, outer)

    def _send(self, wire: ProbeSocket, ipv6: bool, packet: bytes) -> None:
        out = self.path.outs[ipv6]
        wire.send(out.interface, out.mac + mac_of(out.interface) + (_IPV6 if ipv6 else _IPV4) + packet)
        self.sent += 1


def path_of(interfaces: Sequence[str], mac: bytes, way: packets.Way, tunnel: Tunnel) -> Path:
    """How probes leave: by the interface of the default route, and where there is none, by the program's first."""
    outs = {}
    for family, number in FAMILIES.items():
        with open_route() as route:
            allowed = carriers(route, interfaces) if interfaces else None
            names = [socket.if_indextoname(hop.interface) for hop in hops_over(default_routes(family), allowed)]
        for name in [*names, *interfaces]:
            own = own_address(number, [name])
            address = read_address(own) if own else None
            if address is not None:
                outs[number == socket.AF_INET6] = Out(name, mac[:6], address)
                break
    return Path(outs, way, tunnel)


def _after(sequence: int) -> int:
    """The sequence number behind a SYN."""
    return (sequence + 1) & 0xFFFFFFFF
