# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses that a host has, and those of its gateways."""

from __future__ import annotations

import ipaddress

from .._model.own_addresses import HostAddresses
from .netlink import address_of, open_route
from .network import ask_gateway

_GLOBAL, _SITE = 0, 200
"""Scopes of addresses that others may send to."""


def read_addresses() -> HostAddresses:
    """What the kernel says. ProgramError where the host has no pyroute2."""
    with open_route() as route:
        loopback = route.link_lookup(ifname="lo")
        found = [
            (str(ipaddress.ip_address(address)), entry["index"])
            for entry in route.get_addr()
            if entry["scope"] in (_GLOBAL, _SITE) and (address := address_of(entry))
        ]
    return HostAddresses(
        own=tuple(dict.fromkeys(address for address, _index in found)),
        loopback=tuple(dict.fromkeys(address for address, index in found if index in loopback)),
        gateways=tuple(dict.fromkeys(str(hop.address) for hop in ask_gateway((), wait=False).hops)),
    )
