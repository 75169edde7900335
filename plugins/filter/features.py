# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.features."""

from __future__ import annotations

DOCUMENTATION = r"""
name: features
short_description: The features that a configuration needs compiled in
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Computes O(katran.fleet.balancer#module:features) from the fleet's variables, so that the program has what the
    configuration uses and no more.
options:
  _input:
    description:
      - Variables by name. C(katran_vips), C(katran_source_routes), C(katran_server_ids) and
        C(katran_decap_destinations) count, and those of several teams, like C(katran_vips__NAME).
        C(katran_extra_features) is added, and with C(katran_sync) feature V(global_lru).
      - V(tcp_server_id) comes by itself only where server ids serve TCP alone. Beside a VIP with flag C(quic) or
        C(udp_stable_routing), say it in C(katran_extra_features).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: What these VIPs need
  ansible.builtin.debug:
    msg: "{{ {'katran_vips': katran_vips} | katran.fleet.features }}"
"""

RETURN = r"""
_value:
  description: Feature words, sorted.
  type: list
  elements: str
"""

import typing as t
from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import (
    SYNC_FLAG,
    Resources,
    feature_faults,
    resource_variables,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.shape import is_true, words
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import is_omitted, plain


def resources_of(variables: Mapping[str, t.Any], caller: str) -> Resources:
    """The resources that these variables join to. AnsibleFilterError for what is no list of mappings.

    `caller`: the plugin that asks, for the sentence.
    """
    found: dict[str, t.Any] = {}
    for name in (name for names in resource_variables(variables).values() for name in names):
        value = variables[name] or []
        if isinstance(value, str | Mapping) or not hasattr(value, "__iter__"):
            raise AnsibleFilterError(f"katran.fleet.{caller}: {name} is not a list")
        found[name] = plain(list(value))
        for index, entry in enumerate(found[name]):
            if not isinstance(entry, Mapping):
                raise AnsibleFilterError(f"katran.fleet.{caller}: {name}[{index}] is not a mapping")
    return Resources.joined(found)


def features(variables: Mapping[str, t.Any]) -> list[str]:
    """The features that these variables need."""
    if not isinstance(variables, Mapping):
        raise AnsibleFilterError("katran.fleet.features: the input is not a mapping of variables")
    variables = {name: value for name, value in variables.items() if not is_omitted(value)}
    extra = variables.get("katran_extra_features") or []
    for fault in feature_faults(extra):
        raise AnsibleFilterError(f"katran.fleet.features: {fault}")
    more = [SYNC_FLAG] if is_true(variables.get("katran_sync")) else []
    return resources_of(variables, "features").features([*words(extra), *more])


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"features": features}
