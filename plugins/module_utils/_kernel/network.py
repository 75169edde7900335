# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host's network says: the gateway's MAC, own addresses."""

from __future__ import annotations

import contextlib
import socket
import time
import typing as t
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._model.errors import NetworkError
from .._model.snapshot import GatewayAnswer
from .netlink import open_route

FAMILIES = {"IPv4": socket.AF_INET, "IPv6": socket.AF_INET6}
_RESOLVE_SECONDS = 3.0
_CONFIRM_SECONDS = 12.0
"""Longer than the kernel waits before it probes a neighbour (5 s), probes it (3 s) and asks for it anew (3 s)."""

_KNOWN = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80
"""Neighbour states in which the kernel has a MAC: reachable, stale, delay, probe, noarp, permanent."""

_CONFIRMED = 0x02 | 0x40 | 0x80
"""Those in which it does not doubt it: reachable, noarp, permanent."""

_LOST_HOP = 0x01 | 0x10
"""Flags of a next hop that carries nothing: dead, link down."""


@dataclass(frozen=True)
class _Gateway:
    """A default route's next hop: the address that resolves to its MAC, and the interface it is behind."""

    family: int
    address: str
    interface: int


def _carriers(route: t.Any, names: Sequence[str]) -> set[int]:
    """The interfaces, and those above them that carry their addresses and routes: bonds, bridges, VLANs."""
    links = list(route.get_links())
    found = {link["index"] for link in links if link.get_attr("IFLA_IFNAME") in names}
    while True:
        above = {link.get_attr("IFLA_MASTER") for link in links if link["index"] in found}
        above |= {link["index"] for link in links if link.get_attr("IFLA_LINK") in found}
        if above - {None} <= found:
            return found
        found |= above - {None}


def _gateways(route: t.Any, family: int) -> Iterator[_Gateway]:
    """The next hops of the default routes, best first."""
    for entry in route.get_default_routes(family=family):
        hops = entry.get_attr("RTA_MULTIPATH") or []
        for attributes, interface in [
            (dict(entry["attrs"]), entry.get_attr("RTA_OIF")),
            *((dict(hop["attrs"]), hop["oif"]) for hop in hops if not hop["flags"] & _LOST_HOP),
        ]:
            via = attributes.get("RTA_VIA")
            if via:
                # An IPv4 route through an IPv6 neighbour (RFC 5549).
                yield _Gateway(via["family"], via["addr"], interface)
            elif attributes.get("RTA_GATEWAY"):
                yield _Gateway(family, attributes["RTA_GATEWAY"], interface)


def _neighbour(route: t.Any, gateway: _Gateway) -> tuple[str | None, int]:
    """(MAC, state) of the gateway in the neighbour table."""
    for entry in route.get_neighbours(family=gateway.family, ifindex=gateway.interface):
        if entry.get_attr("NDA_DST") == gateway.address:
            mac = entry.get_attr("NDA_LLADDR") if entry["state"] & _KNOWN else None
            return t.cast("str | None", mac), entry["state"]
    return None, 0


def _resolve(route: t.Any, gateway: _Gateway, confirm: bool) -> str | None:
    """The gateway's MAC, resolved if it is not known yet, or with `confirm` if the kernel doubts it."""
    deadline = time.monotonic() + (_CONFIRM_SECONDS if confirm else _RESOLVE_SECONDS)
    poked = 0.0
    while True:
        mac, state = _neighbour(route, gateway)
        late = time.monotonic() > deadline
        if (mac and (state & _CONFIRMED or not confirm)) or late:
            return mac
        if time.monotonic() - poked > 0.5:
            poked = time.monotonic()
            _poke(gateway)
        time.sleep(0.05)


def ask_gateway(interfaces: Sequence[str], confirm: bool = False, wait: bool = True) -> GatewayAnswer:
    """What the default routes behind the interfaces lead to, IPv4 first, and the MAC to send to.

    Packets are sent out of the interface that they came from, so a gateway elsewhere will not do. No interfaces: any
    gateway. `wait`: make the kernel resolve a MAC that it does not know yet, for seconds; without, only what it knows
    counts. `confirm`: ask the gateway itself where the kernel's entry is old.
    """
    reasons, hops, mac = [], [], ""
    with open_route() as route:
        allowed = _carriers(route, interfaces)
        for name, family in FAMILIES.items():
            everywhere = list(_gateways(route, family))
            here = [item for item in everywhere if not interfaces or item.interface in allowed]
            hops += here
            if not here:
                where = f" over {', '.join(interfaces)}" if everywhere else ""
                reasons.append(f"no {name} default route{where}")
            for item in here:
                found = mac or (_resolve(route, item, confirm) if wait else _neighbour(route, item)[0])
                if not found:
                    reasons.append(f"the {name} gateway {item.address} does not answer")
                mac = found or ""
    sentence = f"gateway_mac auto: {', '.join(reasons)}; give the MAC as gateway_mac"
    return GatewayAnswer(tuple(interfaces), tuple(hops), mac, "" if mac else sentence)


def gateway_mac(interfaces: Sequence[str], confirm: bool = False) -> str:
    """The MAC of the gateway, resolved if not known yet. NetworkError says why there is none."""
    answer = ask_gateway(interfaces, confirm)
    if not answer.mac:
        raise NetworkError(answer.sentence)
    return answer.mac


def _poke(gateway: _Gateway) -> None:
    """Make the kernel resolve a neighbour: one datagram to its discard port."""
    with contextlib.suppress(OSError), socket.socket(gateway.family, socket.SOCK_DGRAM) as probe:
        if gateway.family == socket.AF_INET6:
            probe.sendto(b"", (gateway.address, 9, 0, gateway.interface))
        else:
            probe.sendto(b"", (gateway.address, 9))


def own_address(family: int, interfaces: Sequence[str]) -> str | None:
    """This host's first global address of the family on the interfaces, in their order; None where there is none.

    An interface without addresses may belong to a bond or bridge that has them. No interfaces: on that of the family's
    default route.
    """
    with open_route() as route:
        indexes = [index for name in interfaces for index in route.link_lookup(ifname=name)]
        indexes += sorted(_carriers(route, interfaces) - set(indexes))
        if not interfaces:
            indexes = [item.interface for item in _gateways(route, family)]
        for index in indexes:
            for entry in route.get_addr(family=family, index=index, scope=0):
                return t.cast(str, entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS"))
    return None
