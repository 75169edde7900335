# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bird.conf of a balancer: bird learns the routes that the agent keeps in a table of the kernel, and announces them.

For bird 2 and 3, https://bird.network.cz/doc/. Names begin with katran_: a name such as "router" may be a word of
bird's. A neighbor's protocol is named after its address, so that others of the list come and go without its session.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from .announcement import PROTOCOL, READY
from .bgp_settings import FAMILIES, BgpSettings, Neighbor, Place
from .communities import GRACEFUL_SHUTDOWN, Community

MARK = "# Written by katran.fleet (role bgp) from katran_bgp: what is changed here is undone by the next deploy."
"""The first line of each file that is ours."""

_NETLINK_BYTES = 4 << 20
"""What the kernel may tell bird at once. By default some 230 routes fit, and what does not is seen at the next scan."""

_VERSION = {"ipv4": "4", "ipv6": "6"}
_PASSWORD = re.compile(
    r"(password\s+|\bdefine\s+\w+\s*=\s*(?=[\"']))(\"[^\"\n]*\"|'[^'\n]*'|[^\s;{\"']+)", re.IGNORECASE
)
"""Also one in hexadecimal digits, and a text that has a name: it may be a password's."""

_HIDDEN = '"********"'


def is_ours(text: str) -> bool:
    """Whether a bird.conf was written here."""
    return text.startswith(MARK.partition(":")[0])


def masked(text: str) -> str:
    """A bird.conf without its passwords."""
    return _PASSWORD.sub(lambda found: found[1] + _HIDDEN, text)


def render(settings: BgpSettings, router_id: str, places: Sequence[Place] | None, table: int) -> str:
    """The whole file. `places`: what may be announced besides the settings' prefixes; None: whatever the table has."""
    lines = [
        MARK,
        f"# What is announced: routes of table {table} with protocol {PROTOCOL}, which katran-agent keeps.",
        "",
        "log syslog { info, remote, warning, error, auth, fatal, bug };",
        f"router id {router_id};",
        "",
        "protocol device { scan time 10; }",
        "",
    ]
    for family in FAMILIES:
        lines += [*_learning(family, table), ""]
    for family in FAMILIES:
        lines += [*_filter(family, settings, places), ""]
    if any(neighbor.bfd for neighbor in settings.neighbors):
        lines += [*_bfd(settings), ""]
    for neighbor in settings.neighbors:
        lines += [*_session(neighbor, settings), ""]
    return "\n".join(lines[:-1]) + "\n"


def _learning(family: str, table: int) -> list[str]:
    version = _VERSION[family]
    return [
        f"{family} table katran_vips{version};",
        f"protocol kernel katran_learn{version} {{",
        f"\tkernel table {table};",
        "\tlearn;",
        f"\tnetlink rx buffer {_NETLINK_BYTES};",
        "\tscan time 10;",
        f"\t{family} {{ table katran_vips{version}; import where krt_source = {PROTOCOL}; export none; }};",
        "}",
    ]


def _filter(family: str, settings: BgpSettings, places: Sequence[Place] | None) -> list[str]:
    lines = [f"filter katran_announce{_VERSION[family]} {{"]
    mine = [place for place in places or () if _family(place.prefix) == family]
    if settings.prefixes is not None:
        allowed = [f"{prefix}+" for prefix in settings.prefixes if _family(prefix) == family]
    else:
        allowed = [place.prefix for place in mine]
    if not allowed and (places is not None or settings.prefixes is not None):
        return [*lines, "\treject;", "}"]
    if allowed:
        lines.append(f"\tif net !~ {_set(allowed)} then reject;")
    lines += [f"\t{_add(community)}" for community in settings.communities]
    for communities, prefixes in _by_communities(mine).items():
        added = " ".join(_add(community) for community in communities)
        lines.append(f"\tif net ~ {_set(prefixes)} then {{ {added} }}")
    if settings.local_pref is not None:
        lines.append(f"\tbgp_local_pref = {settings.local_pref};")
    return [
        *lines,
        "\t# RFC 8326: traffic is to leave, and is carried until it has left.",
        f"\tif krt_metric > {READY} then {{ {_add(GRACEFUL_SHUTDOWN)} bgp_local_pref = 0; }}",
        "\taccept;",
        "}",
    ]


def _by_communities(places: Iterable[Place]) -> dict[tuple[Community, ...], list[str]]:
    """Communities of some places' own → those places."""
    found: dict[tuple[Community, ...], list[str]] = {}
    for place in places:
        if place.communities:
            found.setdefault(place.communities, []).append(place.prefix)
    return found


def _add(community: Community) -> str:
    attribute = "bgp_community" if len(community) == 2 else "bgp_large_community"
    return f"{attribute}.add(({', '.join(map(str, community))}));"


def _set(prefixes: Iterable[str]) -> str:
    return f"[ {', '.join(prefixes)} ]"


def _family(prefix: str) -> str:
    return "ipv6" if ":" in prefix else "ipv4"


def _bfd(settings: BgpSettings) -> list[str]:
    timers = f"{{ interval {settings.bfd_interval} ms; multiplier {settings.bfd_multiplier}; }}"
    return ["protocol bfd katran_bfd {", f'\tinterface "*" {timers};', f"\tmultihop {timers};", "}"]


def _session(neighbor: Neighbor, settings: BgpSettings) -> list[str]:
    local = f"{neighbor.local_address} as" if neighbor.local_address else "as"
    lines = [
        f"protocol bgp {session_name(neighbor)} {{",
        f"\tlocal {local} {settings.local_as};",
        f"\tneighbor {neighbor.address} as {neighbor.remote_as};",
    ]
    if neighbor.interface:
        lines.append(f'\tinterface "{neighbor.interface}";')
    lines.append(f"\tmultihop {neighbor.multihop};" if neighbor.multihop else "\tdirect;")
    if neighbor.ttl_security:
        lines.append("\tttl security on;")
    if neighbor.password:
        lines.append(f'\tpassword "{neighbor.password}";')
    if neighbor.bfd:
        lines.append("\tbfd on;")
    lines.append(f"\thold time {settings.hold_time};")
    # bird's own waits, 5 s after its start and a minute after each failure that BFD saw, would be paid in traffic.
    lines += ["\tconnect delay time 1;", "\terror wait time 1, 10;"]
    if settings.graceful_restart:
        lines += ["\tgraceful restart on;", f"\tgraceful restart time {settings.graceful_restart};"]
    for family in neighbor.families:
        version = _VERSION[family]
        lines += [
            f"\t{family} {{",
            f"\t\ttable katran_vips{version};",
            "\t\timport none;",
            f"\t\texport filter katran_announce{version};",
            "\t\tnext hop self;",
            "\t};",
        ]
    return [*lines, "}"]


def session_name(neighbor: Neighbor) -> str:
    """The name of a neighbor's protocol; no two addresses have one."""
    address = f"{neighbor.address}%{neighbor.interface}" if neighbor.interface else neighbor.address
    return "katran_" + "".join(_plain(char) for char in address)


def _plain(char: str) -> str:
    """A character as a name of bird's may have it."""
    if char.isascii() and char.isalnum():
        return char
    return {".": "_", ":": "_"}.get(char, f"_{ord(char):x}_")
