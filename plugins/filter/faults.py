# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.faults."""

from __future__ import annotations

DOCUMENTATION = r"""
name: faults
short_description: What is wrong with a balancer's VIPs and tables
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Says what the modules would say against a configuration, before any host is asked.
positional: _features, _sizes
options:
  _input:
    description:
      - Resources by name, each in the form of its module; C(vips), C(source_routes), C(server_ids) and
        C(decap_destinations) count.
    type: dict
    required: true
  _features:
    description: The features of the balancer, as O(katran.fleet.balancer#module:features).
    type: list
    elements: str
    required: true
  _sizes:
    description: Its sizes, as O(katran.fleet.balancer#module:sizes).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: The VIPs must be valid
  ansible.builtin.assert:
    that: "{'vips': katran_vips} | katran.fleet.faults([], {}) | length == 0"
"""

RETURN = r"""
_value:
  description: Sentences; none where all is well.
  type: list
  elements: str
"""

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError

from ansible_collections.katran.fleet.plugins.module_utils._ansible import RESOURCE_CONFIG
from ansible_collections.katran.fleet.plugins.module_utils._config import ConfigError, config_faults, parse_planned


def faults(resources: Mapping[str, t.Any], features: Sequence[str], sizes: Mapping[str, t.Any]) -> list[str]:
    """What is wrong with these resources, for a balancer with these features and sizes."""
    if not isinstance(resources, Mapping):
        raise AnsibleFilterError("katran.fleet.faults: the input is not a mapping of resources")
    try:
        limits = parse_planned({"features": features, "sizes": sizes})
    except ConfigError as error:
        return [str(error)]
    return config_faults(resources, RESOURCE_CONFIG, limits)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"faults": faults}
