# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which probe flows are sent, and what their answers say. Pure.

A probe flow is a SYN or a datagram from the balancer's own address to a VIP, in the tunnel to one real. What comes
back, or does not, tells where on the way it ended.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .. import layout
from ..addresses import Address, read_address
from ..faults import some
from ..link_mtu import Tunnel
from ..overlay import Overlay, effective_state
from ..vips import Vip, VipKey
from ..which import read_which
from .finding import Finding

OK, REFUSED, SILENT, UNREACHABLE, NOT_SENT = "ok", "refused", "silent", "unreachable", "not sent"
FAILING = "failing"
_EVEN_SO = "katran doctor on the real says which of these it is, and ansible-playbook katran.fleet.doctor does for all"


@dataclass
class Flow:
    """One probe flow and what became of it.

    `rank`: its number among the flows of its VIP, by which its source port differs from theirs. `kinds`: what came back
    for it: syn_ack, reset, datagram, refused, unreachable; echo for an echo of the VIP in the tunnel, large for one of
    full size; alive for anything from the real's own address, no_tunnel where the real refused GUE itself. `took`:
    seconds until the first answer. `port`: the source port. `mss`: that the real announced, 0 where none. `fault`: why
    it was not sent. `fails`: why the real's check fails, of one whose service accepts all the same.
    """

    vip: VipKey
    address: Address
    real: Address
    rank: int
    kinds: set[str] = field(default_factory=set)
    took: float = 0.0
    port: int = 0
    mss: int = 0
    fault: str = ""
    fails: str = ""

    @property
    def service(self) -> str:
        """tcp, udp, or echo for a VIP of any port, of which nobody knows a service."""
        return self.vip.protocol if self.vip.port else "echo"

    @property
    def result(self) -> str:
        """One of OK, FAILING, REFUSED, SILENT, UNREACHABLE, NOT_SENT."""
        found = self._answered()
        return FAILING if found == OK and self.fails else found

    def _answered(self) -> str:
        if self.fault:
            return NOT_SENT
        if self.kinds & {"syn_ack", "datagram"}:
            return OK
        if self.kinds & {"reset", "refused"}:
            return REFUSED
        if self.service != "tcp" and "echo" in self.kinds:
            return OK
        if self.kinds & {"echo", "alive"}:
            return SILENT
        return UNREACHABLE

    def row(self) -> dict[str, t.Any]:
        """For people and programs."""
        return {
            "vip": str(self.vip),
            "real": self.real.text,
            "result": self.result,
            "detail": self._detail(),
            "source_port": self.port,
            "seconds": round(self.took, 4),
        }

    def _detail(self) -> str:
        took = f" in {self.took * 1000:.1f} ms"
        if self.fault or self.result == FAILING:
            return self.fault or f"packets arrive, and the check fails: {self.fails}"
        if self.kinds & {"syn_ack", "datagram"}:
            return f"the service answers{took}"
        if self.kinds & {"reset", "refused"}:
            return f"refused{took}"
        if self.result == OK:
            service = "the service may be silent" if self.vip.port else "any port"
            return f"the VIP answers an echo in the tunnel{took}; {service}"
        if "echo" in self.kinds:
            return "the VIP answers an echo in the tunnel, the service nothing"
        if "no_tunnel" in self.kinds:
            return "the real refuses the tunnel itself"
        if "alive" in self.kinds:
            return "the real answers by itself, nothing through the tunnel"
        return "nothing answers, not even the real by itself"


def host_of(key: VipKey) -> Address:
    """An address of a VIP: of a prefix, its first host."""
    packed = key.packed
    length = len(packed) * 8 if key.ipv6 else 32
    if key.prefixlen is not None and key.prefixlen < length - 1:
        size = length // 8
        number = int.from_bytes(packed[:size], "big") + 1
        packed = number.to_bytes(size, "big").ljust(16, b"\0")
    return Address(layout.unpack_address(packed, key.ipv6), packed, key.ipv6)


def flows_of(vips: Iterable[Vip], overlay: Mapping[str, Overlay], vip: str, real: str) -> list[Flow]:
    """A flow for each real of each VIP that inventory and persons have active, whatever checks say of it.

    `vip`, `real`: those of a VIP's name and of a real's address alone; "": any. Of all, the first ones are of different
    VIPs and different reals, so that a part of them still sees most.
    """
    which = read_which(vip) if vip else None
    found: list[tuple[int, VipKey, Flow]] = []
    for number, each in enumerate(sorted(vips, key=lambda one: one.key)):
        if which is not None and not which.means_vip(each.key):
            continue
        serving = [
            one
            for one in each.reals
            if one.weight > 0 and not one.local and effective_state(one.address, one.state, overlay) == "active"
        ]
        for rank, one in enumerate(serving):
            address = read_address(one.address)
            if address is not None and real in ("", address.text):
                flow = Flow(each.key, host_of(each.key), address, rank)
                found.append(((rank - number) % len(serving), each.key, flow))
    return [flow for _order, _key, flow in sorted(found, key=lambda item: item[:2])]


