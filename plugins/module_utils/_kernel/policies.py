# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rules of `ip rule` say by which table answers leave, or that they do not (fib_rules.h); and one way out."""

from __future__ import annotations

import errno
import socket
import typing as t
from collections.abc import Collection, Iterator

from .._model.doctor.real_seen import Policy
from .netlink import open_route

_TO_TABLE = 1
_REFUSES = {6: "blackhole", 7: "unreachable", 8: "prohibit"}
"""Of rules' actions, and of routes' types."""

_OF_ITS_OWN = ("FRA_FWMARK", "FRA_IIFNAME", "FRA_OIFNAME", "FRA_IP_PROTO", "FRA_SPORT_RANGE", "FRA_DPORT_RANGE")
_LOCAL_TABLE = 255
_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL)
"""What the kernel answers where there is no route, or one that refuses."""


def policies() -> dict[bool, tuple[Policy, ...]]:
    """The rules of each family, True for IPv6, in their order; without those that ask for more than a source."""
    with open_route() as route:
        return {
            ipv6: tuple(sorted(_read(route, socket.AF_INET6 if ipv6 else socket.AF_INET))) for ipv6 in (False, True)
        }


def _read(route: t.Any, family: int) -> Iterator[Policy]:
    for rule in route.get_rules(family=family):
        if rule["dst_len"] or any(rule.get_attr(name) for name in _OF_ITS_OWN):
            continue
        source = rule.get_attr("FRA_SRC")
        place = (rule.get_attr("FRA_PRIORITY") or 0, f"{source}/{rule['src_len']}" if source else "")
        table = rule.get_attr("FRA_TABLE") or rule["table"]
        if rule["action"] in _REFUSES:
            yield Policy(*place, f"is {_REFUSES[rule['action']]}")
        elif rule["action"] == _TO_TABLE and table != _LOCAL_TABLE:
            defaults = route.get_default_routes(family, table)
            # As for the kernel: of two, the one of the smaller metric.
            best = min(defaults, key=lambda each: each.get_attr("RTA_PRIORITY") or 0, default=None)
            refused = _REFUSES.get(best["type"]) if best is not None else None
            if best is not None:
                yield Policy(*place, f"leads to table {table}, whose default route is {refused}" if refused else "")


def unrouted(addresses: Collection[str]) -> set[str]:
    """Those to which the host has no way. Where the kernel does not tell, it is taken to have one."""
    from pyroute2.netlink.exceptions import NetlinkError  # pylint: disable=import-outside-toplevel  # as open_route

    found = set()
    with open_route() as route:
        for address in addresses:
            try:
                (way,) = route.route("get", dst=address)
            except NetlinkError as error:
                if error.code in _NO_WAY:
                    found.add(address)
                continue
            if way["type"] in _REFUSES:
                found.add(address)
    return found
