# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a balancer announces its VIPs by BGP, read from katran_bgp; all that is wrong with it, in sentences."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .addresses import Address, address_fault, no_address, prefix_fault, read_address, read_prefix
from .announcement import TABLE
from .communities import Community, read_community
from .faults import Faults
from .options import Spec, is_interface
from .written import as_decimal, number_fault

FAMILIES = ("ipv4", "ipv6")

_NEIGHBOR: Spec = {
    "address": {"type": "str", "required": True},
    "as": {"type": "int", "required": True},
    "password": {"type": "str", "no_log": True},
    "bfd": {"type": "bool", "default": True},
    "multihop": {"type": "int", "default": 0},
    "interface": {"type": "str"},
    "local_address": {"type": "str"},
    "ttl_security": {"type": "bool", "default": False},
    "families": {"type": "list", "elements": "str", "choices": list(FAMILIES), "default": list(FAMILIES)},
}

BGP_OPTIONS: Spec = {
    "as": {"type": "int", "required": True},
    "router_id": {"type": "str"},
    "neighbors": {"type": "list", "elements": "dict", "required": True, "options": _NEIGHBOR},
    "bfd": {
        "type": "dict",
        "options": {"interval": {"type": "float", "default": 0.1}, "multiplier": {"type": "int", "default": 3}},
    },
    "communities": {"type": "list", "elements": "str", "default": []},
    "local_pref": {"type": "int"},
    "hold_time": {"type": "int", "default": 9},
    "graceful_restart": {"type": "int", "default": 30},
    "prefixes": {"type": "list", "elements": "str"},
    "replace_foreign": {"type": "bool", "default": False},
}
"""What katran_bgp has, as module bgp takes it in `config`."""

PLACE_OPTIONS: Spec = {
    "place": {"type": "str", "required": True},
    "communities": {"type": "list", "elements": "str", "default": []},
}

BGP: Spec = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "config": {"type": "dict", "options": BGP_OPTIONS},
    "places": {"type": "list", "elements": "dict", "options": PLACE_OPTIONS},
    "table": {"type": "int", "default": TABLE},
    "packages": {"type": "list", "elements": "str", "default": []},
}
"""The options of module bgp."""

_MOST, _HALF = 0xFFFFFFFF, 0xFFFF
_RESERVED_AS = {0: "RFC 7607", 23456: "RFC 6793", 65535: "RFC 7300", _MOST: "RFC 7300"}
_LONGEST_PASSWORD = 80
"""Bytes that the kernel takes as a key of TCP MD5 (TCP_MD5SIG_MAXKEYLEN in include/uapi/linux/tcp.h)."""

_KERNELS_TABLES = {0: "none", 253: "the default one", 254: "the main one", 255: "the local one"}
_TRUTHS = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}


@dataclass(frozen=True)
class Neighbor:
    """A router that VIPs are announced to.

    `multihop`: as many routers away at most, 0: on the same link. `interface`: of a link-local address; "" and
    `local_address` "": as the routes say.
    """

    address: str
    remote_as: int
    password: str = ""
    bfd: bool = True
    multihop: int = 0
    interface: str = ""
    local_address: str = ""
    ttl_security: bool = False
    families: tuple[str, ...] = FAMILIES


@dataclass(frozen=True)
class BgpSettings:
    """What is announced to whom.

    `router_id`: "" leaves it to the host. `bfd_interval`: milliseconds. `communities`: of every VIP. `hold_time`,
    `graceful_restart`: seconds; 0 of the latter: none. `prefixes`: where all VIPs are; None: those that are told.
    """

    local_as: int
    neighbors: tuple[Neighbor, ...]
    router_id: str = ""
    bfd_interval: int = 100
    bfd_multiplier: int = 3
    communities: tuple[Community, ...] = ()
    local_pref: int | None = None
    hold_time: int = 9
    graceful_restart: int = 30
    prefixes: tuple[str, ...] | None = None
    replace_foreign: bool = False


class Place(t.NamedTuple):
    """An address or prefix of VIPs, as a prefix, and the communities of its own."""

    prefix: str
    communities: tuple[Community, ...] = ()


