# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nftables surely drops, by rules in the form that `nft -j list ruleset` has."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.firewall import OUTGOING, Packet, Ruleset

VIP, VIP6 = "198.51.100.1", "2001:db8::1"
Json = dict[str, Any]
DROP, ACCEPT = {"drop": None}, {"accept": None}


def is_(left: Json, right: Any, op: str = "==") -> Json:
    return {"match": {"op": op, "left": left, "right": right}}


def payload(protocol: str, field: str) -> Json:
    return {"payload": {"protocol": protocol, "field": field}}


def meta(key: str) -> Json:
    return {"meta": {"key": key}}


DPORT, DADDR, SADDR, STATE = (
    payload("tcp", "dport"),
    payload("ip", "daddr"),
    payload("ip", "saddr"),
    {"ct": {"key": "state"}},
)


def rules(
    *expressions: list[Json], policy: str = "accept", hook: str = "input", more: tuple[Json, ...] = ()
) -> Ruleset:
    """One base chain c of table inet t."""
    chain = {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": hook, "prio": 0, "policy": policy}
    return Ruleset([{"chain": chain}, *(rule("c", each) for each in expressions), *more])


def rule(chain: str, expression: list[Json], handle: int = 7) -> Json:
    return {"rule": {"family": "inet", "table": "t", "chain": chain, "handle": handle, "expr": expression}}


WEB = Packet.to(VIP, 6, 80, "eth1")


@pytest.mark.parametrize(
    ("expression", "dropped"),
    [
        ([DROP], True),
        ([{"reject": {}}], True),
        ([is_(DPORT, 80), DROP], True),
        ([is_(DPORT, 443), DROP], False),
        ([is_(DPORT, {"set": [22, 80]}), DROP], True),
        ([is_(DPORT, {"set": [22, {"range": [79, 81]}]}), DROP], True),
        ([is_(DPORT, 80, "!="), DROP], False),
        ([is_(DPORT, 443, "!="), DROP], True),
        ([is_(payload("udp", "dport"), 80), DROP], False),
        ([is_(payload("th", "dport"), 80), DROP], True),
        ([is_(DADDR, VIP), DROP], True),
        ([is_(DADDR, {"prefix": {"addr": "198.51.100.0", "len": 24}}), DROP], True),
        ([is_(DADDR, {"range": ["198.51.100.2", "198.51.100.9"]}), DROP], False),
        ([is_(payload("ip6", "daddr"), VIP6), DROP], False),
        ([is_(meta("iifname"), "eth*"), DROP], True),
        ([is_(meta("iifname"), "lo"), DROP], False),
        ([is_(meta("l4proto"), "tcp"), {"counter": {"packets": 0, "bytes": 0}}, DROP], True),
        ([is_(meta("l4proto"), {"set": ["icmp", "ipv6-icmp", "esp"]}), DROP], False),
        ([is_(meta("nfproto"), "ipv4"), DROP], True),
        ([is_(STATE, {"set": ["established", "related"]}), DROP], False),
        ([is_(STATE, "new"), DROP], True),
        # Some clients, some of the time, or by what nobody can know.
        ([is_(SADDR, "203.0.113.7"), DROP], False),
        ([{"limit": {"rate": 1, "per": "second"}}, DROP], False),
        ([is_(meta("mark"), 1), DROP], False),
        ([{"xt": {"type": "match", "name": "set"}}, DROP], False),
        ([{"vmap": {"key": DPORT, "data": {"set": [[80, DROP], [443, ACCEPT]]}}}], True),
        ([{"vmap": {"key": DPORT, "data": {"set": [[443, DROP]]}}}], False),
        ([{"vmap": {"key": SADDR, "data": {"set": [["203.0.113.7", DROP]]}}}], False),
        ([is_(DPORT, "@none"), DROP], False),
        ([{"log": {"prefix": "x"}}], False),
    ],
)
def test_a_rule(expression: list[Json], dropped: bool) -> None:
    words = rules(expression).drops(WEB)
    assert bool(words) == dropped
    assert words in ("", "a rule (handle 7) of nftables' chain c of table inet t")


@pytest.mark.parametrize(
    ("expressions", "dropped"),
    [
        ([], True),
        ([[is_(DPORT, 80), ACCEPT]], False),
        ([[is_(DPORT, 443), ACCEPT]], True),
        # It accepts some clients: whom is not known.
        ([[is_(SADDR, "203.0.113.0/24"), ACCEPT]], False),
        ([[{"limit": {"rate": 1, "per": "second"}}, ACCEPT]], False),
        ([[is_(STATE, "established"), ACCEPT]], True),
        ([[{"xt": {"type": "target", "name": "X"}}]], False),
        ([[{"jump": {"target": "sub"}}]], False),
        ([[is_(DPORT, 443), {"jump": {"target": "sub"}}]], True),
        ([[{"goto": {"target": "empty"}}], [ACCEPT]], True),
        ([[{"jump": {"target": "empty"}}], [ACCEPT]], False),
        ([[{"return": None}], [ACCEPT]], True),
        ([[{"jump": {"target": "again"}}]], False),
    ],
)
def test_a_chain_that_drops_what_nobody_accepts(expressions: list[list[Json]], dropped: bool) -> None:
    more = (rule("sub", [is_(DPORT, 80), ACCEPT]), rule("again", [{"jump": {"target": "again"}}]))
    words = rules(*expressions, policy="drop", more=more).drops(WEB)
    assert bool(words) == dropped
    if dropped:
        assert words == "nftables' chain c of table inet t, whose policy is drop and which has no rule that accepts it"


def test_an_accept_of_one_chain_is_none_of_the_next() -> None:
    chain = {
        "family": "ip",
        "table": "u",
        "name": "d",
        "type": "filter",
        "hook": "input",
        "prio": 5,
        "policy": "accept",
    }
    later = {"rule": {"family": "ip", "table": "u", "chain": "d", "handle": 9, "expr": [DROP]}}
    found = rules([ACCEPT], more=({"chain": chain}, later))
    assert found.drops(WEB) == "a rule (handle 9) of nftables' chain d of table ip u"
    # Table ip sees no IPv6.
    assert found.drops(Packet.to(VIP6, 6, 80)) == ""


def test_what_is_sent_elsewhere_is_no_packet_of_the_vip() -> None:
    found = rules([{"dnat": {"addr": "10.0.0.1"}}], hook="prerouting", more=tuple(rules_of_input()))
    assert found.drops(WEB) == ""


def rules_of_input() -> list[Json]:
    chain = {
        "family": "inet",
        "table": "t",
        "name": "i",
        "type": "filter",
        "hook": "input",
        "prio": 0,
        "policy": "drop",
    }
    return [{"chain": chain}]


def test_answers_and_sets_by_name() -> None:
    members = {"set": {"family": "inet", "table": "t", "name": "vips", "elem": [{"elem": {"val": VIP, "timeout": 1}}]}}
    found = rules([is_(SADDR, "@vips"), is_(payload("tcp", "sport"), 80), DROP], hook="output", more=(members,))
    assert found.drops(WEB.answer(), OUTGOING)
    assert not found.drops(WEB)
    assert not found.drops(Packet.to("198.51.100.2", 6, 80).answer(), OUTGOING)
    assert not rules([is_(STATE, "new"), DROP], hook="output").drops(WEB.answer(), OUTGOING)


def test_a_device_of_its_own_is_no_other() -> None:
    chain = {
        "family": "netdev",
        "table": "n",
        "name": "g",
        "hook": "ingress",
        "dev": "eth1",
        "prio": 0,
        "policy": "drop",
    }
    found = Ruleset([{"chain": chain}])
    assert "table netdev n" in found.drops(WEB)
    assert not found.drops(WEB._replace(interface="eth2"))


def test_without_a_port_only_what_holds_for_all_is_told() -> None:
    every = Packet.to(VIP, interface="eth1")
    assert not rules([is_(DPORT, 80), ACCEPT], policy="drop").drops(every)
    assert rules([is_(payload("ip6", "daddr"), VIP6), ACCEPT], policy="drop").drops(every)
