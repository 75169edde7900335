# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The types of probes by name."""

from __future__ import annotations

from collections.abc import Mapping

from ..._model.checks import Probe
from .datagrams import dns_plan, udp_plan
from .streams import tcp_plan, tls_plan
from .talk import Plan, PlanMaker
from .web import http_plan

_MAKERS: Mapping[str, PlanMaker] = {
    "tcp": tcp_plan,
    "tls": tls_plan,
    "http": http_plan,
    "https": http_plan,
    "udp": udp_plan,
    "dns": dns_plan,
}


def plan_of(probe: Probe) -> Plan:
    """How to make such probes. ValueError where the probe is none that can be made."""
    return _MAKERS[probe.type](probe)
