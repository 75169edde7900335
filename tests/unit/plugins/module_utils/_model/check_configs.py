# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VIPs with checks, and what is said of them."""

from __future__ import annotations

from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._model.checks import (
    Check,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import config_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import (
    Vip,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.vips_input import resolve_vips
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.configs import ALL

TRUTH = "YAML reads yes, no, on and off without quotes as truth values"

VIP = {"address": "198.51.100.1", "port": 443, "protocol": "tcp", "reals": [{"address": "10.0.0.1"}]}
UDP = {**VIP, "protocol": "udp"}
ANY = {**VIP, "port": 0}
PREFIX = {**VIP, "address": "198.51.100.0/24"}
IPV6 = {**VIP, "address": "2001:db8::1", "reals": [{"address": "2001:db8:1::1"}]}


def only(entry: dict[str, Any], defaults: Any = None) -> Vip:
    """The one VIP that an entry makes."""
    found, _warnings = resolve_vips({}, Asked([entry], limits=ALL, check_defaults=defaults))
    [vip] = found.values()
    return vip


def check_of(check: Any, vip: dict[str, Any] | None = None, defaults: Any = None) -> Check:
    found = only({**(vip or VIP), "check": check}, defaults).check
    assert found is not None
    return found


def faults(check: Any, vip: dict[str, Any] | None = None, defaults: Any = None) -> str:
    """What the controller says, of shape and of values."""
    entry = {**(vip or VIP), "check": check}
    return "; ".join(config_faults({"vips": [entry]}, ALL, check_defaults=defaults)).replace("vips[0].", "")
