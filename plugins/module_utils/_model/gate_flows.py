# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows to every VIP that a gate has the balancer's own bytecode answer for, and what is wrong with an answer. Pure."""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence

from .verdicts import Words
from .vips import Vip, VipKey

EACH = 8
"""Flows for a VIP: what goes wrong with a part of them shows in some."""

MOST = 2000
"""Flows in all, which a second or two answers; a balancer with more VIPs gets fewer for each, and at least one."""

_CLIENTS = {False: "192.0.2.0", True: "2001:db8::"}
"""Documentation prefixes (RFC 5737, RFC 3849): no client's flows are in the tables under these."""

FlowOptions = dict[str, t.Any]


def flows_to(vips: Collection[Vip]) -> list[tuple[Vip, FlowOptions]]:
    """Flows to each VIP, as module simulate_info takes them, from clients that its lists let in."""
    each = max(1, min(EACH, MOST // max(1, len(vips))))
    return [(vip, _flow(vip, index)) for vip in vips for index in range(each)]


def _flow(vip: Vip, index: int) -> FlowOptions:
    key = vip.key
    return {
        "source": _client(vip, index),
        "destination": _within(key.address, index) if key.prefixlen is not None else key.text,
        # Far apart, so that the slots of the ring are.
        "source_port": 1024 + (index * 7919 + 4001) % 60000,
        "destination_port": key.port or 20000 + index,
        "protocol": key.protocol,
        "server_id": None,
    }


def _client(vip: Vip, index: int) -> str:
    allowed = [prefix for prefix in vip.allow if (":" in prefix) == vip.key.ipv6]
    if allowed:
        return _within(allowed[index % len(allowed)], index + 1)
    return str(ipaddress.ip_address(_CLIENTS[vip.key.ipv6]) + index + 1)


def _within(prefix: str, index: int) -> str:
    """An address of a prefix."""
    network = ipaddress.ip_network(prefix, strict=False)
    return str(network[index % network.num_addresses])


def flow_faults(
    asked: Sequence[Vip], answers: Iterable[Mapping[str, t.Any]], vips: Mapping[VipKey, Vip], words: Words
) -> list[str]:
    """One sentence for each VIP of which a simulated packet does not fare as it should.

    `asked`: the VIP that each flow was for, in the order of `answers`; `vips`: all that the balancer has. Clients that
    a list denies are dropped rightly, and so are packets to a VIP whose reals nobody lets take new flows.
    """
    named = {str(key): vip for key, vip in vips.items()}
    wrong: dict[VipKey, list[str]] = {}
    number: dict[VipKey, int] = {}
    for vip, answer in zip(asked, answers, strict=True):
        number[vip.key] = number.get(vip.key, 0) + 1
        fault = flow_fault(answer, named, words)
        if fault:
            wrong.setdefault(vip.key, []).append(fault)
    return [
        f"vip {key}: of {number[key]} simulated packets, {len(found)} {found[0]}"
        for key, found in sorted(wrong.items())
    ]


def flow_fault(answer: Mapping[str, t.Any], named: Mapping[str, Vip], words: Words) -> str:
    """What became of a simulated packet that should not have; "" where all is well. `named`: VIPs by their names."""
    action, reason = answer["action"], answer["reason"]
    if reason == "denied":
        return ""
    vip = named.get(answer["vip"] or "")
    if vip is None:
        return f"{action}, as if for no VIP"
    if reason == "no_real":
        takes = any(real.state == "active" and real.weight for real in words.combined(vip).reals)
        return f"found no real ({answer['detail']})" if takes or action == "sent" else ""
    if answer["local"] and action == "passed":
        return ""
    if action != "sent":
        return f"{action}, on the way to real {answer['real']} ({answer['detail']})"
    to = answer["encapsulation"].get("destination")
    if to != answer["real"]:
        return f"sent to {to}, and counted for real {answer['real']}"
    if reason == "ring" and to not in {real.address for real in vip.reals}:
        return f"sent to {to}, which is no real of the VIP"
    return ""