# What the answers say


def of_flows(flows: Sequence[Flow]) -> Iterator[Finding]:
    """A finding for each real, and each thing that is wrong with it."""
    for (name, real, word), alike in _grouped(flows).items():
        where = some([str(flow.vip) for flow in alike])
        if name == REFUSED:
            yield Finding(
                "service_refuses",
                real,
                f"real {real} refuses {where}: the packet arrives through the tunnel, and nothing listens there",
                "start the service on the real, and let it listen on the VIP or on any address (ss -lnp)",
            )
        elif name == UNREACHABLE:
            yield Finding(
                "real_unreachable",
                real,
                f"nothing of real {real} answers, neither through the tunnel ({where}) nor by its own address",
                "see whether the real is up and its address right (katran_real_address), and whether routes lead from"
                " the balancer to it and back",
            )
        elif word == "echo":
            yield Finding(
                "service_silent",
                real,
                f"real {real} does not answer {where}, though the VIP there answers an echo in the tunnel: the service"
                " hangs, or a firewall on the real drops its port",
                "see to the service and to the real's firewall (ss -lnp, nft list ruleset)",
            )
        elif word == "no_tunnel":
            yield Finding(
                "decap_missing",
                real,
                f"real {real} refuses the tunnel itself: nothing there takes GUE at the balancer's port (gue_port)",
                "deploy the real (role real, katran_encapsulation and katran_gue_port as on the balancers)",
            )
        else:
            yield Finding(
                "service_silent",
                real,
                f"real {real} answers by its own address, but nothing that comes through the tunnel ({where}): it does"
                " not take it out of the tunnel or does not take this balancer's sources, lacks the VIP on lo, drops"
                " the tunnel in a firewall or by rp_filter, or has no way back",
                _EVEN_SO,
                error=alike[0].service == "tcp",
            )


def of_checks(flows: Sequence[Flow]) -> Iterator[Finding]:
    """A finding for each real whose service takes connections, and fails its check: it hangs, or is ill."""
    found: dict[tuple[str, bool], list[Flow]] = {}
    for flow in flows:
        if flow.result == FAILING:
            found.setdefault((flow.real.text, flow.fails.startswith("timeout")), []).append(flow)
    for (real, silent), alike in found.items():
        where = some([str(flow.vip) for flow in alike])
        why = some(list(dict.fromkeys(flow.fails for flow in alike)))
        yield Finding(
            "service_silent" if silent else "service_refuses",
            real,
            f"packets to {where} arrive at real {real}, whose service fails its check ({why}):"
            f" {'it hangs' if silent else 'it is ill, or the check asks for what it does not give'}",
            "see to the service on the real and to its log (katran checks shows what it answers), or to the check of"
            " the VIP",
        )


def _grouped(flows: Sequence[Flow]) -> dict[tuple[str, str, str], list[Flow]]:
    """(what is wrong, real, by what that is known) → the flows to which that happened."""
    found: dict[tuple[str, str, str], list[Flow]] = {}
    for flow in flows:
        if flow.result in (REFUSED, SILENT, UNREACHABLE):
            words = ("echo", "no_tunnel") if flow.result == SILENT else ()
            word = next((word for word in words if word in flow.kinds), "")
            found.setdefault((flow.result, flow.real.text, word), []).append(flow)
    return found


def full_size(tunnel: Tunnel, flow: Flow) -> int:
    """Bytes of the largest packet that the flow's clients send: what the tunnel takes, or the real's MSS allows."""
    headers = 60 if flow.vip.ipv6 else 40
    bound = flow.mss + headers if flow.mss else tunnel.largest
    return min(tunnel.largest, bound)


def of_sizes(tunnel: Tunnel, flows: Iterable[Flow]) -> Iterator[Finding]:
    """Reals to which small packets get through the tunnel, and full-sized do not. `flows`: those asked both ways."""
    told = set()
    for flow in flows:
        if "echo" in flow.kinds and "large" not in flow.kinds and flow.real.text not in told:
            told.add(flow.real.text)
            size = full_size(tunnel, flow)
            outer = size + tunnel.overhead
            yield Finding(
                "mtu_real",
                flow.real.text,
                f"packets of {size} bytes to {flow.vip} do not arrive at real {flow.real.text}, small ones do: a link"
                f" on the way carries less than the {outer} bytes that they take in the tunnel",
                f"raise the MTU to {outer} on every link from the balancer to the real (katran_real_mtu on the real),"
                " or let VIPs announce a smaller MSS (katran_real_mss)",
            )
