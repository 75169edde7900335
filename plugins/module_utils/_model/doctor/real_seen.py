# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real as doctor sees it: what was read of the host, for those who judge it. Pure."""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..decap_plan import DecapSnapshot
from ..decap_record import KERNEL, XDP, DecapKept, DecapRecord
from ..faults import some
from ..host_plan import MssRules, RealHost
from .firewall import Ruleset

RESTORE = "run the playbook katran.fleet.deploy, or systemctl restart katran-restore on the host"
TCP, UDP = 6, 17


class Link(t.NamedTuple):
    """An interface. `up`: by its administrator; `carrier`: by its other end. `rp_filter`, `arp_ignore`: what holds.

    `arp`: whether it asks and answers who has an address, as a link that others share does.
    """

    mtu: int
    up: bool = True
    rp_filter: int = 0
    arp_ignore: int = 0
    carrier: bool = True
    arp: bool = True


class Listener(t.NamedTuple):
    """A socket that takes connections or datagrams. `address`: "" for any of `families`; `waiting` of `most` queue."""

    protocol: int
    address: str
    port: int
    families: tuple[bool, ...] = (False, True)
    waiting: int = 0
    most: int = 0

    def takes(self, address: str, protocol: int, port: int) -> bool:
        """Whether it is the one for a packet."""
        if (self.protocol, self.port) != (protocol, port):
            return False
        return (":" in address) in self.families if not self.address else self.address == address

    @property
    def full(self) -> bool:
        """Whether no further connection is taken: the service does not accept those that wait."""
        return self.protocol == TCP and 0 < self.most <= self.waiting


class Way(t.NamedTuple):
    """The default route of a family. `kind`: unicast, blackhole, unreachable, prohibit, "" for none.

    `interfaces`: over which it leads; `others`: how many routes lead to somewhere else by a gateway.
    """

    kind: str = ""
    interfaces: tuple[str, ...] = ()
    others: int = 0


class Policy(t.NamedTuple):
    """A rule of policy routing that decides of what has a `source` (a prefix, "" any). `refuses`: how, "" where not."""

    priority: int
    source: str
    refuses: str = ""

    def covers(self, address: str) -> bool:
        """Whether an answer from there is what it decides of."""
        return not self.source or ipaddress.ip_address(address) in ipaddress.ip_network(self.source, strict=False)


@dataclass(frozen=True)
class RealSeen:
    """A real as it is. `record`, `decap`: of the instance. `others`: of instances beside it, the interfaces of decap.

    `links`: by interface; `ways`, `policies`: by family, True for IPv6; `rules`: None where nftables does not tell.
    `deaf`: whether it cannot be told who listens. `programs`: names of what XDP runs, by id.
    """

    instance: str
    record: DecapRecord
    decap: DecapSnapshot
    others: Mapping[str, Collection[str]] = field(default_factory=dict)
    host: RealHost | None = None
    mss: MssRules | None = None
    links: Mapping[str, Link] = field(default_factory=dict)
    ways: Mapping[bool, Way] = field(default_factory=dict)
    policies: Mapping[bool, Sequence[Policy]] = field(default_factory=dict)
    rules: Ruleset | None = None
    listeners: Sequence[Listener] = ()
    deaf: bool = False
    programs: Mapping[int, str] = field(default_factory=dict)

    @property
    def kept(self) -> DecapKept:
        """The settings of the last run."""
        return self.record.settings or DecapKept([], [], 0, [], 0)

    @property
    def interfaces(self) -> list[str]:
        """By which balancers' packets come, as far as they are there."""
        return [name for name in self.record.interfaces if name in self.links]

    @property
    def way(self) -> str:
        """By what tunnels are stripped: XDP, TC or KERNEL."""
        return self.record.way or XDP

    @property
    def behind(self) -> list[str]:
        """The interfaces where clients' packets come out of tunnels, whether they are there or not."""
        return list(self.record.tunnels if self.way == KERNEL else self.record.interfaces)


def listed(names: Collection[str]) -> str:
    """The first of them in order, and how many more there are."""
    return some(sorted(names))
