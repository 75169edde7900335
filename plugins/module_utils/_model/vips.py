# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs: what they are, and their configuration's own form."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import itemgetter

from . import layout
from .addresses import Address, Prefix, read_address, read_prefix
from .checks import Announce, Check
from .entries import Config
from .quic_lb import QuicLb

HASHES = ("maglev_v2", "maglev_v1")
REAL_STATES = ("active", "draining", "down")
MAX_WEIGHT = 10_000
MORE_VIPS = "and {} more VIPs"
DEFAULT_HASH = "maglev_v2"

_NAME = re.compile(
    r"(?:\[(?P<inside>[0-9A-Fa-f:.]+(?:/[0-9]+)?)\]|(?P<host>[^:\[\]]+?))(?::(?P<port>[0-9]{1,5})(?:/(?P<protocol>tcp|udp))?)?"
)


class VipName(t.NamedTuple):
    """What a name says of a VIP, such as 198.51.100.0/24 or [2001:db8::1]:443/udp; None where it does not."""

    host: Address | Prefix
    port: int | None
    protocol: str | None

    @classmethod
    def read(cls, text: str) -> VipName | None:
        """A name, whole or cut short from its end; None where it is none."""
        # An IPv6 address without brackets has colons of its own, and so no port.
        found = None if text.count(":") > 1 and "[" not in text else _NAME.fullmatch(text)
        name = text if found is None else found["inside"] or found["host"]
        host = read_prefix(name) if "/" in name else read_address(name)
        port = int(found["port"]) if found and found["port"] else None
        if host is None or isinstance(host, str) or (port is not None and port > 65535):
            return None
        return cls(host, port, found["protocol"] if found else None)

    def means(self, key: VipKey) -> bool:
        """Whether a VIP is called so; what the name leaves out is any."""
        port = key.port if self.port is None else self.port
        return VipKey.at(self.host, port, self.protocol or key.protocol) == key


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
        return cls(ipv6, packed, prefixlen, port, protocol, layout.unpack_address(packed, ipv6))

    @classmethod
    def at(cls, host: Address | Prefix, port: int, protocol: str) -> VipKey:
        """A key from an address or a prefix."""
        address, length = (host.address, host.length) if isinstance(host, Prefix) else (host, None)
        return cls(address.ipv6, address.packed, length, port, protocol, address.text)

    @classmethod
    def of_definition(cls, key: bytes) -> VipKey:
        """A key from a vip_definition; one of a protocol that no VIP has bears its number."""
        packed, port, protocol = layout.parse_vip_definition(key)
        # The key does not tell the family: no IPv6 VIP has 12 zero bytes at its end.
        return cls.of(packed, any(packed[4:]), None, port, layout.PROTOCOL_NAMES.get(protocol, str(protocol)))

    @classmethod
    def read(cls, name: str) -> VipKey:
        """A key from what str() makes of it; ValueError where it is none."""
        found = VipName.read(name)
        if found is None or found.port is None or found.protocol is None:
            raise ValueError(f"{name} is not the name of a VIP")
        return cls.at(found.host, found.port, found.protocol)

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
    """A VIP with all its options. Reals, down_reals and prefixes are sorted by address, flags by bit, quic_lb by id."""

    key: VipKey
    flags: tuple[str, ...] = ()
    hash: str = DEFAULT_HASH
    reals: tuple[VipReal, ...] = ()
    down_reals: tuple[str, ...] = ()
    check: Check | None = None
    announce: Announce | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    quic_lb: tuple[QuicLb, ...] = ()


_REAL = itemgetter(*VipReal._fields)


def sorted_flags(flags: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(flags), key=lambda flag: layout.VIP_FLAGS[flag]))


def vip_to_config(vip: Vip) -> dict[str, t.Any]:
    """The VIP in config's own form, every option given: feeding it back changes nothing."""
    found: dict[str, t.Any] = {
        "address": vip.key.address,
        "port": vip.key.port,
        "protocol": vip.key.protocol,
        "flags": list(vip.flags),
        "hash": vip.hash,
        "reals": [real._asdict() for real in vip.reals],
        "down_reals": list(vip.down_reals),
    }
    # No list is not an empty one, which would let nobody in.
    found.update((name, list(prefixes)) for name, prefixes in (("allow", vip.allow), ("deny", vip.deny)) if prefixes)
    if vip.check is not None:
        found["check"] = vip.check.to_config()
    if vip.announce is not None:
        found["announce"] = vip.announce.to_config()
    if vip.quic_lb:
        found["quic_lb"] = [config.to_config() for config in vip.quic_lb]
    return found


def vips_from_config(config: Config) -> dict[VipKey, Vip]:
    """VIPs from their own form in state.json, which was validated when it was read."""
    found = {}
    for entry in config:
        host = read_prefix(entry["address"]) if "/" in entry["address"] else read_address(entry["address"])
        key = VipKey.at(t.cast("Address | Prefix", host), entry["port"], entry["protocol"])
        found[key] = Vip(
            key,
            tuple(entry["flags"]),
            entry["hash"],
            tuple(map(VipReal._make, map(_REAL, entry["reals"]))),
            tuple(entry["down_reals"]),
            Check.from_config(entry["check"]) if entry.get("check") else None,
            Announce.from_config(entry["announce"]) if entry.get("announce") else None,
            tuple(entry.get("allow", ())),
            tuple(entry.get("deny", ())),
            tuple(map(QuicLb.from_config, entry.get("quic_lb", ()))),
        )
    return found
