# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What operators write, parsed and validated into frozen values. Every message about bad input lives here.

All faults of one input are collected and reported together, each naming the entry at fault.
"""

from __future__ import annotations

import contextlib
import re
import socket
import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache

from ansible_collections.katran.fleet.plugins.module_utils._layout import (
    ADDRESS_BYTES,
    DEFAULT_SIZES,
    MAX_CPUS,
    PROTOCOLS,
    VIP_FLAGS,
)

FEATURES: tuple[str, ...] = (
    "source_routing",
    "tcp_server_id",
    "udp_stable_routing",
    "udp_flow_migration",
    "cidr_vips",
    "global_lru",
    "icmp_too_big",
    "inline_decap",
    "local_delivery",
    "introspection",
    "flow_debug",
    "server_id_hash",
    "vlan",
)
FLAG_FEATURES = {
    "source_routing": "source_routing",
    "global_lru": "global_lru",
    "udp_stable_routing": "udp_stable_routing",
    "udp_flow_migration": "udp_flow_migration",
    "local": "local_delivery",
}
"""VIP flag → the feature that must be compiled in."""
UDP_FLAGS = ("quic", "udp_stable_routing", "udp_flow_migration")
"""The VIP flags that the program heeds for UDP alone."""

HASHES = ("maglev_v2", "maglev_v1")
REAL_STATES = ("active", "draining", "down")
MAX_WEIGHT = 10_000
MAX_FAULTS = 20
MORE_VIPS = "and {} more VIPs"
DEFAULT_HASH = "maglev_v2"

Config = Sequence[Mapping[str, t.Any]]
K = t.TypeVar("K")
V = t.TypeVar("V")


class ConfigError(Exception):
    """The input has faults; the text has one sentence for each of the first 20."""


def shortened(lines: list[str], rest: str) -> list[str]:
    """The first lines, and one that says how many more there are: `rest` with their number for {}."""
    more = len(lines) - MAX_FAULTS
    return lines if more <= 0 else [*lines[:MAX_FAULTS], rest.format(more)]


class Faults:
    """Collects every fault of one input."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, sentence: str) -> None:
        """One fault: where it is and what is wrong."""
        self.lines.append(f"{where}: {sentence}")

    def __str__(self) -> str:
        return "; ".join(shortened(self.lines, "and {} more"))

    def check(self) -> None:
        """ConfigError if there was any."""
        if self.lines:
            raise ConfigError(str(self))


@dataclass(frozen=True)
class Limits:
    """What a balancer can hold. `features` None: unknown, everything is allowed."""

    sizes: Mapping[str, int]
    features: frozenset[str] | None

    def has(self, feature: str) -> bool:
        """Whether the feature is compiled in, as far as is known."""
        return self.features is None or feature in self.features


class Address(t.NamedTuple):
    """An address: canonical text, 16 packed bytes (IPv4 fills the first 4), and family."""

    text: str
    packed: bytes
    ipv6: bool


@lru_cache(maxsize=1 << 17)
def read_address(text: str) -> Address | None:
    """An address in strict textual form (inet_pton: no short form, no octal, no zone), None where it is none."""
    # The filters run on the controller, where nothing but Ansible need be installed.
    try:
        from netaddr import INET_PTON, AddrFormatError, IPAddress  # pylint: disable=import-outside-toplevel
    except ImportError:
        return _read_without_netaddr(text)
    try:
        address = IPAddress(text, flags=INET_PTON)
    except (AddrFormatError, ValueError):
        return None
    if address.version == 4:
        # inet_pton takes but one spelling of an IPv4 address, so it is the canonical one.
        return Address(text, int(address).to_bytes(4, "big") + _PADDING, False)
    packed = int(address).to_bytes(ADDRESS_BYTES, "big")
    return Address(_text(packed, True), packed, True)


def _read_without_netaddr(text: str) -> Address | None:
    """The same form, for a review of a host where the role has not installed netaddr: it would."""
    for ipv6, family in ((False, socket.AF_INET), (True, socket.AF_INET6)):
        with contextlib.suppress(OSError, ValueError):
            packed = socket.inet_pton(family, text).ljust(ADDRESS_BYTES, b"\0")
            return Address(_text(packed, ipv6), packed, ipv6)
    return None


class Prefix(t.NamedTuple):
    """A prefix: network address and length in bits."""

    address: Address
    length: int

    @property
    def text(self) -> str:
        """The canonical text."""
        return f"{self.address.text}/{self.length}"


@lru_cache(maxsize=1 << 17)
def read_prefix(text: str) -> Prefix | str:
    """A prefix in strict textual form, or the sentence that says why it is none."""
    head, slash, tail = text.partition("/")
    # Uncached: few prefixes share their network address.
    address = read_address.__wrapped__(head)
    if address is None or not slash:
        return f"{text} is not a prefix (ADDRESS/LENGTH)"
    bits = 128 if address.ipv6 else 32
    length = _LENGTHS.get(tail, 129)
    if length > bits:
        return f"{text} has no prefix length of 0 to {bits}"
    value = int.from_bytes(address.packed, "big")
    if value & _HOST_BITS[length]:
        network = (value & ~_HOST_BITS[length]).to_bytes(ADDRESS_BYTES, "big")
        return f"{text} has host bits set; the network is {_text(network, address.ipv6)}/{length}"
    return Prefix(address, length)


_PADDING = bytes(ADDRESS_BYTES - 4)
_LENGTHS = {str(length): length for length in range(129)}
_HOST_BITS = [(1 << (128 - length)) - 1 for length in range(129)]
"""Prefix length → the bits behind it in the 16 bytes of either family."""


def _text(packed: bytes, ipv6: bool) -> str:
    return socket.inet_ntop(socket.AF_INET6, packed) if ipv6 else socket.inet_ntop(socket.AF_INET, packed[:4])


def address_fault(address: Address) -> str | None:
    """Why an address can be neither a VIP nor a real; None where it can."""
    packed = address.packed
    if not any(packed):
        return f"{address.text} is the unspecified address"
    if packed[0] == 0xFF if address.ipv6 else packed[0] >= 224:
        return f"{address.text} is not a unicast address"
    if address.ipv6 and packed.startswith(_IPV4_MAPPED):
        return f"{address.text} is an IPv4 address in IPv6 form; write {_text(packed[12:], False)}"
    return None


_IPV4_MAPPED = bytes(10) + b"\xff\xff"


