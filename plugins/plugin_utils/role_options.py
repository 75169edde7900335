# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of roles that are options of modules, and what is wrong with their types."""

from __future__ import annotations

import copy
import typing as t
from collections.abc import Mapping

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.katran.fleet.plugins.module_utils._model.agent_settings import AGENT
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import DECAP
from ansible_collections.katran.fleet.plugins.module_utils._model.link_mtu import MTU_CHECK
from ansible_collections.katran.fleet.plugins.module_utils._model.options import COMMON, Spec
from ansible_collections.katran.fleet.plugins.module_utils._model.own_addresses import own_options
from ansible_collections.katran.fleet.plugins.module_utils._model.probe_rate import MAX_PROBES
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import BALANCER
from ansible_collections.katran.fleet.plugins.module_utils._model.written import number_fault

BALANCER_OPTIONS: Spec = {
    **COMMON,
    **{name: option for name, option in BALANCER.items() if name not in ("state", "source_dir")},
    "purge_flows": {"type": "bool", "default": True},
    "allow_empty": {"type": "bool", "default": False},
    **own_options(),
    **MTU_CHECK,
    "check_defaults": {"type": "dict"},
    "max_probes": {"type": "int", "default": MAX_PROBES},
}
"""The parameters of role balancer, without the prefix of its name, that are options of modules."""

AGENT_OPTIONS: Spec = {name: option for name, option in AGENT.items() if name not in ("state", "interface")}
"""Those of its agent."""

REAL_OPTIONS: Spec = {
    **COMMON,
    **{name: DECAP[name] for name in ("interfaces", "attach", "how", "firewall", "mode", "sources", "gue_port")},
    "vips": {"type": "list", "elements": "str"},
    "server_id": {"type": "int", "default": 0},
    "server_id_units": {"type": "list", "elements": "str"},
    "server_id_fallback": {"type": "int", "default": 0},
    "server_id_entries": {"type": "int", "default": 65536},
    "server_id_restart": {"type": "bool", "default": False},
    "mtu": {"type": "int", "default": 0},
    "mss": {"type": "int", "default": 0},
    **MTU_CHECK,
}
"""Likewise of role real."""


def option_faults(options: Mapping[str, t.Any], spec: Spec) -> tuple[dict[str, t.Any], list[str]]:
    """The options as a module reads them, with defaults for what is wrong, and what is wrong with their types."""
    found: list[str] = []
    good: dict[str, t.Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        if spec[name]["type"] == "dict" and not isinstance(value, Mapping):
            found.append(f"{name}: {value} is not a mapping")
            continue
        try:
            wrong = ArgumentSpecValidator({name: spec[name]}).validate({name: value}).error_messages
        except OverflowError:
            # Which Ansible does not catch of a number without end.
            wrong = []
        # Ansible takes true for 1, and 0443 for 443.
        wrong = wrong or _number_faults(name, value, spec[name])
        found += wrong
        if not wrong:
            good[name] = value
    # Ansible fills a default that is a mapping with the defaults inside it, where it stands.
    return dict(ArgumentSpecValidator(copy.deepcopy(dict(spec))).validate(good).validated_parameters), found


def _number_faults(name: str, value: t.Any, option: Mapping[str, t.Any]) -> list[str]:
    """What is wrong with an option's number, or with those of a mapping."""
    if option["type"] == "int":
        told = number_fault(value)
        return [f"{name}: {told}"] if told else []
    inside: Spec = option.get("options") or {}
    if option["type"] != "dict" or not isinstance(value, Mapping):
        return []
    return [
        fault
        for key, each in inside.items()
        if value.get(key) is not None
        for fault in _number_faults(f"{name}.{key}", value[key], each)
    ]
