# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lists of clients of VIPs as operators and files have them, and in words."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence

from . import layout
from .addresses import Prefix, read_prefix
from .faults import Faults, some
from .records import Fault, shown, text
from .source_entries import LISTS, Filtered, Lists, everybody, in_order, is_filtered, parse_source
from .sources import read_source

_NOBODY = (
    "an empty list could mean nobody or everybody: for everybody leave it out (state replaced or overridden forgets a"
    " list that is not mentioned) or write [{0}], for nobody write deny: [{0}]"
)


def read_lists(
    entry: Mapping[str, t.Any], where: str, base: Filtered, ipv6: bool, has_feature: bool, faults: Faults
) -> Lists:
    """The lists of an entry of config over what they were: one that is mentioned takes the place of its former."""
    found: list[tuple[str, ...]] = []
    places: list[dict[str, str]] = []
    for name in LISTS:
        given = entry.get(name)
        if given is None:
            found.append(getattr(base, name))
            places.append({})
            continue
        if not given and name == "allow":
            faults.add(f"{where}.allow", _NOBODY.format(everybody(ipv6)))
        elif given and not has_feature:
            faults.add(f"{where}.{name}", "needs feature source_filter")
        places.append(_read_list(given, f"{where}.{name}", ipv6, faults))
        found.append(in_order(places[-1]))
    allow, deny = found
    for prefix in sorted(set(allow).intersection(deny), key=parse_source):
        name, other, place = ("deny", "allow", places[1]) if prefix in places[1] else ("allow", "deny", places[0])
        faults.add(place.get(prefix, where), f"{prefix} is in {other} as well; {name} or {other} can have it, not both")
    return allow, deny


def _read_list(texts: Sequence[t.Any], where: str, ipv6: bool, faults: Faults) -> dict[str, str]:
    """Canonical prefix → where it is listed."""
    found: dict[str, str] = {}
    for index, given in enumerate(texts):
        place = f"{where}[{index}]"
        prefix = _read_client(str(given))
        if isinstance(prefix, str):
            faults.add(place, prefix)
        elif prefix.address.ipv6 != ipv6:
            families = ("IPv6", "IPv4") if ipv6 else ("IPv4", "IPv6")
            faults.add(place, f"{prefix.text} is {families[1]}, but the VIP is {families[0]}, as its clients are")
        elif prefix.text in found:
            faults.add(place, f"{prefix.text} is listed twice (also {found[prefix.text]})")
        else:
            found[prefix.text] = place
    return found


def _read_client(given: str) -> Prefix | str:
    prefix = read_prefix(given) if "/" in given else given
    # Which spares it to ask of thousands of prefixes whether they are addresses.
    return prefix if isinstance(prefix, Prefix) and prefix.address.packed[0] in _PLAIN else read_source(given)


_PLAIN = frozenset(range(1, 224))
"""The first bytes behind which nothing is wrong with a prefix, in either family."""


def capacity_faults(vips: Mapping[t.Any, t.Any], room: int, faults: Faults) -> None:
    """Tell where the lists of VIPs have no room together. `vips`: by key."""
    for ipv6, family in ((False, "IPv4"), (True, "IPv6")):
        mine = [vip for key, vip in vips.items() if key.ipv6 == ipv6 and is_filtered(vip)]
        entries = sum(_entries(vip, ipv6) for vip in mine)
        if entries > room:
            faults.add(
                "vips",
                f"{entries} entries of {family} allow and deny lists, but sizes.source_filters is {room}"
                " (a list of allow takes one more, for everybody else)",
            )


def _entries(vip: Filtered, ipv6: bool) -> int:
    others = bool(vip.allow) and everybody(ipv6) not in (*vip.allow[:1], *vip.deny[:1])
    return len(vip.allow) + len(vip.deny) + others


def list_changes(before: Filtered, after: Filtered) -> list[str]:
    """One line for each list that differs."""
    lines = []
    for name in LISTS:
        old, new = set(getattr(before, name)), set(getattr(after, name))
        more, less = in_order(new - old), in_order(old - new)
        words = [f"{some(each)} {verb}" for each, verb in ((more, "added"), (less, "removed")) if each]
        if words:
            lines.append(f"{name}: {', '.join(words)}{'' if new else ', which ends the list'}")
    return lines


def is_stored(value: t.Any, ipv6: bool) -> bool:
    """Whether a list is one that a run wrote. Quick: there may be tens of thousands."""
    if not isinstance(value, list):
        return False
    return all(map(_is_prefix6, value)) if ipv6 else all(map(_IPV4_PREFIX.fullmatch, value))


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4_PREFIX = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}/(?:3[0-2]|[12]?[0-9])", re.ASCII)


def _is_prefix6(given: str) -> bool:
    try:
        packed, length = parse_source(given)
    except ValueError:
        return False
    return len(packed) == layout.ADDRESS_BYTES and f"{layout.unpack_address(packed, True)}/{length}" == given


def stored_source(value: t.Any, where: str) -> str:
    """Reader of a file's field: a prefix of clients."""
    if isinstance(read_prefix(text(value, where)), str):
        raise Fault(where, f"{shown(value)} is not a prefix")
    return t.cast("str", value)
