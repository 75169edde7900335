# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flows of a connection table are meant.

A flow's key holds the VIP's address, and its port and the client's port as the VIP's flags leave them: port 0 for a VIP
of any port or of a prefix, client port 0 with hash_no_src_port.
"""

from __future__ import annotations

import struct
import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from . import layout
from .addresses import Address, Prefix, mapped_fault, read_address, read_known_host, read_prefix
from .faults import Faults
from .options import Spec
from .vips import VipKey, VipName
from .written import hidden_in

FLOW_FILTERS: Spec = {"vip": {"type": "str"}, "real": {"type": "str"}, "client": {"type": "str"}}
KEY_BYTES = 40
_ZERO12 = bytes(12)


@dataclass(frozen=True)
class Selection:
    """Which flows: those that agree with everything that is given. `ids` are real ids; an empty set selects none.

    `vip` is an address or prefix; `port` 0 and prefixes take every port that has no VIP of its own in `exact`, the
    keys of vip_map. `spare` says of a flow's key that it is not meant after all.
    """

    vip: Prefix | None = None
    port: int | None = None
    protocol: int | None = None
    client: Prefix | None = None
    ids: frozenset[int] | None = None
    exact: Collection[bytes] = ()
    spare: Callable[[bytes], bool] | None = None

    def is_everything(self) -> bool:
        """Whether it leaves no flow out."""
        return self == Selection(exact=self.exact)


def _whole(address: Address) -> Prefix:
    return Prefix(address, 128 if address.ipv6 else 32)


Check = Callable[[bytes, int], bool]
_KEEPS_PORT = layout.VIP_FLAGS["hash_dst_port_only"] | layout.VIP_FLAGS["hash_src_dst_port"]


class Owners:
    """The VIPs that stay, asked whose a flow may be. `vips`: (VIP, flags)."""

    def __init__(self, vips: Iterable[tuple[VipKey, int]]) -> None:
        self._exact: dict[bytes, list[tuple[VipKey, bool]]] = {}
        self._prefixes: list[tuple[Check, VipKey, bool]] = []
        for vip, flags in vips:
            keeps = bool(flags & _KEEPS_PORT)
            if vip.prefixlen is None:
                self._exact.setdefault(vip.packed, []).append((vip, keeps))
            else:
                prefix = Prefix(Address(vip.text, vip.packed, vip.ipv6), vip.prefixlen)
                self._prefixes.append((_within(prefix, 16), vip, keeps))

    def others(self, gone: VipKey, key: bytes) -> bool:
        """Whether a flow that a VIP which goes may have had may as well be another's.

        The program's order (datapath, step 6) decides where the key tells the port; where the VIP has the port
        forgotten, it tells only of VIPs of one port.
        """
        port = int.from_bytes(key[34:36], "big")
        covering = self._exact.get(key[16:32], []) + [
            (vip, keeps) for within, vip, keeps in self._prefixes if within(key, 0)
        ]
        for vip, keeps in covering:
            if layout.PROTOCOLS[vip.protocol] != key[36]:
                continue
            knows_port = keeps or _rank(vip)[0] == 0
            if port and knows_port and vip.port in (0, port) and _rank(vip) < _rank(gone):
                return True
            if not port and not knows_port and (vip.port != gone.port or _rank(vip) < _rank(gone)):
                return True
        return False


def _rank(vip: VipKey) -> tuple[int, int]:
    """Where a VIP stands in the order in which the program looks for one."""
    by_prefix = vip.prefixlen is not None
    return (0 if vip.port else 2) + by_prefix, -(vip.prefixlen or 0)


def vip_selection(
    vip: VipKey,
    exact: Collection[bytes] = (),
    ids: frozenset[int] | None = None,
    spare: Callable[[bytes], bool] | None = None,
) -> Selection:
    """The flows of a VIP, to these reals (None: to any). `exact`: the keys of vip_map; `spare`: as in Selection."""
    address = Address(vip.text, vip.packed, vip.ipv6)
    prefix = _whole(address) if vip.prefixlen is None else Prefix(address, vip.prefixlen)
    return Selection(prefix, vip.port, layout.PROTOCOLS[vip.protocol], None, ids, exact, spare)


def parse_filters(params: Mapping[str, t.Any], exact: Collection[bytes], reals: Mapping[str, int]) -> Selection:
    """The options vip, real and client. ConfigError lists all faults. `reals`: address → id, as the kernel has them."""
    faults = Faults()
    vip, port, protocol = _read_vip(params.get("vip"), faults)
    client = _read_client(params.get("client"), faults)
    ids = None
    if params.get("real") is not None:
        address = read_known_host(params["real"])
        fault = address if isinstance(address, str) else mapped_fault(address)
        if isinstance(address, str) or fault:
            faults.add("real", str(fault))
        elif address.text in reals:
            ids = frozenset((reals[address.text],))
        else:
            ids = frozenset()
    faults.check()
    return Selection(vip, port, protocol, client, ids, exact)


def _read_vip(text: str | None, faults: Faults) -> tuple[Prefix | None, int | None, int | None]:
    if text is None:
        return None, None, None
    name = VipName.read(text)
    if name is None:
        told = f"{text} is no VIP; write one as 198.51.100.1, 198.51.100.1:443/tcp or [2001:db8::1]:443/udp"
        faults.add("vip", hidden_in(text) or told)
        return None, None, None
    prefix = name.host if isinstance(name.host, Prefix) else _whole(name.host)
    fault = mapped_fault(prefix.address)
    if fault:
        faults.add("vip", fault)
    return prefix, name.port, layout.PROTOCOLS[name.protocol] if name.protocol else None


def _read_prefix(text: str) -> Prefix | None:
    address = read_address(text)
    if address is not None:
        return _whole(address)
    prefix = read_prefix(text) if "/" in text else None
    return prefix if isinstance(prefix, Prefix) else None


def _read_client(text: str | None, faults: Faults) -> Prefix | None:
    if text is None:
        return None
    prefix = _read_prefix(str(text))
    if prefix is None:
        faults.add("client", hidden_in(str(text)) or f"{text} is neither an IP address nor a prefix")
    elif fault := mapped_fault(prefix.address):
        faults.add("client", fault)
    return prefix


class Matcher:
    """Whether a flow is in one of several selections; many VIPs cost no more than one."""

    def __init__(self, selections: Iterable[Selection]) -> None:
        self._everything = False
        self._ids: set[int] = set()
        self._vips: dict[bytes, frozenset[int] | None] = {}
        self._rest: list[list[Check]] = []
        for each in selections:
            self._add(each)

    def _add(self, each: Selection) -> None:
        bits = 128 if each.vip and each.vip.address.ipv6 else 32
        if each.is_everything():
            self._everything = True
        elif each == Selection(ids=each.ids, exact=each.exact):
            self._ids.update(each.ids or ())
        elif each.vip and each.vip.length == bits and each.port and each.protocol and not each.client:
            key = each.vip.address.packed + struct.pack(">HB", each.port, each.protocol)
            before = self._vips.get(key, frozenset())
            self._vips[key] = None if before is None or each.ids is None else before | each.ids
        else:
            self._rest.append(_checks(each))

    def __call__(self, key: bytes, real: int) -> bool:
        """Whether the flow with this key, to the real with this id, is selected."""
        if self._everything or real in self._ids:
            return True
        name = key[16:32] + key[34:37]
        if name in self._vips:
            ids = self._vips[name]
            if ids is None or real in ids:
                return True
        return any(all(check(key, real) for check in checks) for checks in self._rest)


def _checks(each: Selection) -> list[Check]:
    """The tests of one selection, the cheapest first."""
    found: list[Check] = []
    ids, protocol, exact = each.ids, each.protocol, frozenset(each.exact)
    if ids is not None:
        found.append(lambda _key, real: real in ids)
    if protocol is not None:
        found.append(lambda key, _real: key[36] == protocol)
    if each.port:
        port = each.port.to_bytes(2, "big")
        if each.vip is not None and each.vip.length == (128 if each.vip.address.ipv6 else 32):
            found.append(lambda key, _real: key[34:36] == port)
        else:
            found.append(lambda key, _real: key[34:36] in (port, b"\0\0"))
    if each.vip is not None:
        found.append(_within(each.vip, 16))
    if each.client is not None:
        found.append(_within(each.client, 0))
    if each.port == 0:
        # The kernel finds the exact VIP first, so what it matches belongs to that.
        found.append(lambda key, _real: key[34:36] == b"\0\0" or key[16:32] + key[34:37] + b"\0" not in exact)
    spare = each.spare
    if spare is not None:
        found.append(lambda key, _real: not spare(key))
    return found


def _within(prefix: Prefix, offset: int) -> Check:
    """Whether the address at this offset of a key lies in a prefix."""
    packed, length = prefix.address.packed, prefix.length
    if prefix.address.ipv6:
        shift, value = 128 - length, int.from_bytes(packed, "big") >> (128 - length)
        return lambda key, _real: is_ipv6(key) and int.from_bytes(key[offset : offset + 16], "big") >> shift == value
    if length == 32:
        return lambda key, _real: key[offset : offset + 16] == packed
    shift, value = 32 - length, int.from_bytes(packed[:4], "big") >> (32 - length)
    return lambda key, _real: not is_ipv6(key) and int.from_bytes(key[offset : offset + 4], "big") >> shift == value


def is_ipv6(key: bytes) -> bool:
    """Whether a flow is of IPv6: the key does not tell, but an IPv4 address leaves 12 bytes zero."""
    return key[4:16] != _ZERO12 or key[20:32] != _ZERO12
