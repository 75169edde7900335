# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What packets for this host itself meet: interfaces, filters, sockets that listen, ways back, what is counted."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
from collections.abc import Iterator

from .._model.doctor.firewall import Ruleset
from .._model.doctor.real_seen import Link, Listener, Way
from .._model.errors import FleetError
from .netlink import open_route
from .nft import has_nft
from .parameters import read_sysctl
from .routes import default_routes

_SECONDS = 5.0
_MOST_ROUTES = 4096
"""Of a full table of the internet's routes, so many are looked at."""

_UP, _NO_ARP, _LOWER_UP = 0x1, 0x80, 0x10000
"""Of an interface's flags (netdevice(7))."""

_REJECTED, _GATEWAY = 0x200, 0x2
_WITHOUT_METRIC = 0xFFFFFFFF
"""That of a route which the kernel has where it has none."""

COUNTED = {
    "TcpExt": ("IPReversePathFilter", "ListenOverflows", "ListenDrops"),
    "Ip": ("InAddrErrors", "InDiscards", "OutNoRoutes"),
}
"""What the kernel counts of packets that do not reach a service, or of answers that do not leave."""


def links() -> dict[str, Link]:
    """The interfaces. Of parameters that an interface and all of them have, the larger holds."""
    with open_route() as route:
        found = [(link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_MTU"), link["flags"]) for link in route.get_links()]
    return {
        name: Link(
            mtu,
            bool(flags & _UP),
            _larger(name, "rp_filter"),
            _larger(name, "arp_ignore"),
            bool(flags & _LOWER_UP),
            not flags & _NO_ARP,
        )
        for name, mtu, flags in found
    }


def _larger(interface: str, parameter: str) -> int:
    values = [read_sysctl(f"net/ipv4/conf/{each}/{parameter}") for each in ("all", interface)]
    return max((int(value) for value in values if value and value.isdecimal()), default=0)


def ruleset() -> Ruleset | None:
    """The rules of nftables; None where it does not tell."""
    if not has_nft():
        return None
    printed = _output("nft", "-j", "list", "ruleset")
    try:
        return Ruleset(json.loads(printed)["nftables"]) if printed else None
    except (ValueError, KeyError, TypeError):
        return None


def listeners() -> list[Listener] | None:
    """What takes connections and datagrams; None where that cannot be told."""
    printed = _output("ss", "-Hltun")
    return None if printed is None else [each for each in map(_listener, printed.splitlines()) if each is not None]


def _listener(line: str) -> Listener | None:
    words = line.split()
    if len(words) < 5 or words[0] not in ("tcp", "udp"):
        return None
    address, _colon, port = words[4].rpartition(":")
    address = address.partition("%")[0].strip("[]")
    if not (port.isdecimal() and words[2].isdecimal() and words[3].isdecimal()):
        return None
    # How ss writes that any address will do: of both families, of IPv4, of IPv6.
    families = {"*": (False, True), "0.0.0.0": (False,), "::": (True,)}.get(address)  # noqa: S104  # what ss prints
    protocol = socket.IPPROTO_TCP if words[0] == "tcp" else socket.IPPROTO_UDP
    listener = Listener(protocol, "" if families else address, int(port), waiting=int(words[2]), most=int(words[3]))
    return listener._replace(families=families) if families else listener


def _output(*command: str) -> str | None:
    """What a command prints; None where there is no such command, or it fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def ways() -> dict[bool, Way]:
    """The default route of each family, True for IPv6, as far as the kernel tells."""
    found: dict[bool, Way] = {}
    with open_route() as route:
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in route.get_links()}
    for ipv6, read in ((False, _routes4), (True, _routes6)):
        try:
            routes = default_routes("IPv6" if ipv6 else "IPv4")
        except FleetError:
            continue
        others, rejected = 0, None
        for is_default, flags, metric in itertools.islice(read(), _MOST_ROUTES):
            if is_default and flags & _REJECTED and metric != _WITHOUT_METRIC:
                rejected = metric if rejected is None else min(rejected, metric)
            others += bool(not is_default and flags & _GATEWAY)
        best = routes[0] if routes else None
        if best is not None and (rejected is None or best.metric <= rejected):
            over = {names.get(hop.interface, "") for hop in best.hops}
            found[ipv6] = Way("unicast", tuple(sorted(over)), others)
        else:
            found[ipv6] = Way("" if rejected is None else "one that refuses (unreachable or blackhole)", (), others)
    return found


Row = tuple[bool, int, int]
"""Of a route of the main table: whether it is a default route, its flags, its metric."""


def _routes4() -> Iterator[Row]:
    for words in _lines("/proc/net/route"):
        if len(words) > 7 and words[1] != "Destination":
            # Of one that leads nowhere, the kernel writes no interface.
            flags = int(words[3], 16) | (_REJECTED if words[0] == "*" else 0)
            yield words[1] == words[7] == "00000000", flags, int(words[6])


def _routes6() -> Iterator[Row]:
    for words in _lines("/proc/net/ipv6_route"):
        if len(words) > 9:
            yield words[1] == "00", int(words[8], 16), int(words[5], 16)


def _lines(path: str) -> Iterator[list[str]]:
    try:
        with open(path, encoding="ascii") as source:
            for line in source:
                yield line.split()
    except OSError:
        return


def counted() -> dict[str, int]:
    """The kernel's counters of COUNTED, since the host booted."""
    found: dict[str, int] = {}
    for path in ("/proc/net/netstat", "/proc/net/snmp"):
        lines: dict[str, list[str]] = {}
        for words in _lines(path):
            names = lines.setdefault(words[0].rstrip(":"), words[1:])
            for name, value in zip(names, words[1:], strict=False):
                if name in COUNTED.get(words[0].rstrip(":"), ()) and value != name:
                    found[name] = int(value)
    return found
