# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules in chains that drop: which chains those are, what stands there, and what is to be changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.firewall import (
    AcceptTunnels,
    Chain,
    OwnRule,
    Rule,
    TakeBack,
    is_drop,
    plan_firewall,
    read_chain,
    read_rule,
    script,
    wanted_rules,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.program_plan import ProgramPlan

CHAIN = Chain("inet", "site", "input", drops=True)
OF_IPTABLES = Chain("ip", "filter", "INPUT", drops=True)
ACCEPT: dict[str, Any] = {"accept": None}


def match(left: dict[str, Any], right: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": left, "right": right}}


def meta(key: str, right: Any) -> dict[str, Any]:
    return match({"meta": {"key": key}}, right)


def payload(protocol: str, field: str, right: Any) -> dict[str, Any]:
    return match({"payload": {"protocol": protocol, "field": field}}, right)


def settled(chain: Chain, rules: list[Rule]) -> Chain:
    """The chain once a plan for these was executed."""
    plan = ProgramPlan()
    plan_firewall(plan, rules, [chain])
    for step in plan.steps:
        own = tuple(OwnRule(position, 100 + position, rule) for position, rule in enumerate(step.rules))
        chain = replace(chain, ours=own)
    return chain


def test_tunnels_and_ports_of_listed_sources() -> None:
    found = wanted_rules(["172.16.0.0/16", "172.16.5.0/24", "10.0.0.1/32", "100::/64"], [6090, 6080])
    v4, v6 = frozenset({"172.16.0.0/16", "10.0.0.1"}), frozenset({"100::/64"})
    assert found == [
        Rule("ip", 4, 0, v4),
        Rule("ip", 17, 6080, v4),
        Rule("ip", 17, 6090, v4),
        Rule("ip6", 4, 0, v6),
        Rule("ip6", 41, 0, v6),
        Rule("ip6", 17, 6080, v6),
        Rule("ip6", 17, 6090, v6),
    ]
    assert wanted_rules(["0.0.0.0/0", "10.0.0.0/8"], []) == [Rule("ip", 4, 0, frozenset())]


def test_the_words_of_nft() -> None:
    several = Rule("ip", 4, 0, frozenset({"10.0.0.2", "10.0.0.1"}))
    assert several.text("inet") == 'ip saddr { 10.0.0.1, 10.0.0.2 } meta l4proto 4 accept comment "katran.fleet"'
    anyone = Rule("ip6", 17, 6080, frozenset())
    assert anyone.text("inet") == 'meta nfproto ipv6 udp dport 6080 accept comment "katran.fleet"'
    assert anyone.text("ip6") == 'udp dport 6080 accept comment "katran.fleet"'
    chain = replace(CHAIN, ours=(OwnRule(0, 7, None), OwnRule(3, 9, None)))
    assert script(chain, [several, anyone]).splitlines() == [
        "delete rule inet site input handle 7",
        "delete rule inet site input handle 9",
        f"insert rule inet site input {anyone.text('inet')}",
        f"insert rule inet site input {several.text('inet')}",
    ]


def test_a_table_of_iptables_has_a_rule_for_each_source() -> None:
    plan = ProgramPlan()
    assert plan_firewall(plan, wanted_rules(["10.0.0.1/32", "10.0.0.3/32", "::1/128"], []), [OF_IPTABLES]) == [
        "ip filter INPUT"
    ]
    assert [sorted(rule.prefixes) for rule in plan.steps[0].rules] == [["10.0.0.1"], ["10.0.0.3"]]
    many = wanted_rules([f"10.{number}.0.0/24" for number in range(33)], [])
    plan = ProgramPlan()
    plan_firewall(plan, many, [OF_IPTABLES])
    assert list(plan.steps[0].rules) == many


SOURCES = st.lists(st.sampled_from(["10.0.0.1/32", "10.0.0.0/24", "172.16.0.0/16", "::/0", "100::/64"]), unique=True)


@given(SOURCES, st.sets(st.integers(1, 65535), max_size=2), st.sampled_from([CHAIN, OF_IPTABLES]))
def test_a_second_run_has_nothing_to_do(sources: list[str], ports: set[int], chain: Chain) -> None:
    wanted = wanted_rules(sources, ports)
    there = settled(chain, wanted)
    again = ProgramPlan()
    plan_firewall(again, wanted, [there])
    assert again.steps == []
    if there.ours:
        # Lower, changed, or fewer: it is repaired.
        lower = tuple(each._replace(position=each.position + 1) for each in there.ours)
        other = (there.ours[0]._replace(rule=None), *there.ours[1:])
        for spoilt in (lower, other, there.ours[1:]):
            plan = ProgramPlan()
            plan_firewall(plan, wanted, [replace(there, ours=spoilt)])
            assert [type(step) for step in plan.steps] == [AcceptTunnels]
            assert plan.steps[0].rules == tuple(each.rule for each in there.ours)
        # It no longer drops.
        plan = ProgramPlan()
        assert plan_firewall(plan, wanted, [replace(there, drops=False)]) == []
        assert [type(step) for step in plan.steps] == [TakeBack]


@pytest.mark.parametrize(
    ("expressions", "drops"),
    [
        ([{"drop": None}], True),
        ([{"counter": {}}, {"log": {}}, {"reject": {"type": "icmpx"}}], True),
        ([meta("l4proto", 4), {"drop": None}], True),
        ([payload("ip", "protocol", 4), {"drop": None}], True),
        ([{"counter": {}}, {"xt": {"type": "target", "name": "REJECT"}}], True),
        ([{"xt": {"type": "target", "name": "LOG"}}], False),
        ([meta("iifname", "eth9"), {"drop": None}], False),
        ([{"limit": {}}, {"drop": None}], False),
        ([ACCEPT], False),
        ([], False),
    ],
)
def test_which_rules_drop(expressions: list[dict[str, Any]], drops: bool) -> None:
    assert is_drop(expressions) is drops


@pytest.mark.parametrize(
    ("expressions", "rule"),
    [
        ([payload("ip", "saddr", "10.0.0.1"), meta("l4proto", 4), ACCEPT], Rule("ip", 4, 0, frozenset({"10.0.0.1"}))),
        ([meta("nfproto", 10), meta("l4proto", "ipencap"), ACCEPT], Rule("ip6", 4, 0, frozenset())),
        (
            [payload("ip", "saddr", {"range": ["10.0.0.0", "10.0.0.2"]}), payload("udp", "dport", 6080), ACCEPT],
            Rule("ip", 17, 6080, frozenset({"10.0.0.0/31", "10.0.0.2"})),
        ),
        (
            [payload("ip6", "saddr", {"set": [{"prefix": {"addr": "100::", "len": 64}}]}), meta("l4proto", 41), ACCEPT],
            Rule("ip6", 41, 0, frozenset({"100::/64"})),
        ),
        ([meta("l4proto", 4), {"counter": {}}, ACCEPT], Rule("inet", 4, 0, frozenset())),
        ([meta("l4proto", 4), {"drop": None}], None),
        ([meta("mark", 4), ACCEPT], None),
        ([meta("l4proto", 4)], None),
        ([{"match": {"op": "!=", "left": {"meta": {"key": "l4proto"}}, "right": 4}}, ACCEPT], None),
    ],
)
def test_what_a_rule_accepts(expressions: list[dict[str, Any]], rule: Rule | None) -> None:
    assert read_rule(expressions, "inet") == rule


def test_a_chain_as_nft_tells_of_it() -> None:
    about = {"family": "inet", "table": "site", "name": "input", "policy": "accept"}
    ours = {"handle": 4, "comment": "katran.fleet", "expr": [meta("l4proto", 4), ACCEPT]}
    found = read_chain(about, [{"handle": 3, "expr": [ACCEPT]}, ours])
    assert found == Chain("inet", "site", "input", False, (OwnRule(1, 4, Rule("inet", 4, 0, frozenset())),))
    assert read_chain({**about, "policy": "drop"}, []).drops
    assert read_chain(about, [{"handle": 3, "expr": [{"drop": None}]}]).drops
    # A rule of ours that somebody turned into a drop is none of the chain's own.
    assert not read_chain(about, [{**ours, "expr": [{"drop": None}]}]).drops
    assert found.label == "inet site input"