def parse_bgp(config: t.Any, where: str = "config") -> BgpSettings:
    """What katran_bgp says; ConfigError has a sentence for each fault. `where`: what it is called in these.

    No sentence shows a password.
    """
    faults = Faults()
    given = _Options(config, where, BGP_OPTIONS, faults)
    bfd = _Options(given.value("bfd", {}), f"{where}.bfd", BGP_OPTIONS["bfd"]["options"], faults)
    settings = BgpSettings(
        local_as=given.autonomous_system("as"),
        neighbors=_neighbors(given, where, faults),
        router_id=_router_id(given),
        bfd_interval=bfd.milliseconds("interval", 100, 10, 10_000),
        bfd_multiplier=bfd.number("multiplier", 3, 1, 255),
        communities=read_communities(given.items("communities"), f"{where}.communities", faults),
        local_pref=given.number("local_pref", 0, 0, _MOST) if given.value("local_pref") is not None else None,
        hold_time=given.number("hold_time", 9, 3, 65535),
        graceful_restart=given.number("graceful_restart", 30, 0, 4095),
        prefixes=_prefixes(given) if given.value("prefixes") is not None else None,
        replace_foreign=given.truth("replace_foreign", False),
    )
    faults.check()
    return settings


def parse_table(table: t.Any, where: str = "table") -> int:
    """The kernel's table with the routes; ConfigError where it cannot be one."""
    faults = Faults()
    told = number_fault(table)
    number = 0 if told else int(table)
    if not told and number in _KERNELS_TABLES:
        told = f"{number} is a table of the kernel's own use ({_KERNELS_TABLES[number]})"
    elif not told and not 0 < number <= _MOST:
        told = f"{number} is not in 1 to {_MOST}"
    if told:
        faults.add(where, told)
    faults.check()
    return number


def read_places(places: Iterable[Mapping[str, t.Any]]) -> tuple[Place, ...]:
    """Places as module bgp takes them, which preflight made of the VIPs. ConfigError where one is none."""
    faults = Faults()
    found = []
    for index, each in enumerate(places):
        text = str(each.get("place"))
        prefix = as_prefix(text)
        if prefix is None:
            faults.add(f"places[{index}].place", no_address(text))
            continue
        own = read_communities(each.get("communities") or (), f"places[{index}].communities", faults)
        found.append(Place(prefix, own))
    faults.check()
    return tuple(found)


def places_of(vips: Iterable[t.Any]) -> list[dict[str, t.Any]]:
    """Where VIPs of an inventory are, and the communities of all that are there, in the form that module bgp takes.

    What cannot be read of a VIP is told elsewhere, and left out here.
    """
    found: dict[str, set[str]] = {}
    for vip in vips:
        prefix = as_prefix(str(vip.get("address"))) if isinstance(vip, Mapping) else None
        announce = vip.get("announce") if isinstance(vip, Mapping) else None
        own = announce if isinstance(announce, Mapping) else {}
        if prefix is None or announce is False or own.get("enabled") is False:
            continue
        listed = own.get("communities")
        known = found.setdefault(prefix, set())
        known.update(map(str, listed if isinstance(listed, (list, tuple)) else ()))
    return [{"place": prefix, "communities": sorted(found[prefix])} for prefix in sorted(found, key=_order)]


def as_prefix(text: str) -> str | None:
    """An address or a prefix as the canonical text of a prefix; None where it is neither."""
    address = read_address(text)
    if address is not None:
        return f"{address.text}/{128 if address.ipv6 else 32}"
    prefix = read_prefix(text)
    return None if isinstance(prefix, str) else prefix.text


def _order(prefix: str) -> tuple[bool, bytes, str]:
    address = t.cast(Address, read_address(prefix.partition("/")[0]))
    return address.ipv6, address.packed, prefix


def read_communities(listed: Iterable[t.Any], where: str, faults: Faults) -> tuple[Community, ...]:
    """A list of communities, each once."""
    found: dict[Community, None] = {}
    for index, each in enumerate(listed):
        read = read_community(each)
        if isinstance(read, str):
            faults.add(f"{where}[{index}]", read)
        else:
            found[read] = None
    return tuple(found)


