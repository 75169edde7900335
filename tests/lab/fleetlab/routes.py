# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the router sends what is for a VIP: what balancers announced to it, and what it was told to do besides."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from fleetlab.fleet import host_at, read_vips
from fleetlab.lifecycle import require_up
from fleetlab.plan import PROJECT, ROUTER, VIPS_IPV4, VIPS_IPV6, Lab, LabError
from fleetlab.system import Progress, network, run

ANNOUNCED = "bird"
"""The kernel's name of the protocol that the router's own daemon gives its routes."""


def read(lab: Lab) -> dict[str, list[str]]:
    """Prefix that balancers announce → the names of those to which the router sends its flows, sorted."""
    found: dict[str, list[str]] = {}
    with network(lab.namespace_path(ROUTER)):
        for family in ("-4", "-6"):
            for route in json.loads(run(["ip", "-j", family, "route", "show", "proto", ANNOUNCED]) or "[]"):
                hops = route.get("nexthops") or [route]
                found[route["dst"]] = sorted(host_at(hop["gateway"]) for hop in hops)
    return found


def reachable(lab: Lab, address: str) -> bool:
    """Whether the router sends what is for an address to any balancer, announced or not."""
    with network(lab.namespace_path(ROUTER)):
        family = "-6" if ":" in address else "-4"
        routes = json.loads(run(["ip", "-j", family, "route", "show", "match", address]) or "[]")
    return any(route.get("nexthops") or route.get("gateway") for route in routes)


def wait(lab: Lab, addresses: Iterable[str], balancers: Iterable[str] = (), seconds: float = 60.0) -> float:
    """Wait until the router reaches these VIPs, by each of these balancers if any are named; returns the seconds.

    LabError names what is missing once the time is up.
    """
    begin, wanted, names = time.monotonic(), sorted(set(addresses)), set(balancers)
    while True:
        known = read(lab)
        missing = [
            f"{address} by {', '.join(sorted(names - set(known.get(address, ()))))}"
            for address in wanted
            if not names <= set(known.get(address, ()))
        ]
        missing += [address for address in wanted if not names and not reachable(lab, address)]
        waited = time.monotonic() - begin
        if not missing:
            return waited
        if waited > seconds:
            raise LabError(
                f"after {seconds:g} s the router still has no route to {'; '.join(missing)}: on a balancer, see"
                " /run/katran-fleet/default/ready.json, `ip route show table 198` and `birdc show protocols`"
            )
        time.sleep(0.1)


def main(lab: Lab, inventory: str, seconds: float) -> int:
    """Wait until all balancers announce the inventory's VIPs, and show the router's table."""
    lab = require_up(lab)
    vips = {vip.target.address for vip in read_vips(PROJECT / inventory, lab.prefix)}
    waited = wait(lab, vips, [host.name for host in lab.with_role("balancer")], seconds)
    Progress(lab.prefix).say(f"{len(vips)} addresses of VIPs are announced by every balancer (after {waited:.1f} s)")
    with network(lab.namespace_path(ROUTER)):
        for family, place in (("-4", VIPS_IPV4), ("-6", VIPS_IPV6)):
            print(run(["ip", family, "route", "show", "root", place]).rstrip())
    return 0