def _looks_like_ipv4(address: Address) -> str | None:
    """Why a map whose key has no family cannot hold an address; None where it can."""
    if address.ipv6 and not any(address.packed[4:]):
        return f"{address.text} ends in twelve zero bytes, as IPv4 addresses do in the kernel's tables"
    return None


@lru_cache(maxsize=1 << 16)
def _read_host(text: t.Any) -> Address | str:
    """The address of a host, or the sentence that says why it is none."""
    if text is None:
        return "is missing"
    address = read_address(str(text))
    if address is None:
        return f"{text} is not an IP address"
    return address_fault(address) or address


@dataclass(frozen=True)
class VipKey:
    """What names a VIP: an address or a prefix (`prefixlen`), a port (0: any), a protocol."""

    ipv6: bool
    packed: bytes
    prefixlen: int | None
    port: int
    protocol: str
    text: str = field(compare=False)

    @classmethod
    def of(cls, packed: bytes, ipv6: bool, prefixlen: int | None, port: int, protocol: str) -> VipKey:
        """A key from the bytes of a map key."""
        return cls(ipv6, packed, prefixlen, port, protocol, _text(packed, ipv6))

    @classmethod
    def read(cls, name: str) -> VipKey:
        """A key from what str() makes of it; ValueError where it is none."""
        host, _colon, rest = name.rpartition(":")
        port, _slash, protocol = rest.partition("/")
        host = host.removeprefix("[").removesuffix("]")
        if "/" in host:
            prefix = read_prefix(host)
            if isinstance(prefix, str):
                raise ValueError(prefix)
            return cls.of(prefix.address.packed, prefix.address.ipv6, prefix.length, int(port), protocol)
        address = read_address(host)
        if address is None:
            raise ValueError(f"{name} is not the name of a VIP")
        return cls.of(address.packed, address.ipv6, None, int(port), protocol)

    @property
    def address(self) -> str:
        """The address or prefix in config's own form."""
        return self.text if self.prefixlen is None else f"{self.text}/{self.prefixlen}"

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.ipv6 else self.address
        return f"{host}:{self.port}/{self.protocol}"

    def _order(self) -> tuple[bool, bytes, int, int, str]:
        return (self.ipv6, self.packed, -1 if self.prefixlen is None else self.prefixlen, self.port, self.protocol)

    def __lt__(self, other: VipKey) -> bool:
        return self._order() < other._order()


class VipReal(t.NamedTuple):
    """A real of a VIP; weight 0 to 10000, state active, draining or down."""

    address: str
    weight: int = 1
    state: str = "active"
    local: bool = False


@dataclass(frozen=True)
class Vip:
    """A VIP with all its options. Reals and down_reals are sorted by address, flags by bit."""

    key: VipKey
    flags: tuple[str, ...] = ()
    hash: str = DEFAULT_HASH
    reals: tuple[VipReal, ...] = ()
    down_reals: tuple[str, ...] = ()


class Overlay(t.NamedTuple):
    """A real's state laid over every VIP that has it; `since` is when an operator said so (ISO 8601)."""

    address: str
    state: str
    since: str = ""


class SourceRoute(t.NamedTuple):
    """Clients of a prefix go to a real."""

    prefix: Prefix
    real: str


class ServerId(t.NamedTuple):
    """A server id leads to a real."""

    id: int
    real: str


class DecapDestination(t.NamedTuple):
    """Tunnels to this address are stripped here; `egress`: and sent out again."""

    address: str
    egress: bool


class HealthcheckDestination(t.NamedTuple):
    """Packets with this mark go to a real."""

    mark: int
    real: str


@lru_cache(maxsize=1 << 16)
def _sort_key(address: str) -> tuple[bool, bytes]:
    found = read_address(address)
    return (found.ipv6, found.packed) if found else (False, b"")


def _flags(flags: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(flags), key=lambda flag: VIP_FLAGS[flag]))


# What Ansible's own check of types would tell without saying which entry it means.

Options = Mapping[str, Mapping[str, t.Any]]
_NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_TRUE = ("y", "yes", "on", "1", "true", "t", "1.0")
_BOOLEANS = (*_TRUE, "n", "no", "off", "0", "false", "f", "0.0")


def shape_faults(name: str, config: t.Any, options: Options) -> str:
    """Which entries of `config` do not have the options of an argument spec; empty where all do.

    `name`: what the entries are called.
    """
    faults = Faults()
    if config is not None and not isinstance(config, (list, tuple)):
        faults.add("config", f"{config} is not a list")
    for index, entry in enumerate(config if isinstance(config, (list, tuple)) else ()):
        _entry_shape(f"{name}[{index}]", entry, options, faults)
    return str(faults)


def _entry_shape(where: str, entry: t.Any, options: Options, faults: Faults) -> None:
    if not isinstance(entry, Mapping):
        faults.add(where, "is empty" if entry is None else f"{entry} is not a mapping")
        return
    for key in entry:
        if key not in options:
            faults.add(f"{where}.{key}", f"there is no such option; there are {', '.join(options)}")
    for key, option in options.items():
        value = entry.get(key)
        if value is None:
            if option.get("required"):
                faults.add(f"{where}.{key}", "is missing")
        elif option["type"] == "list":
            _list_shape(f"{where}.{key}", value, option, faults)
        else:
            _value_shape(f"{where}.{key}", value, option, faults)


def _list_shape(where: str, value: t.Any, option: Mapping[str, t.Any], faults: Faults) -> None:
    nested = option.get("options")
    if isinstance(value, str) and not nested:
        value = value.split(",")
    if not isinstance(value, (list, tuple)):
        faults.add(where, f"{value} is not a list")
        return
    for index, item in enumerate(value):
        if nested:
            _entry_shape(f"{where}[{index}]", item, nested, faults)
        else:
            _value_shape(where, item, option, faults)


def _value_shape(where: str, value: t.Any, option: Mapping[str, t.Any], faults: Faults) -> None:
    kind = option.get("elements", option["type"])
    if kind == "int" and (isinstance(value, bool) or not _NUMBER.fullmatch(str(value))):
        faults.add(where, f"{value} is not a whole number")
    elif kind == "bool" and not isinstance(value, bool) and str(value).lower() not in _BOOLEANS:
        faults.add(where, f"{value} is neither true nor false")
    elif kind == "str" and isinstance(value, (Mapping, list, tuple)):
        faults.add(where, f"{value} is not a text")
    elif "choices" in option and value not in option["choices"]:
        faults.add(where, f"{value} is none of {', '.join(option['choices'])}")


