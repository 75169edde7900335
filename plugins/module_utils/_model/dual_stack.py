# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs that an inventory says once for several addresses, mostly one of each family. Pure: no I/O.

The modules know one address of a VIP. So an entry with `addresses` becomes an entry for each, with what goes together
with its family. What is wrong with it is told of the entry as it stands in the inventory.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence

ADDRESSES: Mapping[str, t.Any] = {"type": "list", "elements": "str"}
"""The option `addresses` of an entry of katran_vips, beside those of module vips."""


class Origin(t.NamedTuple):
    """From which entry of the inventory one of the expanded ones is: its index, its address, and those of its reals."""

    entry: int
    address: str
    reals: tuple[int, ...]


def expanded(vips: Sequence[t.Any]) -> tuple[list[t.Any], dict[int, Origin]]:
    """An entry for each address, and for those that are not as they stand there, from where they are.

    The first address takes the entry's place and others come at the end, so that all other entries keep their index.
    """
    found: list[t.Any] = []
    more: list[tuple[t.Any, Origin]] = []
    origins: dict[int, Origin] = {}
    for index, vip in enumerate(vips):
        if not isinstance(vip, Mapping) or vip.get("addresses") is None:
            found.append(vip)
            continue
        for number, address in enumerate(_addresses(vip)):
            entry, reals = _one(vip, address, number == 0)
            origin = Origin(index, str(address), reals)
            if number == 0:
                origins[index] = origin
                found.append(entry)
            else:
                more.append((entry, origin))
    for entry, origin in more:
        origins[len(found)] = origin
        found.append(entry)
    return found, origins


def _addresses(vip: Mapping[str, t.Any]) -> list[t.Any]:
    """The addresses of an entry; at least one, which may be none."""
    listed = vip["addresses"]
    own = [] if vip.get("address") is None else [vip["address"]]
    return [*own, *(listed if isinstance(listed, (list, tuple)) else [listed])] or [None]


def _one(vip: Mapping[str, t.Any], address: t.Any, first: bool) -> tuple[dict[str, t.Any], tuple[int, ...]]:
    """The entry of one address, and which of the reals it has. `first`: it also has what is of no family."""
    ipv6 = ":" in str(address)
    entry = {name: value for name, value in vip.items() if name not in ("address", "addresses")}
    entry["address"] = address
    kept: tuple[int, ...] = ()
    if isinstance(vip.get("reals"), (list, tuple)):
        kept = _of_family([_address(real) for real in vip["reals"]], ipv6, first)
        entry["reals"] = [vip["reals"][number] for number in kept]
    if isinstance(vip.get("down_reals"), (list, tuple)):
        entry["down_reals"] = [
            vip["down_reals"][number] for number in _of_family(list(map(str, vip["down_reals"])), ipv6, first)
        ]
    for name in ("allow", "deny"):
        if isinstance(vip.get(name), (list, tuple)):
            entry[name] = [client for client in vip[name] if (":" in str(client)) == ipv6]
    check = vip.get("check")
    if isinstance(check, Mapping) and check.get("address") is not None and (":" in str(check["address"])) != ipv6:
        entry["check"] = {name: value for name, value in check.items() if name != "address"}
    if isinstance(vip.get("quic_lb"), (list, tuple)):
        entry["quic_lb"] = [_config(config, ipv6, first) for config in vip["quic_lb"]]
    return entry, kept


def _address(real: t.Any) -> str:
    return str(real.get("address")) if isinstance(real, Mapping) else ""


def _of_family(addresses: Sequence[str], ipv6: bool, first: bool) -> tuple[int, ...]:
    """The indexes of those that a VIP of a family has: its own family's; where IPv4 has none, IPv6 as well.

    What looks like no address is told once, of the first entry.
    """
    kinds = ["6" if ":" in address else "4" if "." in address else "" for address in addresses]
    wanted = "6" if ipv6 or "4" not in kinds else "4"
    return tuple(index for index, kind in enumerate(kinds) if kind == wanted or (not kind and first))


def _config(config: t.Any, ipv6: bool, first: bool) -> t.Any:
    """A configuration of quic_lb with the servers of a family."""
    if not isinstance(config, Mapping) or not isinstance(config.get("servers"), (list, tuple)):
        return config
    servers = config["servers"]
    reals = [str(server.get("real")) if isinstance(server, Mapping) else "" for server in servers]
    return {**config, "servers": [servers[number] for number in _of_family(reals, ipv6, first)]}


_PLACE = re.compile(r"\bvips\[([0-9]+)\](?:\.reals\[([0-9]+)\])?")


def as_written(sentences: str, origins: Mapping[int, Origin]) -> str:
    """Sentences about expanded entries, about those of the inventory; what is of several addresses, once."""
    if not origins:
        return sentences
    found: dict[str, list[str]] = {}
    for sentence in re.split(r"; (?=vips\[[0-9]+\])", sentences):
        addresses = [origins[int(each[1])].address for each in _PLACE.finditer(sentence) if int(each[1]) in origins]
        found.setdefault(_PLACE.sub(lambda each: _written(each, origins), sentence), []).extend(addresses[:1])
    # Of which address it is, a sentence need not say that is of all.
    several = {origin.entry for origin in origins.values() if origins.get(origin.entry) is not origin}
    return "; ".join(
        sentence.replace("]", f"] ({addresses[0]})", 1)
        if len(addresses) == 1 and int(_PLACE.findall(sentence)[0][0]) in several
        else sentence
        for sentence, addresses in found.items()
    )


def _written(place: re.Match[str], origins: Mapping[int, Origin]) -> str:
    """The place in the inventory of a place among the expanded entries."""
    origin = origins.get(int(place[1]))
    if origin is None:
        return place[0]
    if not place[2]:
        return f"vips[{origin.entry}]"
    real = int(place[2])
    return f"vips[{origin.entry}].reals[{origin.reals[real] if real < len(origin.reals) else real}]"
