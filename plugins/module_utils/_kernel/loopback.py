# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of interface lo."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from .netlink import open_route


def loopback_addresses() -> list[str]:
    """The addresses of interface lo, canonical text."""
    with open_route() as route:
        index = route.link_lookup(ifname="lo")[0]
        return [
            str(ipaddress.ip_address(entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS")))
            for entry in route.get_addr(index=index)
        ]


def change_loopback(add: Sequence[str], remove: Sequence[str]) -> None:
    """Add and remove host addresses of interface lo."""
    if not add and not remove:
        return
    with open_route() as route:
        index = route.link_lookup(ifname="lo")[0]
        for command, addresses in (("add", add), ("del", remove)):
            for address in addresses:
                route.addr(command, index=index, address=address, prefixlen=128 if ":" in address else 32)
