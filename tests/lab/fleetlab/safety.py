# SPDX-License-Identifier: GPL-3.0-or-later
"""No packet of the laboratory leaves this machine.

The laboratory's namespaces have no link to the machine's own, so a packet can only leave when something in the
machine's namespace sends it: an ssh that lost its proxy command, say. While a laboratory exists, the machine's
routing table answers such a packet with "unreachable".
"""

from __future__ import annotations

import ipaddress
import json

from fleetlab.plan import RANGE_IPV4, RANGE_IPV6, LabError
from fleetlab.system import run

# Marks the routes as ours (see `ip route show proto 198`); numbers above 100 are free for anybody.
_PROTOCOL = "198"
_RANGES = {"-4": RANGE_IPV4, "-6": RANGE_IPV6}

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _overlaps(family: str, wanted: _Network) -> list[str]:
    """What this machine's network already says about addresses in *wanted*, our own routes left out."""
    found = []
    for route in json.loads(run(["ip", "-j", "-N", family, "route", "show", "table", "all"]) or "[]"):
        if route["dst"] == "default" or str(route.get("protocol")) == _PROTOCOL:
            continue
        network = ipaddress.ip_network(route["dst"], strict=False)
        # Half of everything, and the like, are the default routes of VPNs, not a claim to these addresses.
        if network.prefixlen > 8 and network.overlaps(wanted):
            found.append(f"route {route['dst']} dev {route.get('dev', '?')}")
    return found


def _way_to(family: str, address: str) -> str | None:
    """The route a packet to *address* would take, or None where the kernel refuses to send it."""
    try:
        return run(["ip", family, "route", "get", address]).strip()
    except LabError:
        return None


def close_ranges() -> None:
    """Make the laboratory's ranges unreachable from the machine's own namespace.

    Raises LabError when they are in use there, or when a routing rule would overrule these routes.
    """
    for family, text in _RANGES.items():
        wanted = ipaddress.ip_network(text)
        found = _overlaps(family, wanted)
        if found:
            raise LabError(f"this machine's network already uses addresses of {text}: {'; '.join(found[:3])}")
        run(["ip", family, "route", "replace", "unreachable", text, "proto", _PROTOCOL])
        probe = str(wanted[258])
        way = _way_to(family, probe)
        if way is not None:
            open_ranges()
            raise LabError(f"a routing rule of this machine sends {probe} elsewhere ({way}); no laboratory here")


def open_ranges() -> None:
    """Remove what close_ranges added, and nothing else."""
    for family, text in _RANGES.items():
        if run(["ip", "-N", family, "route", "show", "type", "unreachable", "exact", text, "proto", _PROTOCOL]).strip():
            run(["ip", family, "route", "del", "unreachable", text, "proto", _PROTOCOL])
