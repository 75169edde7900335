# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether neighbours are told what this balancer announces: by what bird says of its sessions. Pure."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Collection, Iterator, Mapping, Sequence

from ..addresses import read_address
from ..faults import some
from .finding import Finding

_SESSION = re.compile(r"(\S+)\s+BGP\s+\S+\s+(\S+)\s+\S+(?:\s+\d\d:\S+)?\s*(.*)")
_NET = re.compile(r"([0-9A-Fa-f:.]+)/(\d+)\s")


class Session(t.NamedTuple):
    """A session of bird's: whether it is established, what bird says of it, and of which families it is."""

    name: str
    up: bool
    said: str
    families: frozenset[str]


def sessions(lines: Sequence[str]) -> list[Session]:
    """Those of bird's answer to `show protocols all`."""
    found: list[Session] = []
    for line in lines:
        if line and not line[0].isspace():
            match = _SESSION.match(line)
            if match:
                state, info = match[2], match[3].strip()
                found.append(Session(match[1], info.startswith("Established"), info or state, frozenset()))
            else:
                # Of another protocol, whose channels are none of ours.
                found.append(Session("", False, "", frozenset()))
        elif found and line.strip().startswith("Channel "):
            family = line.split()[1]
            found[-1] = found[-1]._replace(families=found[-1].families | {family})
    return [each for each in found if each.name]


def places(lines: Sequence[str]) -> set[str]:
    """The places of bird's answer to `show route export`: an address, or a prefix where it is shorter."""
    found = set()
    for line in lines:
        match = _NET.match(line)
        if match:
            whole = int(match[2]) == (128 if ":" in match[1] else 32)
            address = read_address(match[1])
            found.add((address.text if address else match[1]) if whole else f"{match[1]}/{match[2]}")
    return found


def no_daemon(table: int, why: str) -> Finding:
    """Bird was set up to announce, and does not answer."""
    return Finding(
        "route_filtered",
        "bird",
        f"bird, which is to announce the routes of table {table}, does not run: {why}",
        "systemctl status bird and journalctl -u bird say why; systemctl start bird, or deploy",
    )


def of_sessions(
    ready: Collection[str],
    routes: Mapping[str, int],
    table: int,
    found: Sequence[Session],
    told: Mapping[str, set[str]],
    shared: bool = False,
) -> Iterator[Finding]:
    """What no neighbour is told of.

    `ready`: what the agent announces; `routes`: place → metric, of the kernel's table; `told`: session → the places
    that bird exports to it. `shared`: bird is that of other balancers, too, and `routes` are those of this one.
    """
    lost = sorted(set(ready) - set(routes))
    if lost:
        yield Finding(
            "route_filtered",
            some(lost),
            f"the agent announces {some(lost)}, but table {table} has no such route: somebody removed it",
            "systemctl restart katran-agent adds it again; find out what flushes routes (a network manager, bird's"
            " kernel protocol)",
        )
    told_of = set().union(*told.values())
    # Where neighbours are told of nothing at all, the fault is not that this balancer was left out.
    if shared and routes and told_of and not told_of & set(routes):
        yield Finding(
            "route_filtered",
            "bird",
            "bird announces what other balancers of this host have, and none of this balancer's VIPs",
            "leave it so where routers reach its VIPs in another way; else give it katran_bgp as the others have,"
            " and deploy",
            error=False,
        )
        return
    family = {"ipv4": False, "ipv6": True}
    for session in found:
        if not session.up:
            yield Finding(
                "route_filtered",
                session.name,
                f"the BGP session {session.name} is not established: {session.said}",
                f"birdc show protocols all {session.name} says why; compare addresses, AS, password and BFD with the"
                " router's (katran_bgp)",
            )
            continue
        here = {place for place in routes if any((":" in place) == family.get(each) for each in session.families)}
        filtered = sorted(here - told.get(session.name, set()))
        if filtered:
            yield Finding(
                "route_filtered",
                session.name,
                f"the BGP session {session.name} is up, but does not tell the router of {some(filtered)}, which table"
                f" {table} has",
                f"birdc show route noexport {session.name} shows what the filter rejects; a deploy writes a bird.conf"
                " anew that somebody edited; else have katran_bgp.prefixes and the inventory's VIPs name it first",
            )