# VIPs


def _is_number(value: t.Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _read_vip_key(entry: Mapping[str, t.Any], where: str, limits: Limits | None, faults: Faults) -> VipKey | None:
    """The key of an entry; `limits` None: of one that is to go, whatever the program can do."""
    text, port, protocol = entry.get("address"), entry.get("port"), entry.get("protocol")
    found: Prefix | Address | str
    if isinstance(text, str) and "/" in text:
        found = read_prefix(text)
        if isinstance(found, Prefix):
            if limits is not None and not limits.has("cidr_vips"):
                faults.add(f"{where}.address", f"{text} is a prefix, which needs feature cidr_vips")
            # A prefix may be that of all addresses, but not one of others than hosts.
            fault = address_fault(found.address) if any(found.address.packed) else None
            found = fault or found
    else:
        found = _read_host(text)
        if isinstance(found, Address):
            found = _looks_like_ipv4(found) or found
    good = not isinstance(found, str)
    if isinstance(found, str):
        faults.add(f"{where}.address", found)
    if not _is_number(port, 0, 65535):
        faults.add(f"{where}.port", f"{port} is not a port (0 to 65535)")
        good = False
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        faults.add(f"{where}.protocol", f"{protocol} is neither tcp nor udp")
        good = False
    if not good:
        return None
    address, length = found if isinstance(found, Prefix) else (t.cast("Address", found), None)
    return VipKey(address.ipv6, address.packed, length, t.cast("int", port), t.cast("str", protocol), address.text)


def _read_real_address(text: t.Any, where: str, faults: Faults) -> Address | None:
    address = _read_host(text)
    if isinstance(address, str):
        faults.add(where, address)
        return None
    return address


def _read_reals(
    entries: Config, where: str, key: VipKey | None, old: Mapping[str, VipReal], limits: Limits, faults: Faults
) -> tuple[VipReal, ...]:
    """Reals as listed over what they were; `old` is empty where unmentioned options take their defaults."""
    found: dict[str, VipReal] = dict(old)
    seen: set[str] = set()
    refuse_ipv4 = key is not None and key.ipv6
    for index, entry in enumerate(entries):
        address = _read_host(entry.get("address"))
        if isinstance(address, str):
            faults.add(f"{where}.reals[{index}].address", address)
            continue
        name = address.text
        if name in seen:
            faults.add(f"{where}.reals[{index}].address", f"{name} is listed twice")
            continue
        seen.add(name)
        if refuse_ipv4 and not address.ipv6 and key:
            faults.add(f"{where}.reals[{index}].address", f"{name} is IPv4, but the VIP {key.address} is IPv6")
        base = old.get(name, _DEFAULT_REAL)
        weight, state, local = entry.get("weight"), entry.get("state"), entry.get("local")
        if weight is not None and not _is_number(weight, 0, MAX_WEIGHT):
            faults.add(f"{where}.reals[{index}].weight", f"{weight} is not a weight (0 to {MAX_WEIGHT})")
        if state is not None and state not in REAL_STATES:
            faults.add(f"{where}.reals[{index}].state", f"{state} is none of {', '.join(REAL_STATES)}")
        if local and not limits.has("local_delivery"):
            faults.add(f"{where}.reals[{index}].local", "needs feature local_delivery")
        found[name] = VipReal(
            name,
            base.weight if weight is None else weight,
            base.state if state is None else state,
            base.local if local is None else bool(local),
        )
    return tuple(sorted(found.values(), key=lambda real: _sort_key(real.address)))


_DEFAULT_REAL = VipReal("")


def _read_vip(
    entry: Mapping[str, t.Any], where: str, key: VipKey, old: Vip | None, limits: Limits, faults: Faults
) -> Vip:
    """One entry over what it was (`old`; None: defaults)."""
    base = old or Vip(key)
    flags, kind, reals, down = entry.get("flags"), entry.get("hash"), entry.get("reals"), entry.get("down_reals")
    if flags is not None:
        unknown = [flag for flag in flags if flag not in VIP_FLAGS]
        for flag in unknown:
            faults.add(f"{where}.flags", f"{flag} is none of {', '.join(VIP_FLAGS)}")
        for flag in flags:
            feature = FLAG_FEATURES.get(flag)
            if feature and not limits.has(feature):
                faults.add(f"{where}.flags", f"{flag} needs feature {feature}")
        flags = _flags(flag for flag in flags if flag in VIP_FLAGS)
    if kind is not None and kind not in HASHES:
        faults.add(f"{where}.hash", f"{kind} is none of {', '.join(HASHES)}")
        kind = None
    if reals is None:
        new_reals = base.reals
    else:
        new_reals = _read_reals(reals, where, key, {real.address: real for real in base.reals}, limits, faults)
    if down is None:
        new_down = base.down_reals
    else:
        if down and not limits.has("udp_flow_migration"):
            faults.add(f"{where}.down_reals", "needs feature udp_flow_migration")
        new_down = tuple(sorted(_read_down_reals(down, where, faults), key=_sort_key))
    return Vip(key, base.flags if flags is None else flags, kind or base.hash, new_reals, new_down)


def _read_down_reals(texts: Sequence[t.Any], where: str, faults: Faults) -> set[str]:
    found: set[str] = set()
    for index, text in enumerate(texts):
        address = _read_real_address(text, f"{where}.down_reals[{index}]", faults)
        if address is None:
            continue
        if address.text in found:
            faults.add(f"{where}.down_reals[{index}]", f"{address.text} is listed twice")
        found.add(address.text)
    return found


def _require_entries(name: str, config: Config | None, how: str, allow_empty: bool) -> Config:
    if not config and how in ("overridden", "deleted") and not allow_empty:
        raise ConfigError(
            f"config: state {how} with an empty or absent config would remove every entry of {name}:"
            " give allow_empty: true if that is meant"
        )
    return config or ()


def resolve_vips(
    before: Mapping[VipKey, Vip],
    config: Config | None,
    how: str,
    allow_empty: bool,
    limits: Limits,
    min_active: int = 0,
) -> tuple[dict[VipKey, Vip], list[str]]:
    """The VIPs after applying `config` with state `how` to those before, and warnings.

    Each listed VIP needs at least `min_active` reals that take new flows. ConfigError lists all faults.
    """
    entries = _require_entries("vips", config, how, allow_empty)
    faults = Faults()
    where: dict[VipKey, str] = {}
    listed: dict[VipKey, Mapping[str, t.Any]] = {}
    for index, entry in enumerate(entries):
        key = _read_vip_key(entry, f"vips[{index}]", None if how == "deleted" else limits, faults)
        if key is None:
            _read_reals(entry.get("reals") or (), f"vips[{index}]", None, {}, limits, faults)
            continue
        if key in where:
            faults.add(f"vips[{index}]", f"{key} is listed twice (also {where[key]})")
            continue
        where[key] = f"vips[{index}]"
        listed[key] = entry
    if how == "deleted":
        after = {key: vip for key, vip in before.items() if entries and key not in listed}
    else:
        after = {} if how == "overridden" else dict(before)
        for key, entry in listed.items():
            old = before.get(key) if how == "merged" else None
            after[key] = _read_vip(entry, where[key], key, old, limits, faults)
    warnings = _check_vips(after, where, limits, faults)
    for key, place in where.items() if min_active > 0 else ():
        active = len(_active(after[key])) if key in after else min_active
        if active < min_active:
            faults.add(f"{place}.reals", f"{key} has {active} active, but min_active is {min_active}")
    faults.check()
    return after, warnings


def hold_back_vips(
    before: Mapping[VipKey, Vip], after: Mapping[VipKey, Vip], unready: Collection[str], unseen: Collection[str]
) -> tuple[dict[VipKey, Vip], list[str]]:
    """The VIPs after, but those of `unready` reals as they were that would newly take flows; and warnings.

    Of `unseen` reals that newly take flows there is but a warning.
    """
    held, kept_back, trusted = dict(after), [], []
    for key in sorted(after) if unready or unseen else ():
        old = {real.address: real for real in before[key].reals} if key in before else {}
        new = set(_active(after[key])).difference(_active(before.get(key, Vip(key))))
        early = new.intersection(unready)
        if early:
            reals = (old.get(real.address) if real.address in early else real for real in after[key].reals)
            held[key] = replace(after[key], reals=tuple(real for real in reals if real is not None))
            kept_back.append(f"vip {key}: no new flow to {_names(early)} yet, not ready (unready_reals)")
        if before and new.intersection(unseen):
            names = _names(new.intersection(unseen))
            trusted.append(f"vip {key}: new flows go to {names}, not known to be ready (unseen_reals)")
    return held, shortened(kept_back, MORE_VIPS) + shortened(trusted, MORE_VIPS)


def _names(addresses: Iterable[str]) -> str:
    return ", ".join(sorted(addresses, key=_sort_key))


def hold_back_rows(before: Mapping[K, V], after: Mapping[K, V], unready: Collection[str]) -> tuple[dict[K, V], list[K]]:
    """A table after, but without what would newly lead to an `unready` real; and the keys that stay as they were."""
    early = [
        key
        for key, row in (after.items() if unready else ())
        if getattr(row, "real", None) in unready and before.get(key) != row
    ]
    held = dict(after)
    for key in early:
        del held[key]
        if key in before:
            held[key] = before[key]
    return held, early


def _active(vip: Vip) -> list[str]:
    return [real.address for real in vip.reals if real.state == "active" and real.weight > 0]


def _check_vips(after: Mapping[VipKey, Vip], where: Mapping[VipKey, str], limits: Limits, faults: Faults) -> list[str]:
    """What only the whole can show."""
    sizes = limits.sizes
    if len(after) > sizes["vips"]:
        faults.add("vips", f"{len(after)} VIPs, but sizes.vips is {sizes['vips']}")
    for ipv6, family in ((False, "IPv4"), (True, "IPv6")):
        prefixes = sum(key.prefixlen is not None and key.ipv6 == ipv6 for key in after)
        if prefixes > sizes["cidr_vips"]:
            faults.add("vips", f"{prefixes} {family} CIDR VIPs, but sizes.cidr_vips is {sizes['cidr_vips']}")
    reals = {real.address for vip in after.values() for real in vip.reals}
    if len(reals) > sizes["reals"] - 1:
        faults.add("vips", f"{len(reals)} reals, but sizes.reals is {sizes['reals']} and id 0 is never one")
    local: dict[str, tuple[bool, VipKey]] = {}
    migrating: dict[tuple[bytes, int, str], VipKey] = {}
    warnings = []
    for key in sorted(after):
        vip = after[key]
        place = where.get(key, f"vip {key}")
        if "udp_flow_migration" in vip.flags:
            # The table of down reals knows a CIDR VIP by its network address alone.
            same = migrating.setdefault((key.packed, key.port, key.protocol), key)
            if same != key:
                faults.add(f"{place}.flags", f"udp_flow_migration cannot tell {key} from {same}: same network address")
            down = set(vip.down_reals)
            warnings += [
                f"{place}.down_reals: {real.address} is active among the VIP's reals too, so new flows still go there"
                for real in vip.reals
                if real.address in down and real.state == "active" and real.weight
            ]
        elif vip.down_reals:
            warnings.append(f"{place}.down_reals: they mean nothing without flag udp_flow_migration")
        if key.protocol == "tcp":
            warnings += [f"{place}.flags: {flag} means nothing for tcp" for flag in vip.flags if flag in UDP_FLAGS]
        if vip.hash == "maglev_v1" and len({real.weight for real in vip.reals if real.weight}) > 1:
            warnings.append(f"{place}.hash: maglev_v1 hardly shows unequal weights; maglev_v2 honours them")
        for real in vip.reals:
            first = local.setdefault(real.address, (real.local, key))
            if first[0] != real.local:
                faults.add(f"{place}.reals", f"{real.address} is local in one VIP and not in another ({first[1]})")
    return warnings


def idle_vips(vips: Iterable[Vip], limits: Limits) -> list[str]:
    """What VIPs have that the loaded program cannot do: it was applied to one that could."""
    found = []
    for vip in vips:
        local = any(real.local for real in vip.reals)
        entry = {"address": vip.key.address, "flags": vip.flags, "down_reals": vip.down_reals}
        needed = features_needed([{**entry, "reals": [{"local": local}]}])
        missing = [feature for feature in needed if not limits.has(feature)]
        if missing:
            found.append(f"vip {vip.key}: needs {_features(missing)}, which the program does not have")
    return shortened(found, MORE_VIPS)


def _features(names: Sequence[str]) -> str:
    return f"feature{'' if len(names) == 1 else 's'} {' and '.join(names)}"


def vip_to_config(vip: Vip) -> dict[str, t.Any]:
    """The VIP in config's own form, every option given: feeding it back changes nothing."""
    return {
        "address": vip.key.address,
        "port": vip.key.port,
        "protocol": vip.key.protocol,
        "flags": list(vip.flags),
        "hash": vip.hash,
        "reals": [real._asdict() for real in vip.reals],
        "down_reals": list(vip.down_reals),
    }


def vips_from_config(config: Config) -> dict[VipKey, Vip]:
    """VIPs from their own form in state.json, which was validated when it was written."""
    found = {}
    for entry in config:
        prefix = read_prefix(entry["address"]) if "/" in entry["address"] else None
        if isinstance(prefix, Prefix):
            address, length = prefix.address, prefix.length
        else:
            address, length = t.cast(Address, read_address(entry["address"])), None
        key = VipKey(address.ipv6, address.packed, length, entry["port"], entry["protocol"], address.text)
        found[key] = Vip(
            key,
            tuple(entry["flags"]),
            entry["hash"],
            tuple(VipReal(**real) for real in entry["reals"]),
            tuple(entry["down_reals"]),
        )
    return found


def vip_changes(before: Mapping[VipKey, Vip], after: Mapping[VipKey, Vip]) -> list[str]:
    """One line for each difference, sorted by VIP."""
    lines = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if old is None and new is not None:
            lines.append(f"vip {key}: added with {_count(len(new.reals), 'real')}")
        elif new is None:
            lines.append(f"vip {key}: removed")
        elif old is not None:
            lines += [f"vip {key}: {line}" for line in _vip_differences(old, new)]
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _vip_differences(old: Vip, new: Vip) -> list[str]:
    lines = []
    if old.flags != new.flags:
        lines.append(f"flags {','.join(old.flags) or 'none'} → {','.join(new.flags) or 'none'}")
    if old.hash != new.hash:
        lines.append(f"hash {old.hash} → {new.hash}")
    old_reals = {real.address: real for real in old.reals}
    new_reals = {real.address: real for real in new.reals}
    for address in sorted({*old_reals, *new_reals}, key=_sort_key):
        was, now = old_reals.get(address), new_reals.get(address)
        if was is None and now is not None:
            state = "" if now.state == "active" else f", {now.state}"
            lines.append(f"real {address} added (weight {now.weight}{state})")
        elif now is None:
            lines.append(f"real {address} removed")
        elif was is not None:
            lines += [
                f"{name} of {address} {_word(getattr(was, name))} → {_word(getattr(now, name))}"
                for name in ("weight", "state", "local")
                if getattr(was, name) != getattr(now, name)
            ]
    lines += [
        f"{address} {'listed as down' if address in new.down_reals else 'no longer listed as down'}"
        for address in sorted({*old.down_reals} ^ {*new.down_reals}, key=_sort_key)
    ]
    return lines


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# The other resources


def resolve_source_routes(
    before: Mapping[Prefix, SourceRoute], config: Config | None, how: str, allow_empty: bool, limits: Limits
) -> tuple[dict[Prefix, SourceRoute], list[str]]:
    """The source routes after applying `config`, and warnings. ConfigError lists all faults."""
    entries = _require_entries("source_routes", config, how, allow_empty)
    faults = Faults()
    if entries and how != "deleted" and not limits.has("source_routing"):
        faults.add("source_routes", "needs feature source_routing")
    listed: dict[Prefix, SourceRoute] = {}
    for index, entry in enumerate(entries):
        prefix = read_prefix(str(entry.get("prefix")))
        if isinstance(prefix, str):
            faults.add(f"source_routes[{index}].prefix", prefix)
            continue
        if prefix in listed:
            faults.add(f"source_routes[{index}].prefix", f"{prefix.text} is listed twice")
            continue
        real = _table_real(entry, before, prefix, how)
        if isinstance(real, str):
            faults.add(f"source_routes[{index}].real", real)
        elif prefix.address.ipv6 and real is not None and not real.ipv6:
            faults.add(f"source_routes[{index}].real", f"{real.text} is IPv4, but the prefix {prefix.text} is IPv6")
        else:
            listed[prefix] = SourceRoute(prefix, real.text if real else "")
    after = _merge(before, listed, how, bool(entries))
    for ipv6, family in ((False, "IPv4"), (True, "IPv6")):
        number = sum(prefix.address.ipv6 == ipv6 for prefix in after)
        if number > limits.sizes["source_routes"]:
            faults.add(
                "source_routes",
                f"{number} {family} prefixes, but sizes.source_routes is {limits.sizes['source_routes']}",
            )
    faults.check()
    return after, []


def _merge(before: Mapping[K, V], listed: Mapping[K, V], how: str, any_listed: bool) -> dict[K, V]:
    if how == "deleted":
        return {key: value for key, value in before.items() if any_listed and key not in listed}
    return dict(listed) if how == "overridden" else {**before, **listed}


def _table_real(
    entry: Mapping[str, t.Any],
    before: Mapping[t.Any, SourceRoute | ServerId | HealthcheckDestination],
    key: object,
    how: str,
) -> Address | str | None:
    """The real of a table's entry, or the sentence that says why it is none.

    Where it is not given, it stays what it was in state merged; None in state deleted, which asks for none.
    """
    text = entry.get("real")
    if text is None:
        if how == "deleted":
            return None
        old = before.get(key) if how == "merged" else None
        text = old.real if old else None
    return _read_host(text)


def resolve_server_ids(
    before: Mapping[int, ServerId], config: Config | None, how: str, allow_empty: bool, limits: Limits
) -> tuple[dict[int, ServerId], list[str]]:
    """The server ids after applying `config`, and warnings. ConfigError lists all faults."""
    entries = _require_entries("server_ids", config, how, allow_empty)
    faults = Faults()
    hashed = limits.features is not None and "server_id_hash" in limits.features
    highest = 0xFFFFFFFF if hashed else limits.sizes["server_ids"] - 1
    listed: dict[int, ServerId] = {}
    for index, entry in enumerate(entries):
        number = t.cast("int", entry.get("id"))
        if not _is_number(number, 1, highest):
            more = "; feature server_id_hash allows more" if _is_number(number, highest + 1, 0xFFFFFFFF) else ""
            faults.add(f"server_ids[{index}].id", f"{number} is not a server id (1 to {highest}{more})")
            continue
        real = _table_real(entry, before, number, how)
        if isinstance(real, str):
            faults.add(f"server_ids[{index}].real", real)
            continue
        text = real.text if real else ""
        if number in listed:
            other = listed[number].real
            sentence = f"{number} is listed twice" if other == text else f"{number} leads to {other} and to {text}"
            faults.add(f"server_ids[{index}].id", sentence)
            continue
        listed[number] = ServerId(number, text)
    after = _merge(before, listed, how, bool(entries))
    if len(after) > limits.sizes["server_ids"]:
        faults.add("server_ids", f"{len(after)} server ids, but sizes.server_ids is {limits.sizes['server_ids']}")
    faults.check()
    return after, []


def server_id_warnings(server_ids: Iterable[ServerId], vips: Iterable[Vip], limits: Limits) -> list[str]:
    """Reals of server ids that cannot be carried for a VIP that may route by them: IPv4 reals and IPv6 VIPs."""
    using = [
        vip.key
        for vip in vips
        if vip.key.ipv6
        and (
            {"quic", "udp_stable_routing"} & set(vip.flags)
            or (vip.key.protocol == "tcp" and limits.features is not None and "tcp_server_id" in limits.features)
        )
    ]
    ipv4 = sorted({entry.real for entry in server_ids if ":" not in entry.real}, key=_sort_key)
    if not using or not ipv4:
        return []
    some = ", ".join(ipv4[:3]) + (f" and {len(ipv4) - 3} more" if len(ipv4) > 3 else "")
    return [f"server_ids: {some} cannot take packets of the IPv6 VIP {min(using)}, which may route by server id"]


def resolve_decap_destinations(
    before: Mapping[str, DecapDestination], config: Config | None, how: str, allow_empty: bool, limits: Limits
) -> tuple[dict[str, DecapDestination], list[str]]:
    """The decapsulation destinations after applying `config`, and warnings. ConfigError lists all faults."""
    entries = _require_entries("decap_destinations", config, how, allow_empty)
    faults = Faults()
    if entries and how != "deleted" and not limits.has("inline_decap"):
        faults.add("decap_destinations", "needs feature inline_decap")
    listed: dict[str, DecapDestination] = {}
    for index, entry in enumerate(entries):
        address = _read_host(entry.get("address"))
        fault = address if isinstance(address, str) else _looks_like_ipv4(address)
        if isinstance(address, str) or fault:
            faults.add(f"decap_destinations[{index}].address", str(fault))
            continue
        if address.text in listed:
            faults.add(f"decap_destinations[{index}].address", f"{address.text} is listed twice")
            continue
        egress = entry.get("egress")
        old = before.get(address.text) if how == "merged" else None
        listed[address.text] = DecapDestination(
            address.text, bool(egress) if egress is not None else bool(old and old.egress)
        )
    after = _merge(before, listed, how, bool(entries))
    if len(after) > limits.sizes["vips"]:
        faults.add("decap_destinations", f"{len(after)} addresses, but sizes.vips is {limits.sizes['vips']}")
    faults.check()
    return after, []


def resolve_healthcheck_destinations(
    before: Mapping[int, HealthcheckDestination], config: Config | None, how: str, allow_empty: bool, limits: Limits
) -> tuple[dict[int, HealthcheckDestination], list[str]]:
    """The health-check destinations after applying `config`, and warnings. ConfigError lists all faults."""
    entries = _require_entries("healthcheck_destinations", config, how, allow_empty)
    faults = Faults()
    listed: dict[int, HealthcheckDestination] = {}
    for index, entry in enumerate(entries):
        mark = t.cast("int", entry.get("mark"))
        where = f"healthcheck_destinations[{index}]"
        if not _is_number(mark, 1, 0xFFFFFFFF):
            faults.add(f"{where}.mark", f"{mark} is not a mark (1 to 4294967295)")
            continue
        if mark in listed:
            faults.add(f"{where}.mark", f"{mark} is listed twice")
            continue
        real = _table_real(entry, before, mark, how)
        if isinstance(real, str):
            faults.add(f"{where}.real", real)
        else:
            listed[mark] = HealthcheckDestination(mark, real.text if real else "")
    after = _merge(before, listed, how, bool(entries))
    if len(after) > limits.sizes["reals"]:
        faults.add("healthcheck_destinations", f"{len(after)} marks, but sizes.reals is {limits.sizes['reals']}")
    faults.check()
    return after, []


def resolve_reals(
    before: Mapping[str, Overlay],
    config: Config | None,
    how: str,
    allow_empty: bool,
    limits: Limits,
    since: str,
    known: Iterable[str],
) -> tuple[dict[str, Overlay], list[str]]:
    """The overlay after applying `config`, and warnings for reals that no VIP has. ConfigError lists all faults."""
    entries = _require_entries("reals", config, how, allow_empty)
    faults = Faults()
    present = set(known)
    warnings = []
    listed: dict[str, Overlay] = {}
    for index, entry in enumerate(entries):
        address = _read_real_address(entry.get("address"), f"reals[{index}].address", faults)
        if address is None:
            continue
        state = entry.get("state")
        if address.text in listed:
            faults.add(f"reals[{index}].address", f"{address.text} is listed twice")
            continue
        if how != "deleted":
            if state is None:
                faults.add(f"reals[{index}].state", "is missing")
            elif state not in REAL_STATES:
                faults.add(f"reals[{index}].state", f"{state} is none of {', '.join(REAL_STATES)}")
            if address.text not in present:
                warnings.append(f"reals[{index}].address: no VIP has the real {address.text}")
        old = before.get(address.text)
        same = old is not None and old.state == state
        listed[address.text] = old if same and old else Overlay(address.text, str(state), since)
    after = _merge(before, listed, how, bool(entries))
    if len(after) > limits.sizes["reals"]:
        faults.add("reals", f"{len(after)} reals, but sizes.reals is {limits.sizes['reals']}")
    faults.check()
    return after, warnings


def config_faults(resources: Mapping[str, t.Any], options: Mapping[str, Options], limits: Limits) -> list[str]:
    """What the modules of these resources would say against their `config`; a sentence or several per resource.

    `options`: resource → the argument spec of an entry.
    """
    found = []
    for name, resolve in _RESOLVERS.items():
        config = resources.get(name) or ()
        sentence = shape_faults(name, config, options[name])
        if not sentence:
            told = [_as_told(entry, options[name]) for entry in config]
            try:
                resolve({}, told, "overridden", True, limits)
            except ConfigError as error:
                sentence = str(error)
        if sentence:
            found.append(sentence)
    return found


_RESOLVERS: dict[str, t.Callable[..., t.Any]] = {
    "vips": resolve_vips,
    "source_routes": resolve_source_routes,
    "server_ids": resolve_server_ids,
    "decap_destinations": resolve_decap_destinations,
}


def _as_told(entry: Mapping[str, t.Any], options: Options) -> dict[str, t.Any]:
    """An entry of the right shape as Ansible hands it to a module."""
    return {key: _value_told(value, options[key]) for key, value in entry.items() if value is not None}


def _value_told(value: t.Any, option: Mapping[str, t.Any]) -> t.Any:
    kind = option["type"]
    if kind == "list":
        nested = option.get("options")
        return [_as_told(item, nested) for item in value] if nested else words(value)
    if kind == "int":
        return int(value)
    if kind == "bool":
        return value if isinstance(value, bool) else str(value).lower() in _TRUE
    return str(value)


# The balancer


class RootArray(t.NamedTuple):
    """Shared mode: the path of the root program's pinned array, and the slot to take, 0 to 2."""

    path: str
    position: int


@dataclass(frozen=True)
class BalancerSettings:
    """The options of module balancer, validated. Sizes in entries, max_frame in bytes, udp_timeout in seconds."""

    interfaces: tuple[str, ...]
    mode: str
    encapsulation: str
    gue_port: int
    features: frozenset[str]
    source_ipv4: str
    source_ipv6: str
    source_prefix_ipv4: str
    source_prefix_ipv6: str
    gateway_mac: str
    copy_tos: bool
    decap_any: bool
    sizes: Mapping[str, int]
    max_frame: int
    max_new_flows: int
    udp_timeout: int
    forwarding_cores: tuple[int, ...] | str
    replace_foreign: bool
    root_array: RootArray | None = None
    numa: str = "auto"

    def to_config(self) -> dict[str, t.Any]:
        """The options in the module's own form."""
        data = asdict(self)
        data["interfaces"] = list(self.interfaces)
        data["features"] = sorted(self.features)
        data["sizes"] = dict(self.sizes)
        if not isinstance(self.forwarding_cores, str):
            data["forwarding_cores"] = list(self.forwarding_cores)
        data["root_array"] = self.root_array._asdict() if self.root_array else None
        return data


_INSTANCE = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_SIZE_RANGES = {
    "vips": (1, 65536),
    "cidr_vips": (1, 1 << 20),
    "reals": (2, 1 << 20),
    "ring": (3, 1 << 24),
    "source_routes": (1, 1 << 26),
    "server_ids": (2, 1 << 24),
    "flows": (1, 1 << 28),
    "global_flows": (1, 1 << 28),
}


def parse_instance(instance: str, bpffs: str) -> None:
    """ConfigError where the instance's name or the bpffs's path cannot be one."""
    faults = Faults()
    if not _INSTANCE.fullmatch(instance):
        faults.add(
            "instance", f"{instance!r} must begin with a lower case letter or digit, then up to 31 of these, _ or -"
        )
    if not bpffs.startswith("/"):
        faults.add("bpffs", f"{bpffs} is not an absolute path")
    faults.check()


def is_prime(number: int) -> bool:
    """Whether the number is prime, by trial division: ring sizes have at most 8 digits."""
    if number < 2 or (number % 2 == 0 and number != 2):
        return False
    return all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2))


