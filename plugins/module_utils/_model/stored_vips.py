# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs as state.json has them: whether they can be what a run wrote, and what cannot.

A balancer's 512 VIPs of 100 reals are looked at whenever any of its modules runs. So the question whether all is well
is asked of all reals of a VIP at once, and only where it is not, of each field.
"""

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from operator import itemgetter

from . import layout
from .addresses import read_address, read_prefix
from .quic_lb import stored_quic_lb
from .records import (
    Fault,
    Fields,
    Optional,
    Reader,
    address,
    flag,
    is_address,
    many,
    maybe,
    number,
    read_fields,
    text,
    word,
)
from .shape import is_number
from .source_entries import LISTS
from .source_lists import is_stored, stored_source
from .stored_checks import stored_announce, stored_check
from .vips import HASHES, MAX_WEIGHT, REAL_STATES, VipKey

_PORT = 65535
_ADDRESS, _WEIGHT, _STATE, _LOCAL = map(itemgetter, ("address", "weight", "state", "local"))
_VIP = itemgetter("port", "protocol", "hash", "flags", "down_reals", "reals", "address")
_STATES, _FLAGS = frozenset(REAL_STATES), frozenset(layout.VIP_FLAGS)


def stored_vips(value: t.Any, where: str) -> list[dict[str, t.Any]]:
    """The VIPs of a state, in config's own form."""
    if not _all_sound(value):
        many(_vip)(value, where)
        _tell_twins(value, where)
    return t.cast("list[dict[str, t.Any]]", value)


def vip_name(value: t.Any, where: str) -> str:
    """What str() makes of a VIP's key."""
    try:
        VipKey.read(text(value, where))
    except ValueError as error:
        raise Fault(where, str(error)) from error
    return t.cast("str", value)


def _is_place(host: str) -> bool:
    """Whether a text is an address or a prefix."""
    return is_address(host) or ("/" in host and not isinstance(read_prefix(host), str))


def _all_sound(value: t.Any) -> bool:
    """Whether nothing is wrong with any VIP; False also where the quick look cannot tell."""
    try:
        every: list[t.Any] = []
        addresses: set[str] = set()
        alike: set[str] = set()
        for entry in value:
            port, protocol, kind, flags, down, reals, place = _VIP(entry)
            if not is_number(port, 0, _PORT) or protocol not in layout.PROTOCOLS:
                return False
            if kind not in HASHES or not _FLAGS.issuperset(flags):
                return False
            if not (isinstance(flags, list) and isinstance(down, list) and isinstance(reals, list)):
                return False
            if not _is_place(place) or len(set(map(_ADDRESS, reals))) < len(reals):
                return False
            if not all(is_stored(entry[name], ":" in place) for name in LISTS if name in entry):
                return False
            if not _OF_FEW.keys().isdisjoint(entry):
                # Most VIPs of a fleet are checked alike.
                told = str(tuple(map(entry.get, _OF_FEW)))
                if told not in alike:
                    read_fields(entry, "", _OF_FEW)
                    alike.add(told)
            every += reals
            addresses.update(down)
        addresses.update(map(_ADDRESS, every))
        sound = isinstance(value, list) and all(map(is_address, addresses)) and _twin(value) is None
        return sound and (not every or _sound_reals(every))
    except (Fault, KeyError, TypeError, AttributeError, IndexError):
        return False


def _sound_reals(reals: Sequence[t.Any]) -> bool:
    """Whether all but their addresses is possible."""
    weights = set(map(_WEIGHT, reals))
    return (
        set(map(type, map(_WEIGHT, reals))) == {int}
        and min(weights) >= 0
        and max(weights) <= MAX_WEIGHT
        and _STATES.issuperset(map(_STATE, reals))
        and set(map(type, map(_LOCAL, reals))) == {bool}
    )


def _twin(vips: Sequence[dict[str, t.Any]]) -> int | None:
    """The index of the first VIP that is there twice."""
    seen = set()
    for index, entry in enumerate(vips):
        # However it is written: what is parsed here, the run needs anyway.
        place = read_prefix(entry["address"]) if "/" in entry["address"] else read_address(entry["address"])
        key = place, entry["port"], entry["protocol"]
        if key in seen:
            return index
        seen.add(key)
    return None


def _tell_twins(vips: Sequence[dict[str, t.Any]], where: str) -> None:
    index = _twin(vips)
    if index is not None:
        entry = vips[index]
        raise Fault(f"{where}[{index}]", f"{entry['address']}, {entry['port']}/{entry['protocol']} is listed twice")


def _place(value: t.Any, where: str) -> str:
    if not _is_place(text(value, where)):
        raise Fault(where, f"{value} is neither an IP address nor a prefix")
    return t.cast("str", value)


_FIELDS_OF_REAL: dict[str, Reader[t.Any]] = {
    "address": address,
    "weight": number(0, MAX_WEIGHT),
    "state": word(*REAL_STATES),
    "local": flag,
}


def _real(value: t.Any, where: str) -> dict[str, t.Any]:
    return read_fields(value, where, _FIELDS_OF_REAL)


def _reals(value: t.Any, where: str) -> list[dict[str, t.Any]]:
    found = many(_real)(value, where)
    seen = set()
    for index, real in enumerate(found):
        if real["address"] in seen:
            raise Fault(f"{where}[{index}]", f"{real['address']} is listed twice")
        seen.add(real["address"])
    return found


_FIELDS: Fields = {
    "address": _place,
    "port": number(0, _PORT),
    "protocol": word(*layout.PROTOCOLS),
    "flags": many(word(*layout.VIP_FLAGS)),
    "hash": word(*HASHES),
    "reals": _reals,
    "down_reals": many(address),
    "allow": Optional(many(stored_source)),
    "deny": Optional(many(stored_source)),
    "check": Optional(maybe(stored_check)),
    "announce": Optional(maybe(stored_announce)),
    "quic_lb": Optional(stored_quic_lb),
}
_OF_FEW: Fields = {name: _FIELDS[name] for name in ("check", "announce", "quic_lb")}
"""What not every VIP has."""


def _vip(value: t.Any, where: str) -> None:
    read_fields(value, where, _FIELDS)
