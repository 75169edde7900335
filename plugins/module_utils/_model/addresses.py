# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses and prefixes as operators write them: strict textual forms, read into bytes and canonical text."""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Sequence
from functools import lru_cache

from . import layout, records
from .faults import Faults


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
        network = (value & ~_HOST_BITS[length]).to_bytes(layout.ADDRESS_BYTES, "big")
        return f"{text} has host bits set; the network is {layout.unpack_address(network, address.ipv6)}/{length}"
    return Prefix(address, length)


_PADDING = bytes(layout.ADDRESS_BYTES - 4)
_LENGTHS = {str(length): length for length in range(129)}
_HOST_BITS = [(1 << (128 - length)) - 1 for length in range(129)]
"""Prefix length → the bits behind it in the 16 bytes of either family."""


def address_fault(address: Address) -> str | None:
    """Why an address can be neither a VIP nor a real; None where it can."""
    packed = address.packed
    if not any(packed):
        return f"{address.text} is the unspecified address"
    if packed[0] == 0xFF if address.ipv6 else packed[0] >= 224:
        return f"{address.text} is not a unicast address"
    if address.ipv6 and packed.startswith(layout.IPV4_MAPPED):
        return f"{address.text} is an IPv4 address in IPv6 form; write {layout.unpack_address(packed[12:], False)}"
    return None


def ipv4_lookalike(address: Address) -> str | None:
    """Why a map whose key has no family cannot hold an address; None where it can."""
    if address.ipv6 and not any(address.packed[4:]):
        return f"{address.text} ends in twelve zero bytes, as IPv4 addresses do in the kernel's tables"
    return None


@lru_cache(maxsize=1 << 16)
def read_host(text: t.Any) -> Address | str:
    """The address of a host, or the sentence that says why it is none."""
    if text is None:
        return "is missing"
    address = read_address(str(text))
    if address is None:
        return f"{text} is not an IP address"
    return address_fault(address) or address


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


def canonical_reader(value: t.Any, where: str) -> str:
    """Reader of a file's field: an address in any spelling, as canonical text."""
    found = read_address(records.address(value, where))
    return found.text if found is not None else str(value)