def _read_interfaces(names: Sequence[t.Any], faults: Faults) -> tuple[str, ...]:
    for index, name in enumerate(names):
        text = str(name)
        if not 0 < len(text) < 16 or text in (".", "..") or any(char in "/:" or char.isspace() for char in text):
            faults.add(f"interfaces[{index}]", f"{text!r} is not the name of an interface")
        elif text in map(str, names[:index]):
            faults.add(f"interfaces[{index}]", f"{text} is listed twice")
    return tuple(map(str, names))


def _in_range(params: Mapping[str, t.Any], name: str, low: int, high: int, faults: Faults) -> int:
    value = params[name]
    if not _is_number(value, low, high):
        faults.add(name, f"{value} is not in {low} to {high}")
        return low
    return t.cast("int", value)


def _one_of(params: Mapping[str, t.Any], name: str, words: Sequence[str], faults: Faults) -> str:
    value = params[name]
    if value not in words:
        faults.add(name, f"{value} is none of {', '.join(words)}")
    return str(value)


def _read_source(params: Mapping[str, t.Any], name: str, ipv6: bool, faults: Faults) -> str:
    text = str(params[name])
    if text == "auto":
        return text
    address = read_address(text)
    if address is None or address.ipv6 != ipv6:
        faults.add(name, f"{text} is neither auto nor an IPv{6 if ipv6 else 4} address")
        return "auto"
    fault = address_fault(address)
    if fault:
        faults.add(name, fault)
    return address.text


