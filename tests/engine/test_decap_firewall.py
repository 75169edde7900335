# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules in chains that drop, in the real nftables; and what a kernel without tunnel devices says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.firewall import change_chain, read_chains
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.firewall import Rule, plan_firewall, wanted_rules
from ansible_collections.katran.fleet.plugins.module_utils._model.program_plan import ProgramPlan
from ansible_collections.katran.fleet.tests.engine.real import A, ensure, real_host
from ansible_collections.katran.fleet.tests.engine.sandbox import run

SOURCES = ("172.16.0.0/16", "10.0.0.1/32", "10.0.0.5/32", "100::/64")


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with real_host():
        yield


def apply(sources: tuple[str, ...] = SOURCES, ports: tuple[int, ...] = (6080,)) -> list[str]:
    """One run's part of it; the lines."""
    plan = ProgramPlan()
    wanted: list[Rule] = wanted_rules(sources, ports) if ports else []
    plan_firewall(plan, wanted, read_chains())
    for step in plan.steps:
        change_chain(step.chain, step.rules)
    return plan.changes


def rules(*chain: str) -> list[str]:
    return [line.strip() for line in run("nft", "list", "chain", *chain).splitlines() if "katran" in line]


def test_chains_that_drop_accept_tunnels() -> None:
    run("nft", "add table inet site; add chain inet site input { type filter hook input priority 0; policy drop; }")
    run("nft", "add rule inet site input tcp dport 22 accept")
    run("nft", "add table inet wall; add chain inet wall in { type filter hook input priority 5; }")
    run("nft", "add rule inet wall in iif lo accept; add rule inet wall in counter reject with icmpx admin-prohibited")
    run("nft", "add table ip open; add chain ip open in { type filter hook input priority 0; }")
    run("nft", "add chain ip open out { type filter hook output priority 0; policy drop; }")
    run("iptables-nft", "-P", "INPUT", "DROP")
    expected = ["inet site input", "inet wall in", "ip filter INPUT"]
    assert sorted(apply()) == [f"accept tunnels in chain {label} of nftables" for label in expected]
    assert apply() == []
    assert rules("inet", "site", "input") == rules("inet", "wall", "in")
    assert rules("inet", "site", "input") == [
        'ip saddr { 10.0.0.1, 10.0.0.5, 172.16.0.0/16 } meta l4proto ipencap accept comment "katran.fleet"',
        'ip saddr { 10.0.0.1, 10.0.0.5, 172.16.0.0/16 } udp dport 6080 accept comment "katran.fleet"',
        'ip6 saddr 100::/64 meta l4proto ipencap accept comment "katran.fleet"',
        'ip6 saddr 100::/64 meta l4proto ipv6 accept comment "katran.fleet"',
        'ip6 saddr 100::/64 udp dport 6080 accept comment "katran.fleet"',
    ]
    # iptables goes on to understand its table, and saves the rules whole.
    saved = [line for line in run("iptables-nft-save").splitlines() if "katran" in line]
    assert len(saved) == 6
    assert all(" -s " in line for line in saved)


def test_what_somebody_changes_is_repaired() -> None:
    table = "add table inet site; add chain inet site input { type filter hook input priority 0; policy drop; }"
    run("nft", table)
    once = ["accept tunnels in chain inet site input of nftables"]
    assert apply() == once
    # Before ours, in place of one of ours, and everything loaded anew.
    run("nft", "insert rule inet site input ct state invalid drop")
    assert apply() == once
    handle = run("nft", "-a", "list", "chain", "inet", "site", "input").partition("6080")[2].split()[5]
    run("nft", f'replace rule inet site input handle {handle} udp dport 1 accept comment "katran.fleet"')
    assert apply() == once
    run("nft", f"flush ruleset; {table}")
    assert apply() == once
    assert apply(ports=(6080, 6090)) == once
    assert apply(sources=("0.0.0.0/0", "::/0")) == once
    assert apply(sources=("0.0.0.0/0", "::/0")) == []
    assert "meta nfproto ipv4" in rules("inet", "site", "input")[0]
    # The chain no longer drops, or nothing is to be accepted.
    run("nft", "chain inet site input { policy accept; }")
    assert apply() == ["accept tunnels in chain inet site input of nftables no more"]
    assert rules("inet", "site", "input") == []
    assert apply() == []


@pytest.mark.parametrize("check", [True, False])
def test_a_kernel_without_tunnel_devices_says_so(check: bool) -> None:
    with pytest.raises(ProgramError) as caught:
        ensure(A, how="kernel", check=check)
    assert str(caught.value) == (
        "how kernel: this kernel has no ipip and no ip6_tunnel and no fou (modules, or CONFIG_NET_IPIP,"
        " CONFIG_IPV6_TUNNEL and CONFIG_NET_FOU); how auto strips tunnels with our program"
    )