class _Options:
    """A mapping of options, and what is wrong with them. What Ansible fills in as null counts as not given."""

    def __init__(self, given: t.Any, where: str, spec: Spec, faults: Faults) -> None:
        self._where, self._faults = where, faults
        self._given: Mapping[str, t.Any] = given if isinstance(given, Mapping) else {}
        if not isinstance(given, Mapping):
            faults.add(where, "is empty" if given is None else f"{type(given).__name__} is not a mapping")
            return
        for name in given:
            if name not in spec:
                faults.add(f"{where}.{name}", f"there is no such option; there are {', '.join(spec)}")
        for name, option in spec.items():
            if option.get("required") and given.get(name) is None:
                faults.add(f"{where}.{name}", "is missing")

    def fault(self, name: str, sentence: str) -> None:
        """One option is wrong."""
        self._faults.add(f"{self._where}.{name}", sentence)

    def value(self, name: str, default: t.Any = None) -> t.Any:
        """As it was given."""
        found = self._given.get(name)
        return default if found is None else found

    def number(self, name: str, default: int, low: int, high: int) -> int:
        value = self.value(name, default)
        told = number_fault(value)
        if not told and not low <= int(value) <= high:
            told = f"{value} is not in {low} to {high}"
        if told:
            self.fault(name, told)
            return default
        return int(value)

    def milliseconds(self, name: str, default: int, low: int, high: int) -> int:
        """A number of seconds, as milliseconds."""
        value = self.value(name, default / 1000)
        seconds = as_decimal(value)
        if seconds is None:
            self.fault(name, f"{value} is not a number of seconds")
            return default
        found = round(seconds * 1000)
        if not low <= found <= high:
            meant = f"; for {value} milliseconds write {seconds / 1000:g}" if low <= seconds <= high else ""
            self.fault(name, f"{value} is in seconds, and not in {low / 1000:g} to {high / 1000:g}{meant}")
            return default
        return found

    def truth(self, name: str, default: bool) -> bool:
        value = self.value(name, default)
        found = value if isinstance(value, bool) else _TRUTHS.get(str(value).lower())
        if found is None:
            self.fault(name, f"{value} is neither true nor false")
            return default
        return found

    def items(self, name: str) -> Sequence[t.Any]:
        value = self.value(name, ())
        if not isinstance(value, (list, tuple)):
            self.fault(name, f"{value} is not a list")
            return ()
        return value

    def autonomous_system(self, name: str) -> int:
        """The number of an autonomous system."""
        value = self.value(name)
        if value is None:
            return 0
        head, dot, tail = str(value).partition(".")
        if dot and head.isdecimal() and tail.isdecimal() and max(int(head), int(tail)) <= _HALF:
            self.fault(name, f"{value} is not a whole number: write {(int(head) << 16) + int(tail)} for AS {value}")
            return 0
        number = self.number(name, 0, 0, _MOST)
        told = number_fault(value)
        if not told and number in _RESERVED_AS and int(value) == number:
            self.fault(name, f"AS {number} is reserved ({_RESERVED_AS[number]})")
        return number

    def password(self, name: str) -> str:
        """A key of TCP MD5, of which no sentence shows anything."""
        value = self.value(name, "")
        if not isinstance(value, str):
            self.fault(name, "is not a text: put quotes around it")
            return ""
        told = None
        if '"' in value:
            told = 'has a " in it, which no text of bird.conf can have'
        elif not value.isprintable():
            told = "has a line end or another character in it that cannot be seen"
        elif not value.isascii():
            told = "has a character in it that is not of ASCII"
        elif value != value.strip():
            told = "has white space at an end"
        elif len(value) > _LONGEST_PASSWORD:
            told = f"has {len(value)} characters, and the kernel takes {_LONGEST_PASSWORD}"
        elif not value and self._given.get(name) is not None:
            told = "is empty"
        if told:
            self.fault(name, told)
            return ""
        return value