def _read_source_prefix(params: Mapping[str, t.Any], name: str, ipv6: bool, length: int, faults: Faults) -> str:
    prefix = read_prefix(str(params[name]))
    if isinstance(prefix, str):
        faults.add(name, prefix)
    elif prefix.address.ipv6 != ipv6 or prefix.length != length:
        faults.add(name, f"{params[name]} is not an IPv{6 if ipv6 else 4} prefix of length {length}")
    else:
        return prefix.text
    return str(params[name])


def _read_sizes(given: Mapping[str, t.Any] | None, faults: Faults) -> dict[str, int]:
    sizes = {**DEFAULT_SIZES, **{name: value for name, value in (given or {}).items() if value is not None}}
    for name, value in sizes.items():
        if name not in _SIZE_RANGES:
            faults.add(f"sizes.{name}", f"there is no such size; there are {', '.join(_SIZE_RANGES)}")
            continue
        low, high = _SIZE_RANGES[name]
        if not _is_number(value, low, high):
            faults.add(f"sizes.{name}", f"{value} is not in {low} to {high}")
        elif name == "ring" and not is_prime(value):
            faults.add("sizes.ring", f"{value} is not a prime")
    vips, ring = sizes["vips"], sizes["ring"]
    if _is_number(vips, 1, 1 << 32) and _is_number(ring, 1, 1 << 32) and vips * ring >= 1 << 32:
        faults.add("sizes", f"{vips} VIPs × {ring} slots are more than one table can hold (2^32 - 1)")
    return sizes


