# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What variables say of a run over all balancers, which can be said but once."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable

from ansible_collections.katran.fleet.plugins.module_utils._model.gate import LONGEST
from ansible_collections.katran.fleet.plugins.module_utils._model.rollout import (
    SERIAL,
    number_faults,
    serial_faults,
    sizes_of,
)
from ansible_collections.katran.fleet.plugins.plugin_utils.fleet import Fleet
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables, VariableError

MOST_HOSTS = 100_000


def rollout_of(fleet: Fleet, variables: HostVariables, hosts: Iterable[str]) -> dict[str, t.Any]:
    """Sizes of batches and how many balancers may fail, as all balancers say it; faults are added to the hosts'."""
    told: dict[str, t.Any] = {"serial": list(SERIAL), "max_failed": 0}
    first: dict[str, tuple[str, t.Any]] = {}
    for host in hosts:
        for name in ("serial", "max_failed", "gate_seconds"):
            value = _value(fleet, variables, host, f"katran_{name}")
            if value is None:
                continue
            faults = _faults(name, value)
            fleet.add_fault(host, *faults)
            if faults or name == "gate_seconds":
                continue
            told[name] = sizes_of(value) if name == "serial" else int(value)
            known = first.setdefault(name, (host, told[name]))
            if known[1] != told[name]:
                fleet.add_fault(
                    host, f"katran_{name} is {value} here and {known[1]} for {known[0]}: it is about the whole run"
                )
    return told


def _value(fleet: Fleet, variables: HostVariables, host: str, name: str) -> t.Any:
    try:
        return variables.get(host, name) if variables.is_set(host, name) else None
    except VariableError as error:
        fleet.add_fault(host, str(error))
        return None


def _faults(name: str, value: t.Any) -> list[str]:
    if name == "serial":
        return serial_faults(value)
    if name == "max_failed":
        return number_faults("katran_max_failed", value, MOST_HOSTS, True)
    return number_faults("katran_gate_seconds", value, LONGEST, False)
