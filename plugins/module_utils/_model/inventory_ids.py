# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server ids of a fleet: each is one host's, and balancers know it as that one's. Pure: no I/O."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence

from .inventory import canonical
from .shape import is_number
from .written import number_fault

_LARGEST = 0xFFFFFFFF


class Named(t.NamedTuple):
    """What a real's variables say of ids. `units` None: nothing. 0 is no id."""

    id: int = 0
    addresses: tuple[str, ...] = ()
    units: tuple[str, ...] | None = None
    fallback: int = 0


def as_id(value: t.Any) -> int:
    """An id; 0 for what is none, of which another check tells."""
    number = int(value) if isinstance(value, str) and number_fault(value) is None else value
    return number if is_number(number, 1, _LARGEST) else 0


def led(rows: Iterable[t.Any]) -> dict[int, str]:
    """Id → real, of the rows of a balancer's table that say both."""
    found = {}
    for row in rows:
        number = as_id(row.get("id")) if isinstance(row, Mapping) else 0
        if number:
            found[number] = canonical(row.get("real"))
    return found


def id_faults(reals: Mapping[str, Named], tables: Sequence[Mapping[int, str]]) -> dict[str, list[str]]:
    """Host → what is wrong with its id. `tables`: those of the balancers."""
    found: dict[str, list[str]] = {}
    hosts: dict[int, list[str]] = {}
    owner = {canonical(address): host for host, real in reals.items() for address in real.addresses}
    for host, real in reals.items():
        if real.id:
            hosts.setdefault(real.id, []).append(host)
    for number, names in hosts.items():
        for host in names:
            # One host may be in an inventory by several names.
            mine = frozenset(map(canonical, reals[host].addresses))
            others = [each for each in names if each != host and mine.isdisjoint(map(canonical, reals[each].addresses))]
            if others:
                found.setdefault(host, []).append(
                    f"katran_server_id {number} is {', '.join(others)}'s too: an id names one host"
                )
            wrong = {table[number] for table in tables if number in table} - mine
            found.setdefault(host, []).extend(
                f"katran_server_id is {number}, but katran_server_ids has that lead to {real}, which is {owner[real]}"
                for real in sorted(wrong)
                if owner.get(real, host) not in (host, *names)
            )
    return {host: sentences for host, sentences in found.items() if sentences}


class Knows(t.NamedTuple):
    """What a balancer knows: the `ids` of its table with their reals, and its `vips`."""

    ids: Mapping[int, str]
    vips: frozenset[t.Any]


def known_ids(entries: Mapping[str, Sequence[t.Any]]) -> Knows:
    """What a balancer of these resources knows. They need not be valid."""
    vips = [vip for vip in entries.get("vips") or () if isinstance(vip, Mapping)]
    keys = ((canonical(vip.get("address")), str(vip.get("port")), str(vip.get("protocol"))) for vip in vips)
    return Knows(led(entries.get("server_ids") or ()), frozenset(keys))


def divided(balancers: Mapping[str, Knows], reals: Mapping[str, Named]) -> dict[str, list[str]]:
    """Host → ids that lead elsewhere on another balancer of one of its VIPs: routers may send a flow to either."""
    owner = {canonical(address): host for host, real in reals.items() for address in real.addresses}
    led_to: dict[int, dict[str, list[str]]] = {}
    for host, knows in balancers.items():
        for number, real in knows.ids.items():
            led_to.setdefault(number, {}).setdefault(owner.get(real, real), []).append(host)
    found: dict[str, list[str]] = {}
    for number, by_owner in sorted(led_to.items()):
        if len(by_owner) < 2:
            continue
        places = [(host, mine) for mine, hosts in by_owner.items() for host in hosts]
        for host, mine in places:
            for other, theirs in places:
                if theirs != mine and not balancers[host].vips.isdisjoint(balancers[other].vips):
                    found.setdefault(host, []).append(
                        f"katran_server_ids: id {number} leads to {balancers[host].ids[number]} here and to"
                        f" {balancers[other].ids[number]} on {other}, which has the same VIPs: connections that carry"
                        " it break where they reach the other balancer"
                    )
                    break
    return found


def id_warnings(reals: Mapping[str, Named], tables: Sequence[Mapping[int, str]]) -> dict[str, list[str]]:
    """Host → what is valid and does not do what it seems to, of the hosts whose connections are to carry ids."""
    found: dict[str, list[str]] = {}
    hosts = {real.id: host for host, real in reals.items() if real.id}
    for host, real in reals.items():
        sentences = [_useless(real, tables), _misleading(host, real, hosts)] if real.units else []
        if any(sentences):
            found[host] = [sentence for sentence in sentences if sentence]
    return found


def _misleading(host: str, real: Named, hosts: Mapping[int, str]) -> str:
    other = hosts.get(real.fallback, host)
    # A host that has an id names itself by that alone.
    if other == host or real.id:
        return ""
    return (
        f"katran_server_id_fallback {real.fallback} is katran_server_id of {other}: connections of this host that carry"
        " it go there, and break"
    )


def _useless(real: Named, tables: Sequence[Mapping[int, str]]) -> str:
    if not real.id and not real.fallback:
        return (
            "katran_server_id_units is set, but no katran_server_id: these units echo the ids of others, and their own"
            " connections name nobody"
        )
    if real.id and tables and not any(real.id in table for table in tables):
        return (
            f"katran_server_id {real.id} is in no balancer's katran_server_ids: connections that carry it are balanced"
            " like any other"
        )
    return ""