def _read_root_array(
    given: Mapping[str, t.Any] | None, interfaces: Sequence[t.Any], faults: Faults
) -> RootArray | None:
    if given is None:
        return None
    path, position = str(given.get("path")), given.get("position")
    if not path.startswith("/"):
        faults.add("root_array.path", f"{path} is not an absolute path")
    if not _is_number(position, 0, 2):
        faults.add("root_array.position", f"{position} is not a position (0 to 2)")
    if interfaces:
        faults.add("root_array", "it comes instead of interfaces; give one of them")
    return RootArray(path, t.cast("int", position))


def _read_cores(value: t.Any, faults: Faults) -> tuple[int, ...] | str:
    if value == "auto":
        return "auto"
    items = value if isinstance(value, list) else str(value).split(",")
    cores: set[int] = set()
    for item in items:
        # As the kernel writes lists: 0-3,8.
        found = re.fullmatch(r"\s*([0-9]{1,4})(?:-([0-9]{1,4}))?\s*", str(item), re.ASCII)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not first <= last < MAX_CPUS:
            faults.add("forwarding_cores", f"{item} is not a CPU (0 to {MAX_CPUS - 1}), and not auto")
        cores.update(range(first, last + 1))
    if not items:
        faults.add("forwarding_cores", "it is empty: no CPU would have a connection table; list CPUs, or give auto")
    return tuple(sorted(cores))


