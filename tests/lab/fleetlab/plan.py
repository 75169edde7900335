# SPDX-License-Identifier: GPL-3.0-or-later
"""What the laboratory consists of: hosts, names and addresses. Nothing here touches the machine.

    client --- router --- lb1, lb2, real1, real2, real3      one veth pair each, a /24 and a /64
       \\         |          /
        control: bridge br-mgmt                              eth0 of every host, 198.18.0.0/24

Host number N has 198.18.N.2 and fd6b:6174:7261:N::2 on eth1, the router .1 on the other end, and 198.18.0.N on eth0.
A laboratory may have more balancers and reals: lb3, lb4, ..., real4, real5, ...
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

# RFC 2544's range for benchmarks, which no user's network has, and a unique local /48 (RFC 4193) of our own ("katra").
RANGE_IPV4 = "198.18.0.0/15"
RANGE_IPV6 = "fd6b:6174:7261::/48"
VIPS_IPV4 = "198.18.200.0/24"
VIPS_IPV6 = "fd6b:6174:7261:200::/64"

RUN = Path("/run/katran-fleet-lab")
DEFAULT_PREFIX = "kf"
PROJECT = Path(__file__).resolve().parents[3]

# Full-size packets plus the outer header (40 bytes of IPv6 and 18 of GUE with its UDP) must fit where they travel
# encapsulated. The client's link stays at the Internet's 1500.
ENCAPSULATED_MTU = 1600


class LabError(Exception):
    """Something an operator of the laboratory can act on, in one sentence."""


@dataclass(frozen=True)
class Host:
    """A host of the laboratory; *number* fixes its addresses."""

    name: str
    role: str
    number: int

    @property
    def management(self) -> str:
        return f"198.18.0.{self.number}"

    @property
    def ipv4(self) -> str:
        return f"198.18.{self.number}.2"

    @property
    def ipv6(self) -> str:
        return f"fd6b:6174:7261:{self.number}::2"

    @property
    def router_ipv4(self) -> str:
        return f"198.18.{self.number}.1"

    @property
    def router_ipv6(self) -> str:
        return f"fd6b:6174:7261:{self.number}::1"

    @property
    def mtu(self) -> int:
        return ENCAPSULATED_MTU if self.role in {"balancer", "real"} else 1500


CONTROL = Host("control", "control", 254)
CLIENT = Host("client", "client", 1)
ROUTER = Host("router", "router", 253)
# In the order of their names' numbers. 200 is the VIPs'; those of the client, the router and the control namespace are
# in none of these ranges.
_BALANCER_NUMBERS = (*range(11, 21), *range(111, 200))
_REAL_NUMBERS = (*range(21, 101), *range(201, 253))
MOST_BALANCERS, MOST_REALS = len(_BALANCER_NUMBERS), len(_REAL_NUMBERS)
DEFAULT_BALANCERS, DEFAULT_REALS = 2, 3


def hosts_of(balancers: int = DEFAULT_BALANCERS, reals: int = DEFAULT_REALS) -> tuple[Host, ...]:
    """Client, router, and so many balancers and reals. A host has the same number, and so addresses, in all of these.

    LabError for more than there are numbers for.
    """
    if not (0 <= balancers <= MOST_BALANCERS and 0 <= reals <= MOST_REALS):
        raise LabError(
            f"{balancers} balancers and {reals} reals: a laboratory has up to {MOST_BALANCERS} and {MOST_REALS}"
        )
    return (
        CLIENT,
        ROUTER,
        *(Host(f"lb{place}", "balancer", _BALANCER_NUMBERS[place - 1]) for place in range(1, balancers + 1)),
        *(Host(f"real{place}", "real", _REAL_NUMBERS[place - 1]) for place in range(1, reals + 1)),
    )


HOSTS = hosts_of()
# What any laboratory may have.
EVERY_HOST = hosts_of(MOST_BALANCERS, MOST_REALS)


@dataclass(frozen=True)
class Lab:
    """One laboratory: every name it takes on this machine starts with *prefix*."""

    prefix: str
    hosts: tuple[Host, ...] = HOSTS

    @property
    def directory(self) -> Path:
        return RUN / self.prefix

    @property
    def key(self) -> Path:
        return self.directory / "id_ed25519"

    def namespace(self, host: Host) -> str:
        return f"{self.prefix}-{host.name}"

    def namespace_path(self, host: Host) -> str:
        return f"/run/netns/{self.namespace(host)}"

    def host(self, name: str) -> Host:
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"laboratory {self.prefix} has no host {name} (it has: {names(self.hosts)})")

    @property
    def edge_hosts(self) -> tuple[Host, ...]:
        """The hosts behind the router."""
        return tuple(host for host in self.hosts if host.role != "router")

    def with_role(self, role: str) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.role == role)


def names(hosts: tuple[Host, ...]) -> str:
    return ", ".join(host.name for host in hosts)


def lab_named(prefix: str | None = None, hosts: str | None = None, plan: tuple[Host, ...] = HOSTS) -> Lab:
    """The laboratory *prefix* (default: environment KATRAN_LAB, else kf) of *hosts*, comma-separated names of *plan*.

    LabError for a name that cannot be one and for a host that the plan has not.
    """
    prefix = prefix or os.environ.get("KATRAN_LAB") or DEFAULT_PREFIX
    if not re.fullmatch(r"[a-z][a-z0-9]{0,9}", prefix):
        raise LabError(f"laboratory name {prefix!r}: a letter, then up to nine letters or digits, all lower case")
    if hosts is None:
        return Lab(prefix, plan)
    wanted = {name.strip() for name in hosts.split(",") if name.strip()}
    unknown = wanted - {host.name for host in plan}
    if unknown:
        raise LabError(f"no host {', '.join(sorted(unknown))} in the laboratory's plan (it knows: {names(plan)})")
    # Every packet crosses the router.
    return Lab(prefix, tuple(host for host in plan if host.name in wanted or host is ROUTER))
