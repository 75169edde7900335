# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What doctor finds: a named cause with its remedy, each a sentence. The names are fixed; programs may rely on them."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

NAMES: t.Final = (
    # The way out of a balancer.
    "gateway_mac",
    "program_detached",
    "foreign_program",
    "generic_mode",
    "interface_down",
    "mtu_balancer",
    "mtu_driver",
    "map_edited",
    "flow_table_full",
    "fallback_cache",
    "stale_flows",
    "drained_by_hand",
    "health_and_overlay",
    "route_filtered",
    "agent_down",
    "kernel_unfit",
    "bcc_unfit",
    "clock_unfit",
    "disk_unfit",
    # What a probe flow through the tunnel meets.
    "service_refuses",
    "service_silent",
    "real_unreachable",
    # A real by itself.
    "mtu_real",
    "rp_filter",
    "vip_not_on_lo",
    "vip_answers_arp",
    "decap_missing",
    "decap_instance",
    "decap_sources",
    "firewall_drops",
    "source_unreachable",
    # What only the fleet as a whole shows.
    "real_address",
    "rings_differ",
    "server_id_clash",
    "host_unreachable",
    # What could not be told.
    "not_examined",
)
"""Every finding there is."""


class Finding(t.NamedTuple):
    """One cause of trouble on one host.

    `name`: of NAMES. `about`: the VIP, real, interface or map that it is about, "" for the host. `cause` and `remedy`:
    a sentence each; the remedy names the command or the variable. `host`: the inventory's name, "" where the host tells
    of itself. `error`: packets are lost or about to be; else it is a warning.
    """

    name: str
    about: str
    cause: str
    remedy: str
    error: bool = True
    host: str = ""


NOT_EXAMINED: t.Final = "not_examined"
"""The finding that something could not be looked at."""


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then as NAMES has them; each once."""
    order = {name: index for index, name in enumerate(NAMES)}
    return sorted(dict.fromkeys(findings), key=lambda each: (not each.error, order.get(each.name, len(order))))
