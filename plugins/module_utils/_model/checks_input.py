# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VIP's `check` and `announce` ask for, validated with the defaults that lie under every check.

A check is given whole: what it does not say has its default, whatever was there before. The layers, the upper ones
first: the check itself, `check_defaults`, and what is built in.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from .addresses import Prefix, read_address, read_prefix
from .check_values import ANNOUNCE_VALUES, CHECK_OPTIONS, CHECK_VALUES, MEANT, Read
from .checks import CHECK_TYPES, Announce, Check, Probe
from .faults import Faults
from .shape import UNREADABLE, as_told, entry_shape
from .vips import VipKey

DEFAULTS = "check_defaults"
Values = Mapping[str, t.Any]
"""Options of a check, as Probe and Check have their values."""

UDP_TYPES = ("udp", "dns")
"""The types that ask over UDP; the others, but external, ask over TCP."""

_OF_CHECKS_ALONE = {
    "type": "every check says its type itself",
    "address": "one address cannot be that of every VIP; a check of its own says it",
}
"""What cannot lie under every check → why."""

_BUILT_IN: Values = {**vars(Probe("")), **vars(Check(Probe("")))}


def given(entry: t.Any) -> dict[str, t.Any]:
    """What an option of options says: Ansible fills in None for what is not said."""
    return {name: value for name, value in entry.items() if value is not None} if isinstance(entry, Mapping) else {}


def _read_values(entry: Values, where: str, readers: Mapping[str, Read], faults: Faults) -> dict[str, t.Any]:
    found = {}
    for name, value in entry.items():
        try:
            found[name] = readers[name](value)
        except ValueError as error:
            faults.add(f"{where}.{name}", str(error))
    return found


def read_defaults(value: t.Any, faults: Faults) -> Values:
    """What lies under every check. Of what is wrong with it, the built-in default stands."""
    if value is None:
        return {}
    before = len(faults.lines)
    entry_shape(DEFAULTS, value, CHECK_OPTIONS, faults)
    if not isinstance(value, Mapping):
        return {}
    shaped = given(as_told(value, CHECK_OPTIONS))
    found = _read_values(shaped, DEFAULTS, CHECK_VALUES, faults)
    for name, why in _OF_CHECKS_ALONE.items():
        if found.pop(name, None):
            faults.add(f"{DEFAULTS}.{name}", why)
    if len(faults.lines) == before:
        _check_speed(found, _BUILT_IN, DEFAULTS, faults)
        _check_status(found, _BUILT_IN, DEFAULTS, faults)
    return found


def read_check(entry: t.Any, where: str, key: VipKey | None, defaults: Values, faults: Faults) -> Check | None:
    """The check of a VIP; None where there is to be none, or where it is wrong.

    `where`: of the entry; `key`: of the VIP, None where that is wrong.
    """
    options = given(entry)
    if entry is UNREADABLE or not options:
        return None
    own = _read_values(options, where, CHECK_VALUES, faults)
    kind = own.get("type")
    if kind is None:
        if "type" not in options:
            faults.add(f"{where}.type", f"is missing; it is one of {', '.join(CHECK_TYPES)}")
        return None
    meant = MEANT[kind]
    for name in options:
        if name not in meant and name != "type":
            others = [each for each in CHECK_TYPES if name in MEANT[each]]
            faults.add(f"{where}.{name}", f"means nothing for type {kind}, only for {_listed(others)}")
    under = {name: value for name, value in defaults.items() if name in meant}
    own = {name: value for name, value in own.items() if name in meant}
    _check_needs(kind, {**under, **own}, options, where, faults)
    _check_speed(own, {**_BUILT_IN, **under}, where, faults)
    _check_status(own, {**_BUILT_IN, **under}, where, faults)
    if key is not None:
        _check_place(kind, own, {**under, **options}, key, where, faults)
    return _check_of(kind, {**_yielding(own, {**_BUILT_IN, **under}), **own}, meant, key)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _yielding(own: Values, under: Values) -> dict[str, t.Any]:
    """The lower layers, as far as they go together with what the check says itself."""
    interval, status = own.get("interval", under["interval"]), own.get("status", under["status"])
    drain = tuple(code for code in under["drain_status"] if code not in status)
    return {**under, "fast_interval": min(under["fast_interval"], interval), "drain_status": drain}


