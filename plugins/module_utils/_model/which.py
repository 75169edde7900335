# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which VIPs and reals somebody means, in the few characters that are typed at night. Pure."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Collection

from .addresses import Address, Prefix, read_address
from .errors import EngineError
from .faults import some
from .vips import VipKey, VipName
from .written import visible

_PORT = re.compile(r":(?P<port>[0-9]{1,5})(?:/(?P<protocol>tcp|udp))?")
_NEAR = 3


class Which(t.NamedTuple):
    """What is meant: a VIP by its name, whole or less of it; a port (`port`, `protocol`); a real by its address."""

    text: str
    name: VipName | None = None
    port: int | None = None
    protocol: str | None = None
    real: str | None = None

    def means_vip(self, key: VipKey) -> bool:
        """Whether a VIP is meant; a prefix is, too, by an address in it."""
        if self.port is not None:
            return key.port == self.port and self.protocol in (None, key.protocol)
        if self.name is None:
            return False
        return self.name.means(key) or self._is_in(key)

    def _is_in(self, key: VipKey) -> bool:
        name = self.name
        if name is None or isinstance(name.host, Prefix) or key.prefixlen is None:
            return False
        asked = key.port in (0, name.port) if name.port is not None else True
        holds = Prefix(Address(key.text, key.packed, key.ipv6), key.prefixlen).holds(name.host)
        return holds and asked and name.protocol in (None, key.protocol)

    def means(self, key: VipKey, real: str) -> bool:
        """Whether a real of a VIP is meant: by its own address, or with its VIP."""
        return real == self.real or self.means_vip(key)


def read_which(text: str) -> Which:
    """What is meant. EngineError where it is neither a VIP's name, nor a port, nor an address."""
    found = _PORT.fullmatch(text)
    if found and int(found["port"]) <= 65535:
        return Which(text, port=int(found["port"]), protocol=found["protocol"])
    name, address = VipName.read(text), read_address(text)
    if name is None:
        raise EngineError(
            f"{visible(text)} is neither the name of a VIP, such as 198.51.100.1:443/tcp, 198.51.100.1 or :443, nor a"
            " real's"
        )
    return Which(text, name, real=address.text if address else None)


def unknown(which: Which, vips: Collection[VipKey], reals: Collection[str]) -> EngineError:
    """That nothing is meant, with the names that come nearest."""
    import difflib  # pylint: disable=import-outside-toplevel  # only where a sentence is made of it

    names = [*map(str, sorted(vips)), *reals]
    # Of an address without a port, the first of its ports.
    by_address = {str(key).rpartition(":")[0].strip("[]"): str(key) for key in sorted(vips, reverse=True)}
    near = difflib.get_close_matches(which.text, [*names, *by_address], _NEAR, 0.7)
    told = list(dict.fromkeys(by_address.get(each, each) for each in near))
    if told:
        return EngineError(f"no VIP or real is {which.text}; the nearest: {', '.join(told)}")
    there = f"; there are {some([str(key) for key in sorted(vips)])}" if vips else "; there is no VIP"
    return EngineError(f"no VIP or real is {which.text}{there}")
