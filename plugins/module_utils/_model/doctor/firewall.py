# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether nftables surely drops a packet, by what `nft -j list ruleset` prints (libnftables-json(5)).

Much of a packet is not known: which client it comes from, what marks it has. A rule that asks for that may match or
not. Only what is dropped either way is told, since a rule for some clients is somebody's will.
"""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Iterable, Mapping, Sequence

Json = Mapping[str, t.Any]

INCOMING, OUTGOING = ("ingress", "prerouting", "input"), ("output", "postrouting")
"""The hooks that a packet to the host itself meets, and one from it."""

_PROTOCOLS = {"icmp": 1, "ipencap": 4, "ipv4": 4, "tcp": 6, "udp": 17, "ipv6": 41, "icmpv6": 58, "ipv6-icmp": 58}
"""As /etc/protocols and nftables call them; of the others, none is in a tunnel."""

_PORTS = ("tcp", "udp", "th")
_DEPTH = 16


class Packet(t.NamedTuple):
    """What is known of a packet; "" and 0: not known, and any value may be asked for. `protocol`: its number.

    `interface`: by which it comes in; `out`: by which it leaves. `state`: of connection tracking.
    """

    source: str = ""
    destination: str = ""
    protocol: int = 0
    source_port: int = 0
    destination_port: int = 0
    interface: str = ""
    state: str = "new"
    out: str = ""

    @property
    def ipv6(self) -> bool:
        """Its family."""
        return ":" in (self.destination or self.source)

    @classmethod
    def to(cls, address: str, protocol: int = 0, port: int = 0, interface: str = "") -> Packet:
        """One from any client."""
        return cls(destination=address, protocol=protocol, destination_port=port, interface=interface)

    def answer(self, out: str = "") -> Packet:
        """One back, by an interface."""
        return Packet(
            source=self.destination,
            protocol=self.protocol,
            source_port=self.destination_port,
            state="established",
            out=out,
        )


class Ruleset:
    """The tables, chains, rules and sets of a host."""

    def __init__(self, items: Iterable[Json]) -> None:
        self._chains: dict[tuple[str, str, str], Json] = {}
        self._rules: dict[tuple[str, str, str], list[Json]] = {}
        self._sets: dict[tuple[str, str, str], Json] = {}
        for item in items:
            for kind, value in item.items():
                if kind == "chain":
                    self._chains[value["family"], value["table"], value["name"]] = value
                elif kind == "rule":
                    self._rules.setdefault((value["family"], value["table"], value["chain"]), []).append(value)
                elif kind in ("set", "map"):
                    self._sets[value["family"], value["table"], value["name"]] = value

    def drops(self, packet: Packet, hooks: Sequence[str] = INCOMING) -> str:
        """What surely drops the packet, in words; "" where nothing does."""
        families = ("ip6", "inet") if packet.ipv6 else ("ip", "inet")
        for hook in hooks:
            there = [(key, chain) for key, chain in self._chains.items() if chain.get("hook") == hook]
            for key, chain in sorted(there, key=lambda each: int(each[1].get("prio", 0))):
                if key[0] not in families and not (key[0] == "netdev" and _is_on(chain, packet.interface)):
                    continue
                said = self._walk(key, packet, _DEPTH)
                if said.verdict == "drop":
                    return said.words
                if said.verdict == "" and not said.doubt and chain.get("policy") == "drop":
                    return f"{_named(key)}, whose policy is drop and which has no rule that accepts it"
                if said.verdict == "rewritten":
                    return ""
        return ""

    def _walk(self, key: tuple[str, str, str], packet: Packet, depth: int) -> _Said:
        """What a chain says: accept, drop, "" at its end, rewritten where it is another packet afterwards."""
        doubt = False
        for rule in self._rules.get(key, ()):
            said = self._rule(key, rule, packet, depth)
            doubt = doubt or said.doubt
            if said.verdict == "return":
                break
            if said.verdict == "drop" and doubt:
                return _Said("", True)
            if said.verdict:
                return _Said(said.verdict, doubt, said.words)
        return _Said("", doubt)

    def _rule(self, key: tuple[str, str, str], rule: Json, packet: Packet, depth: int) -> _Said:
        sure = True
        for each in rule["expr"]:
            kind, value = next(iter(each.items()))
            if kind == "match":
                matched = self._matches(key, value, packet)
                if matched is False:
                    return _NOTHING
                sure = sure and matched is True
            elif kind == "vmap":
                value = self._chosen(key, value, packet)
                if value is None:
                    return _Said("", True)
                kind, value = next(iter(value.items()), ("", None))
            elif kind in ("limit", "quota", "xt", "synproxy", "queue"):
                # What it takes, or what becomes of that, cannot be known.
                sure = False
            said = self._action(key, kind, value, packet, depth)
            if said is None:
                continue
            if sure:
                return said._replace(words=said.words or f"a rule (handle {rule.get('handle')}) of {_named(key)}")
            # It may be dropped here; it may be taken here.
            return _NOTHING if said.verdict == "drop" else _Said("", True)
        return _NOTHING if sure else _Said("", self._may_take(rule))

    @staticmethod
    def _may_take(rule: Json) -> bool:
        return any(kind in each for each in rule["expr"] for kind in ("xt", "queue", "synproxy"))

    def _chosen(self, key: tuple[str, str, str], vmap: Json, packet: Packet) -> Json | None:
        """The verdict that a map has for the packet, none where it has none; None where that is not known."""
        there, data = _value(vmap["key"], packet), vmap["data"]
        if there is None or there is False:
            return None if there is None else {}
        if isinstance(data, str):
            data = {"set": self._sets.get((*key[:2], data.removeprefix("@")), {}).get("elem", [])}
        unknown = False
        for wanted, verdict in data.get("set", ()):
            found = self._among(key, there, wanted)
            if found:
                return t.cast(Json, verdict)
            unknown = unknown or found is None
        return None if unknown else {}

    def _action(self, key: tuple[str, str, str], kind: str, value: t.Any, packet: Packet, depth: int) -> _Said | None:
        if kind in ("accept", "return"):
            return _Said(kind, False)
        if kind in ("drop", "reject"):
            return _Said("drop", False)
        if kind in ("dnat", "redirect", "tproxy", "fwd", "dup"):
            return _Said("rewritten", False)
        if kind in ("jump", "goto"):
            if not depth:
                return _Said("", True)
            said = self._walk((*key[:2], value["target"]), packet, depth - 1)
            if kind == "goto" and not said.verdict:
                return said._replace(verdict="return")
            return said if said.verdict or said.doubt else None
        return None

    def _matches(self, key: tuple[str, str, str], match: Json, packet: Packet) -> bool | None:
        """Whether it does; None where that is not known."""
        there = _value(match["left"], packet)
        if there is None or there is False:
            return there
        found = self._among(key, there, match["right"])
        if found is None:
            return None
        return {"==": found, "in": found, "!=": not found}.get(match["op"])

    def _among(self, key: tuple[str, str, str], there: t.Any, wanted: t.Any) -> bool | None:
        """Whether a value is among those that a rule names."""
        if isinstance(wanted, str) and wanted.startswith("@"):
            return self._among(key, there, {"set": self._sets.get((*key[:2], wanted[1:]), {}).get("elem", [])})
        if isinstance(wanted, Mapping):
            if "set" in wanted:
                return self._among(key, there, wanted["set"])
            if "elem" in wanted:
                return self._among(key, there, wanted["elem"]["val"])
            return _within(there, wanted)
        if isinstance(wanted, list):
            found = [self._among(key, there, each) for each in wanted]
            return True if True in found else None if None in found else False
        return _same(there, wanted)


class _Said(t.NamedTuple):
    verdict: str
    doubt: bool
    words: str = ""


_NOTHING = _Said("", False)


def _named(key: tuple[str, str, str]) -> str:
    return f"nftables' chain {key[2]} of table {key[0]} {key[1]}"


def _is_on(chain: Json, interface: str) -> bool:
    devices = chain.get("dev", [])
    return interface in ([devices] if isinstance(devices, str) else devices)


def _value(left: t.Any, packet: Packet) -> t.Any:
    """What a packet has there; None where that is not known, False where it has no such thing."""
    if not isinstance(left, Mapping):
        return None
    kind, what = next(iter(left.items()))
    if kind == "meta":
        return _meta(what.get("key"), packet)
    if kind == "ct" and what.get("key") == "state":
        return packet.state
    if kind == "payload" and "protocol" in what:
        return _payload(what["protocol"], what.get("field"), packet)
    return None


def _meta(key: t.Any, packet: Packet) -> t.Any:
    family = {"nfproto": ("ipv4", "ipv6"), "protocol": ("ip", "ip6")}
    if key in family:
        return family[key][packet.ipv6]
    known = {"l4proto": packet.protocol, "iifname": packet.interface, "iif": packet.interface}
    return {**known, "oifname": packet.out, "oif": packet.out}.get(key) or None


def _payload(protocol: str, field: t.Any, packet: Packet) -> t.Any:
    if protocol in ("ip", "ip6"):
        if packet.ipv6 != (protocol == "ip6"):
            return False
        known: dict[t.Any, t.Any] = {"saddr": packet.source, "daddr": packet.destination}
        known |= dict.fromkeys(("protocol", "nexthdr"), packet.protocol)
        return known.get(field) or None
    if protocol in _PORTS:
        if protocol != "th" and packet.protocol not in (0, _PROTOCOLS[protocol]):
            return False
        if protocol != "th" and not packet.protocol:
            return None
        return {"sport": packet.source_port, "dport": packet.destination_port}.get(field) or None
    if protocol in ("icmp", "icmpv6"):
        return False if packet.protocol not in (0, _PROTOCOLS[protocol]) else None
    return None


def _within(there: t.Any, wanted: Json) -> bool | None:
    """Whether a value is in a range or a prefix."""
    try:
        if "prefix" in wanted:
            network = ipaddress.ip_network(f"{wanted['prefix']['addr']}/{wanted['prefix']['len']}", strict=False)
            return ipaddress.ip_address(str(there)) in network
        if "range" in wanted:
            least, most = wanted["range"]
            if isinstance(there, int):
                return int(least) <= there <= int(most)
            one, low, high = (int(ipaddress.ip_address(str(each))) for each in (there, least, most))
            return low <= one <= high
    except ValueError:
        pass
    return None


def _same(there: t.Any, wanted: t.Any) -> bool | None:
    if isinstance(there, int):
        number = _PROTOCOLS.get(str(wanted), wanted)
        return str(number).isdecimal() and there == int(number)
    if isinstance(wanted, str) and wanted.endswith("*"):
        return str(there).startswith(wanted[:-1])
    try:
        return ipaddress.ip_address(str(there)) == ipaddress.ip_address(str(wanted))
    except ValueError:
        return str(there) == str(wanted)