def _check_of(kind: str, values: Values, meant: frozenset[str], key: VipKey | None) -> Check:
    """The check in the one form that all its spellings have in common."""
    known = {name: value for name, value in values.items() if name in meant}
    if key is not None and key.prefixlen is None and known.get("address") == key.text:
        del known["address"]
    # The same number in the other protocol is another port.
    if key is not None and known.get("port") == key.port and not (kind == "udp" and key.protocol == "tcp"):
        del known["port"]
    policy = {name: known.pop(name) for name in MEANT["external"] if name in known}
    return Check(Probe(kind, **known), **policy)


def _check_needs(kind: str, values: Values, options: Values, where: str, faults: Faults) -> None:
    """What an option needs of others of the same check."""
    if kind == "dns" and "query" not in {**values, **options}:
        faults.add(f"{where}.query", "is missing: a dns check asks for the name of a domain")
    if values.get("verify") and "host" not in {**values, **options}:
        faults.add(f"{where}.verify", "needs host, the name that the certificate has to bear")
    if values.get("body") and values.get("method") == "HEAD":
        faults.add(f"{where}.body", "an answer to HEAD has no body")


def _check_speed(own: Values, under: Values, where: str, faults: Faults) -> None:
    """A failure speeds a check up. What lies below yields to an interval; what is said beside it does not."""
    interval = own.get("interval", under["interval"])
    if own.get("fast_interval", 0.0) > interval:
        faults.add(
            f"{where}.fast_interval", f"{own['fast_interval']:g} s are longer than the interval of {interval:g} s"
        )


def _check_status(own: Values, under: Values, where: str, faults: Faults) -> None:
    both = sorted({*own.get("drain_status", ())}.intersection(own.get("status", under["status"])))
    if both:
        codes = ", ".join(map(str, both))
        faults.add(f"{where}.drain_status", f"{codes} {'is' if len(both) == 1 else 'are'} in status too")


def _check_place(kind: str, own: Values, said: Values, key: VipKey, where: str, faults: Faults) -> None:
    """Whether a probe finds an address and a port, and a service that speaks what it asks. `said`: right or wrong."""
    if kind == "external":
        return
    if key.port == 0 and "port" not in said:
        faults.add(f"{where}.port", f"is missing: {key} takes every port, and a probe goes to one")
    if kind == "udp" and key.protocol == "tcp" and "port" not in said:
        faults.add(f"{where}.port", f"is missing: {key} is of TCP, and a udp check asks a port of UDP")
    if key.prefixlen is not None and "address" not in said:
        faults.add(where, f"needs address, the one in {key.address} to which probes go")
    if "address" in own:
        _check_address(own["address"], key, f"{where}.address", faults)


def _check_address(text: str, key: VipKey, where: str, faults: Faults) -> None:
    """Whether a probe of a VIP can go to an address: reals that the VIP's family reaches must have it.

    What is outside of a prefix is another service's, and would prove nothing of this one.
    """
    address, prefix = read_address(text), read_prefix(key.address) if key.prefixlen is not None else None
    if address is None:
        return
    if address.ipv6 != key.ipv6:
        faults.add(
            where, f"{text} is IPv{6 if address.ipv6 else 4}, but the VIP {key.address} is IPv{6 if key.ipv6 else 4}"
        )
    elif isinstance(prefix, Prefix) and not prefix.holds(address):
        faults.add(where, f"{text} is not in {key.address}")


def read_announce(entry: t.Any, where: str, faults: Faults) -> Announce | None:
    """How a VIP is announced; None where nothing is said of it."""
    options = given(entry)
    if entry is UNREADABLE or not options:
        return None
    return Announce(**_read_values(options, where, ANNOUNCE_VALUES, faults))
