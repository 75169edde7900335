# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules by which chains that drop what comes in accept tunnels. Pure: no I/O.

An accept in a table of ours would not do: every chain of a hook is passed, and one that drops is enough. So the rules
stand at the top of the chains that drop, and whoever loads those anew takes them away until the next run.
"""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .steps import Phase

if t.TYPE_CHECKING:
    from .program_plan import ProgramPlan

COMMENT = "katran.fleet"
IPIP, IPV6, UDP = 4, 41, 17
_SPELT_OUT = 32
"""So many prefixes have a rule each in a table of iptables."""

_NUMBERS = {"ipip": IPIP, "ipencap": IPIP, "ipv6": IPV6, "udp": UDP}


class Rule(t.NamedTuple):
    """What is accepted: outer packets of a family (ip, ip6) and protocol, at a port of UDP (0: any), from prefixes.

    None of them: from everywhere.
    """

    family: str
    protocol: int
    port: int
    prefixes: frozenset[str]

    def text(self, table_family: str) -> str:
        """The rule for nft, in a table of that family."""
        if self.prefixes:
            members = sorted(self.prefixes)
            parts = [f"{self.family} saddr {members[0] if len(members) == 1 else '{ ' + ', '.join(members) + ' }'}"]
        else:
            nfproto = {"ip": "ipv4", "ip6": "ipv6"}[self.family]
            parts = [f"meta nfproto {nfproto}"] if table_family == "inet" else []
        parts.append(f"udp dport {self.port}" if self.port else f"meta l4proto {self.protocol}")
        return " ".join([*parts, f'accept comment "{COMMENT}"'])


class OwnRule(t.NamedTuple):
    """A rule of ours as it stands in a chain: how many are before it, its handle, and what it accepts."""

    position: int
    handle: int
    rule: Rule | None


@dataclass(frozen=True)
class Chain:
    """A base chain that packets to this host pass: whether it drops some that nobody accepts, and our rules in it."""

    family: str
    table: str
    name: str
    drops: bool
    ours: tuple[OwnRule, ...] = ()

    @property
    def label(self) -> str:
        """How sentences call it."""
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True)
class AcceptTunnels:
    """Have these rules at the top of a chain, in place of those with these handles."""

    phase: t.ClassVar[Phase] = Phase.MAKE_WAY
    chain: Chain
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class TakeBack:
    """Have no rule of ours in a chain."""

    phase: t.ClassVar[Phase] = Phase.LEAVE
    chain: Chain
    rules: tuple[Rule, ...] = ()


def script(chain: Chain, rules: Sequence[Rule]) -> str:
    """What nft is to do, in one step."""
    where = f"{chain.family} {chain.table} {chain.name}"
    lines = [f"delete rule {where} handle {own.handle}" for own in chain.ours]
    lines += [f"insert rule {where} {rule.text(chain.family)}" for rule in reversed(rules)]
    return "\n".join(lines) + "\n"


def wanted_rules(sources: Iterable[str], ports: Collection[int]) -> list[Rule]:
    """What is to be accepted: tunnels from these prefixes. The kernel has no device for IPv6 in IPv4."""
    networks = [ipaddress.ip_network(source) for source in sources]
    found = []
    for version, family, protocols in ((4, "ip", (IPIP,)), (6, "ip6", (IPIP, IPV6))):
        mine = [each for each in networks if each.version == version]
        if mine:
            prefixes = _texts(mine)
            found += [Rule(family, protocol, 0, prefixes) for protocol in protocols]
            found += [Rule(family, UDP, port, prefixes) for port in sorted(ports)]
    return found


def _texts(networks: Iterable[t.Any]) -> frozenset[str]:
    """Without overlaps, which a set of nft does not take; an address without its length."""
    collapsed = list(ipaddress.collapse_addresses(networks))
    if any(each.prefixlen == 0 for each in collapsed):
        return frozenset()
    return frozenset(str(each.network_address) if each.num_addresses == 1 else str(each) for each in collapsed)


def plan_firewall(plan: ProgramPlan, wanted: Sequence[Rule], chains: Iterable[Chain]) -> list[str]:
    """Have these rules in chains that drop, and no others of ours; returns the chains that have some."""
    having = []
    for chain in chains:
        rules = list(_for_chain(wanted, chain)) if chain.drops else []
        if rules:
            having.append(chain.label)
        there = [(own.position, own.rule) for own in chain.ours]
        if there == list(enumerate(rules)):
            continue
        if rules:
            plan.add(AcceptTunnels(chain, tuple(rules)), f"accept tunnels in chain {chain.label} of nftables")
        else:
            plan.add(TakeBack(chain), f"accept tunnels in chain {chain.label} of nftables no more")
    return having


def _for_chain(wanted: Iterable[Rule], chain: Chain) -> Iterator[Rule]:
    """The rules of a chain. In a table of iptables a set is not told by iptables-save, and would be lost with that."""
    for each in wanted:
        if chain.family == "inet" or len(each.prefixes) > _SPELT_OUT:
            found = [each]
        else:
            found = [each._replace(prefixes=frozenset({one})) for one in sorted(each.prefixes)] or [each]
        yield from (rule for rule in found if chain.family in (rule.family, "inet"))


# What nft tells, as JSON.

Json = Mapping[str, t.Any]


def read_chain(about: Json, rules: Sequence[Json]) -> Chain:
    """A chain from what nft tells of it and its rules."""
    ours, drops = [], about.get("policy") == "drop"
    for position, rule in enumerate(rules):
        if rule.get("comment") == COMMENT:
            ours.append(OwnRule(position, rule["handle"], read_rule(rule.get("expr", ()), about["family"])))
        else:
            drops = drops or is_drop(rule.get("expr", ()))
    return Chain(about["family"], about["table"], about["name"], drops, tuple(ours))


def is_drop(expressions: Iterable[Json]) -> bool:
    """Whether a rule drops or rejects whatever comes, or whatever is of some protocol."""
    ends = False
    for each in expressions:
        if "drop" in each or "reject" in each or (each.get("xt") or {}).get("name") in ("DROP", "REJECT"):
            ends = True
        elif "match" in each:
            left = each["match"].get("left", {})
            meta, payload = left.get("meta", {}), left.get("payload", {})
            if meta.get("key") not in ("l4proto", "nfproto") and payload.get("field") not in ("protocol", "nexthdr"):
                return False
        elif not {"counter", "log", "comment"}.intersection(each):
            return False
    return ends


def read_rule(expressions: Iterable[Json], table_family: str) -> Rule | None:
    """What a rule of ours accepts; None where it is not as we made it."""
    family, protocol, port, prefixes = table_family, 0, 0, frozenset[str]()
    accepts = False
    for each in expressions:
        match = each.get("match")
        if match is None:
            accepts = accepts or "accept" in each
            if not {"accept", "counter"}.intersection(each):
                return None
            continue
        left, right = match.get("left", {}), match.get("right")
        meta, payload = left.get("meta", {}).get("key"), left.get("payload", {})
        if match.get("op") not in ("==", "in"):
            return None
        if meta == "l4proto":
            protocol = _NUMBERS.get(str(right), right if isinstance(right, int) else 0)
        elif meta == "nfproto":
            family = {"ipv4": "ip", "ipv6": "ip6", 2: "ip", 10: "ip6"}.get(right, "")
        elif payload.get("field") == "saddr":
            family, prefixes = payload.get("protocol", ""), _prefixes(right)
        elif (payload.get("protocol"), payload.get("field")) == ("udp", "dport"):
            protocol, port = UDP, right
        else:
            return None
    return Rule(family, protocol, port, prefixes) if accepts else None


def _prefixes(right: t.Any) -> frozenset[str]:
    members = right["set"] if isinstance(right, Mapping) and "set" in right else [right]
    networks: list[t.Any] = []
    for each in members:
        if isinstance(each, str):
            networks.append(ipaddress.ip_network(each))
        elif "prefix" in each:
            networks.append(ipaddress.ip_network(f"{each['prefix']['addr']}/{each['prefix']['len']}"))
        elif "range" in each:
            first, last = (ipaddress.ip_address(end) for end in each["range"])
            networks += ipaddress.summarize_address_range(t.cast("t.Any", first), t.cast("t.Any", last))
    return _texts(networks)
