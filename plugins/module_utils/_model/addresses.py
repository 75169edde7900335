# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses and prefixes as operators write them: strict textual forms, read into bytes and canonical text."""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from . import layout, records
from .faults import Faults
from .written import OF_ADDRESS, as_base_60, hidden_in


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
    packed = int(address).to_bytes(layout.ADDRESS_BYTES, "big")
    return Address(layout.unpack_address(packed, True), packed, True)


def _read_without_netaddr(text: str) -> Address | None:
    """The same form, for a review of a host where the role has not installed netaddr: it would."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if "%" in text:
        # inet_pton knows no zone.
        return None
    packed, ipv6 = address.packed.ljust(layout.ADDRESS_BYTES, b"\0"), address.version == 6
    return Address(layout.unpack_address(packed, ipv6), packed, ipv6)


class Prefix(t.NamedTuple):
    """A prefix: network address and length in bits."""

    address: Address
    length: int

    @property
    def text(self) -> str:
        """The canonical text."""
        return f"{self.address.text}/{self.length}"

    def holds(self, address: Address) -> bool:
        """Whether an address is in it."""
        return address.ipv6 == self.address.ipv6 and _agree(address, self.address, self.length)


@lru_cache(maxsize=1 << 17)
def read_prefix(text: str) -> Prefix | str:
    """A prefix in strict textual form, or the sentence that says why it is none."""
    head, slash, tail = text.partition("/")
    # Uncached: few prefixes share their network address.
    address = read_address.__wrapped__(head)
    if address is None or not slash:
        return hidden_in(text) or as_base_60(text, OF_ADDRESS) or f"{text} is not a prefix (ADDRESS/LENGTH)"
    bits = 128 if address.ipv6 else 32
    length = _LENGTHS.get(tail, 129)
    if length > bits:
        return hidden_in(text) or f"{text} has no prefix length of 0 to {bits}"
    value = int.from_bytes(address.packed, "big")
    if value & _HOST_BITS[length]:
        network = (value & ~_HOST_BITS[length]).to_bytes(layout.ADDRESS_BYTES, "big")
        return f"{text} has host bits set; the network is {layout.unpack_address(network, address.ipv6)}/{length}"
    return Prefix(address, length)


_PADDING = bytes(layout.ADDRESS_BYTES - 4)
_LENGTHS = {str(length): length for length in range(129)}
_HOST_BITS = [(1 << (128 - length)) - 1 for length in range(129)]
"""Prefix length → the bits behind it in the 16 bytes of either family."""


class _Range(t.NamedTuple):
    """Addresses that no packet through a balancer may have. `kind`: an adjective for them."""

    prefix: Prefix
    kind: str

    def holds(self, address: Address) -> bool:
        """Whether an address is one of them."""
        return self.prefix.holds(address)

    def meets(self, prefix: Prefix) -> bool:
        """Whether a prefix has one of them."""
        other = self.prefix.address
        shorter = min(self.prefix.length, prefix.length)
        return prefix.address.ipv6 == other.ipv6 and _agree(prefix.address, other, shorter)


def _agree(one: Address, other: Address, length: int) -> bool:
    rest = 128 - length
    return int.from_bytes(one.packed, "big") >> rest == int.from_bytes(other.packed, "big") >> rest


# The first that holds an address names it.
_UNUSABLE = tuple(
    _Range(t.cast(Prefix, read_prefix(prefix)), kind)
    for prefix, kind in (
        ("0.0.0.0/32", "unspecified"),
        ("0.0.0.0/8", "unspecified"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("255.255.255.255/32", "broadcast"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("fe80::/10", "link-local"),
        ("ff00::/8", "multicast"),
    )
)


def _first_bytes(prefix: Prefix) -> range:
    """The first bytes that addresses of a prefix have."""
    first, others = prefix.address.packed[0], 8 - min(8, prefix.length)
    return range(first, first + (1 << others))


_FIRST_BYTES = {
    ipv6: frozenset(
        first for each in _UNUSABLE if each.prefix.address.ipv6 == ipv6 for first in _first_bytes(each.prefix)
    )
    for ipv6 in (False, True)
}
"""Family → the first bytes that addresses of these ranges have: all others, and there may be millions, are usable."""


def never_usable(first_bytes: Collection[int]) -> bool:
    """Whether one of these first bytes of addresses of IPv4 is one of a range that is not usable."""
    return not _FIRST_BYTES[False].isdisjoint(first_bytes)


def address_fault(address: Address) -> str | None:
    """Why an address can be neither a VIP nor a real, nor anything else that a router leads to; None where it can."""
    if address.packed[0] not in _FIRST_BYTES[address.ipv6]:
        return None
    each = next((each for each in _UNUSABLE if each.holds(address)), None)
    if each is None:
        return None
    kind, text = each.kind, address.text
    if not any(address.packed):
        return f"{text} is the unspecified address"
    if kind in ("multicast", "broadcast"):
        return f"{text} is not a unicast address"
    if kind in ("unspecified", "reserved"):
        return f"{text} is in {each.prefix.text}, of which no host may have one"
    if kind == "IPv4-mapped":
        return mapped_fault(address)
    return f"{text} is a {kind} address"


def mapped_fault(address: Address) -> str | None:
    """Why an address is that of no packet, being IPv4 in the form of IPv6; None where it is not."""
    if not address.ipv6 or not address.packed.startswith(layout.IPV4_MAPPED):
        return None
    return f"{address.text} is an IPv4 address in IPv6 form; write {layout.unpack_address(address.packed[12:], False)}"


def prefix_fault(prefix: Prefix, as_clients: bool = False) -> str | None:
    """Why a prefix has addresses that nothing is routed to; `as_clients`: only where it has no others."""
    if prefix.length >= 8 and prefix.address.packed[0] not in _FIRST_BYTES[prefix.address.ipv6]:
        return None
    for each in _UNUSABLE:
        inside = prefix.length >= each.prefix.length
        if each.kind in ("unspecified", "broadcast") and each.prefix.length > 8 and not inside:
            # A wider range says the same in words that more people know.
            continue
        if each.meets(prefix) and (inside or not as_clients):
            verb = f"has {each.kind} addresses alone" if inside else f"takes in {each.kind} addresses"
            hint = ""
            if each.kind == "IPv4-mapped" and inside:
                network = layout.unpack_address(prefix.address.packed[12:], False)
                hint = f"; write {network}/{prefix.length - 96}"
            return f"{prefix.text} {verb} ({each.prefix.text}){hint}"
    return None


def ipv4_lookalike(address: Address) -> str | None:
    """Why a map whose key has no family cannot hold an address; None where it can."""
    if address.ipv6 and not any(address.packed[4:]):
        return f"{address.text} ends in twelve zero bytes, as IPv4 addresses do in the kernel's tables"
    return None


def no_address(value: t.Any) -> str:
    """The sentence that says why a value is no IP address, as far as can be told."""
    text = str(value)
    told = hidden_in(text) or as_base_60(value, OF_ADDRESS)
    if told:
        return told
    bare = text.removeprefix("[").removesuffix("]")
    if bare != text and read_address(bare):
        return f"{text} is not an IP address: write it without brackets"
    host, slash, _length = text.partition("/")
    if slash and read_address(host):
        return f"{text} is a prefix; an IP address is asked for, such as {host}"
    return f"{text} is not an IP address"


@lru_cache(maxsize=1 << 16, typed=True)
def read_host(text: t.Any) -> Address | str:
    """The address of a host, or the sentence that says why it is none."""
    address = read_known_host(text)
    return address if isinstance(address, str) else address_fault(address) or address


def read_known_host(text: t.Any) -> Address | str:
    """The same of a host that is to go, or that was let in before: whatever its address is."""
    if text is None:
        return "is missing"
    return read_address(str(text)) or no_address(text)


@lru_cache(maxsize=1 << 16)
def address_order(address: str) -> tuple[bool, bytes]:
    found = read_address(address)
    return (found.ipv6, found.packed) if found else (False, b"")


def read_real_address(text: t.Any, where: str, faults: Faults) -> Address | None:
    address = read_host(text)
    if isinstance(address, str):
        faults.add(where, address)
        return None
    return address


def parse_addresses(texts: Sequence[t.Any], name: str, faults: Faults, as_keys: bool = False) -> tuple[str, ...]:
    """A list of unicast addresses, canonical; `as_keys`: of such as a map can have as its keys."""
    found = []
    for index, text in enumerate(texts):
        address = read_real_address(text, f"{name}[{index}]", faults)
        fault = ipv4_lookalike(address) if address is not None and as_keys else None
        if fault:
            faults.add(f"{name}[{index}]", fault)
        elif address is not None:
            found.append(address.text)
    return tuple(dict.fromkeys(found))


def read_source(params: Mapping[str, t.Any], name: str, ipv6: bool, faults: Faults) -> str:
    """An option that is an outer source address of one family, or auto."""
    text = str(params[name])
    if text == "auto":
        return text
    address = read_address(text)
    if address is None or address.ipv6 != ipv6:
        told = hidden_in(text) or as_base_60(text, OF_ADDRESS)
        faults.add(name, told or f"{text} is neither auto nor an IPv{6 if ipv6 else 4} address")
        return "auto"
    fault = address_fault(address)
    if fault:
        faults.add(name, fault)
    return address.text


def canonical_reader(value: t.Any, where: str) -> str:
    """Reader of a file's field: an address in any spelling, as canonical text."""
    found = read_address(records.address(value, where))
    return found.text if found is not None else str(value)
