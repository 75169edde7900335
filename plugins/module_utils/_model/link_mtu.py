# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether links carry what a balancer sends: the largest packet that it takes, and the tunnel around it.

What a link does not carry is dropped without a word: connections open, and hang with the first full-sized packet.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from .options import Spec

CHECKS = ("warn", "fail", "off")
MTU_CHECK: Spec = {"mtu_check": {"type": "str", "choices": list(CHECKS), "default": "warn"}}
TUNNEL: Spec = {
    "encapsulation": {"type": "str", "choices": ["ipip", "gue"], "default": "ipip"},
    "max_frame": {"type": "int", "default": 1514},
    "ipv6": {"type": "bool", "default": False},
}
"""What a real is told of its balancers' tunnels."""

_ETHERNET = 14
_IP = {False: 20, True: 40}
_TCP = 20
_UDP = 8


@dataclass(frozen=True)
class Tunnel:
    """What a balancer puts around packets.

    `max_frame`: bytes of the largest frame that it takes, Ethernet header and all. `ipv6`: whether a real has an IPv6
    address; its tunnels are the larger ones.
    """

    encapsulation: str = "ipip"
    max_frame: int = 1514
    ipv6: bool = False

    @property
    def overhead(self) -> int:
        """Bytes of the outer headers: IP, and UDP with GUE, whose payload follows without a header of its own."""
        return _IP[self.ipv6] + (_UDP if self.encapsulation == "gue" else 0)

    def outer(self) -> int:
        """Bytes of the largest packet that comes out of it."""
        return self.largest + self.overhead

    @property
    def largest(self) -> int:
        """Bytes of the largest packet that is put into it."""
        return self.max_frame - _ETHERNET

    def segment(self, mss: int) -> int:
        """Bytes of the largest TCP packet under this MSS; of IPv6 where reals have it, since only then VIPs do."""
        return mss + _IP[self.ipv6] + _TCP


class Links(t.NamedTuple):
    """How links are to be compared with a tunnel.

    `check`: one of CHECKS. `mss`: the largest MSS that VIPs announce, 0: any. `raise_mtu`: where the MTU is set.
    """

    check: str
    tunnel: Tunnel
    mss: int = 0
    raise_mtu: str = "raise the MTU of the links between balancers and reals"


class RealLinks(t.NamedTuple):
    """How links to reals are to be compared, whatever the tunnel is. `ipv6`: whether a real has an IPv6 address."""

    check: str
    ipv6: bool = False
    mss: int = 0

    def of(self, encapsulation: str, max_frame: int) -> Links:
        """The same with the tunnel that a balancer's settings make."""
        return Links(self.check, Tunnel(encapsulation, max_frame, self.ipv6), self.mss)


def link_faults(links: Links, mtus: Mapping[str, int | None]) -> list[str]:
    """A sentence for each interface that cannot carry the tunnel's packets. `mtus`: None for one that is gone."""
    tunnel = links.tunnel
    bound = tunnel.segment(links.mss) if links.mss else tunnel.largest
    inner = min(bound, tunnel.largest)
    need = inner + tunnel.overhead
    if links.check == "off":
        return []
    source = f"max_frame {tunnel.max_frame}" if inner == tunnel.largest else f"MSS {links.mss}"
    around = f"{tunnel.encapsulation} over {'IPv6' if tunnel.ipv6 else 'IPv4'}"
    return [
        f"interface {name} has MTU {mtu}, but packets of {inner} bytes ({source}) take {need} with {tunnel.overhead} of"
        f" {around}: {links.raise_mtu} to {need}, let VIPs announce an MSS of {_mss_for(tunnel, mtu)} at most"
        " (katran_real_mss, module host; TCP alone), or set katran_max_frame to"
        f" {mtu - tunnel.overhead + _ETHERNET} with feature icmp_too_big"
        for name, mtu in sorted(mtus.items())
        if mtu is not None and mtu < need
    ]


def _mss_for(tunnel: Tunnel, mtu: int) -> int:
    return mtu - tunnel.overhead - tunnel.segment(0)