def parse_settings(params: Mapping[str, t.Any]) -> BalancerSettings:
    """The options of module balancer. ConfigError lists all faults."""
    faults = Faults()
    mac = str(params["gateway_mac"]).lower().replace("-", ":")
    if mac != "auto" and (not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00"):
        faults.add("gateway_mac", f"{params['gateway_mac']} is neither auto nor a unicast MAC address")
    for feature in params["features"]:
        if feature not in FEATURES:
            faults.add("features", f"{feature} is none of {', '.join(FEATURES)}")
    settings = BalancerSettings(
        interfaces=_read_interfaces(params["interfaces"], faults),
        mode=_one_of(params, "mode", ("native", "generic", "auto"), faults),
        encapsulation=_one_of(params, "encapsulation", ("ipip", "gue"), faults),
        gue_port=_in_range(params, "gue_port", 1, 65535, faults),
        features=frozenset(params["features"]),
        source_ipv4=_read_source(params, "source_ipv4", False, faults),
        source_ipv6=_read_source(params, "source_ipv6", True, faults),
        source_prefix_ipv4=_read_source_prefix(params, "source_prefix_ipv4", False, 16, faults),
        source_prefix_ipv6=_read_source_prefix(params, "source_prefix_ipv6", True, 64, faults),
        gateway_mac=mac,
        copy_tos=params["copy_tos"],
        decap_any=params["decap_any"],
        sizes=_read_sizes(params["sizes"], faults),
        max_frame=_in_range(params, "max_frame", 590, 65535, faults),
        max_new_flows=_in_range(params, "max_new_flows", 1, 1 << 31, faults),
        udp_timeout=_in_range(params, "udp_timeout", 1, 86400, faults),
        forwarding_cores=_read_cores(params["forwarding_cores"], faults),
        replace_foreign=params["replace_foreign"],
        root_array=_read_root_array(params.get("root_array"), params["interfaces"], faults),
        numa=_one_of({"numa": params.get("numa", "auto")}, "numa", ("auto", "none"), faults),
    )
    if params.get("state", "attached") == "attached" and not settings.interfaces and not settings.root_array:
        faults.add("interfaces", "state attached needs at least one interface")
    faults.check()
    return settings


def parse_planned(planned: Mapping[str, t.Any]) -> Limits:
    """The option planned of resource modules: features, and sizes where they are not the defaults."""
    faults = Faults()
    sizes = _read_sizes(planned.get("sizes"), faults)
    faults.check()
    return Limits(sizes, frozenset(planned.get("features") or ()))


def parse_reals(texts: Sequence[t.Any], name: str) -> frozenset[str]:
    """An option of resource modules that lists reals. ConfigError lists all faults."""
    faults = Faults()
    addresses = parse_addresses(texts, name, faults)
    faults.check()
    return frozenset(addresses)


def limits_of_settings(settings: Mapping[str, t.Any]) -> Limits:
    """The limits of a balancer from its settings in state.json."""
    return Limits(settings["sizes"], frozenset(settings["features"]))


def parse_addresses(texts: Sequence[t.Any], name: str, faults: Faults, as_keys: bool = False) -> tuple[str, ...]:
    """A list of unicast addresses, canonical; `as_keys`: of such as a map can have as its keys."""
    found = []
    for index, text in enumerate(texts):
        address = _read_real_address(text, f"{name}[{index}]", faults)
        fault = _looks_like_ipv4(address) if address is not None and as_keys else None
        if fault:
            faults.add(f"{name}[{index}]", fault)
        elif address is not None:
            found.append(address.text)
    return tuple(dict.fromkeys(found))


def parse_interfaces(names: Sequence[t.Any], faults: Faults) -> tuple[str, ...]:
    """A list of interface names."""
    return _read_interfaces(names, faults)


# Features


def words(value: t.Any) -> list[str]:
    """A list of texts as a module takes it: one text is split at its commas."""
    return value.split(",") if isinstance(value, str) else list(map(str, value or ()))


def features_needed(
    vips: Iterable[Mapping[str, t.Any]] = (),
    source_routes: Sequence[t.Any] = (),
    decap_destinations: Sequence[t.Any] = (),
    server_ids: Sequence[Mapping[str, t.Any]] = (),
) -> list[str]:
    """The features that this configuration uses, sorted. It need not be valid: the modules say what is wrong."""
    found: set[str] = set()
    flags: set[str] = set()
    for vip in vips:
        flags.update(words(vip.get("flags")))
        if "/" in str(vip.get("address", "")):
            found.add("cidr_vips")
        if vip.get("down_reals"):
            found.add("udp_flow_migration")
        if any(isinstance(real, Mapping) and real.get("local") for real in vip.get("reals") or ()):
            found.add("local_delivery")
        if vip.get("protocol") == "tcp":
            flags.add("tcp")
    found.update(feature for flag, feature in FLAG_FEATURES.items() if flag in flags)
    if source_routes:
        found.add("source_routing")
    if decap_destinations:
        found.add("inline_decap")
    if server_ids and "tcp" in flags and not flags & {"quic", "udp_stable_routing"}:
        # Nobody else would read them. Beside QUIC, TCP may go without: then the operator has to say it.
        found.add("tcp_server_id")
    if any(_is_number(entry.get("id"), DEFAULT_SIZES["server_ids"], 0xFFFFFFFF) for entry in server_ids):
        found.add("server_id_hash")
    return sorted(found)