def _router_id(given: _Options) -> str:
    value = given.value("router_id")
    if value is None:
        return ""
    address = read_address(str(value))
    if address is None or address.ipv6 or not any(address.packed):
        given.fault("router_id", f"{value} is not an IPv4 address, as which a router id is written")
        return ""
    return address.text


def _prefixes(given: _Options) -> tuple[str, ...]:
    found = []
    for index, each in enumerate(given.items("prefixes")):
        prefix = read_prefix(str(each))
        told = prefix if isinstance(prefix, str) else prefix_fault(prefix)
        if told or isinstance(prefix, str):
            given.fault(f"prefixes[{index}]", str(told))
        else:
            found.append(prefix.text)
    if not found and not given.items("prefixes"):
        given.fault("prefixes", "is empty, so that nothing would be announced; leave it out to announce all VIPs")
    return tuple(dict.fromkeys(found))


def _neighbors(given: _Options, where: str, faults: Faults) -> tuple[Neighbor, ...]:
    found: list[Neighbor] = []
    seen: dict[tuple[str, str], int] = {}
    listed = given.items("neighbors")
    if not listed and given.value("neighbors") is not None and not isinstance(given.value("neighbors"), str):
        given.fault("neighbors", "is empty: nobody would be told")
    for index, each in enumerate(listed):
        here = f"{where}.neighbors[{index}]"
        neighbor = _neighbor(_Options(each, here, _NEIGHBOR, faults))
        if not neighbor.address:
            continue
        first = seen.setdefault((neighbor.address, neighbor.interface), index)
        if first != index:
            faults.add(f"{here}.address", f"{neighbor.address} is that of neighbors[{first}] too")
        found.append(neighbor)
    return tuple(found)


def _neighbor(given: _Options) -> Neighbor:
    address = _router_address(given, "address")
    interface = str(given.value("interface", ""))
    if interface and (not is_interface(interface) or '"' in interface or not interface.isprintable()):
        given.fault("interface", f"{interface!r} is not the name of an interface")
    link_local = address is not None and address_fault(address) is not None
    multihop = given.number("multihop", 0, 0, 255)
    if link_local and not interface:
        given.fault("interface", "is missing: a link-local address is one of an interface")
    if interface and multihop:
        given.fault("multihop", "is of no use with an interface, on which the neighbor is")
    local = _router_address(given, "local_address") if given.value("local_address") is not None else None
    if local is not None and address is not None and local.ipv6 != address.ipv6:
        given.fault("local_address", f"{local.text} is of another family than {address.text}")
    return Neighbor(
        address=address.text if address else "",
        remote_as=given.autonomous_system("as"),
        password=given.password("password"),
        bfd=given.truth("bfd", True),
        multihop=multihop,
        interface=interface,
        local_address=local.text if local else "",
        ttl_security=given.truth("ttl_security", False),
        families=_families(given),
    )


def _router_address(given: _Options, name: str) -> Address | None:
    """The address of a router; one that is link-local is one."""
    value = given.value(name)
    if value is None:
        return None
    address = read_address(str(value))
    if address is None:
        zone = "; the interface is an option of its own" if "%" in str(value) else ""
        given.fault(name, no_address(value) + zone)
        return None
    told = address_fault(address)
    if told and not (address.ipv6 and "link-local" in told):
        given.fault(name, told)
        return None
    return address


def _families(given: _Options) -> tuple[str, ...]:
    listed = given.items("families") if given.value("families") is not None else FAMILIES
    wrong = [str(each) for each in listed if each not in FAMILIES]
    if wrong or not listed:
        given.fault("families", f"{', '.join(wrong) or 'nothing'} is none of {', '.join(FAMILIES)}")
        return FAMILIES
    return tuple(family for family in FAMILIES if family in listed)


def bgp_warnings(settings: BgpSettings, where: str = "config") -> list[str]:
    """What is valid, and yet may surprise."""
    found = []
    outside = all(neighbor.remote_as != settings.local_as for neighbor in settings.neighbors)
    if settings.local_pref is not None and outside:
        found.append(
            f"{where}.local_pref: it goes to neighbors of the same AS alone, and there is none; communities go to all"
        )
    return found
