# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.services."""

from __future__ import annotations

DOCUMENTATION = r"""
name: services
short_description: The services that a real has to offer
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Names the VIPs with single addresses and ports whose flows the inventory sends to a real, for
    O(katran.fleet.doctor_info#module:services).
positional: _host
options:
  _input:
    description: What M(katran.fleet.preflight) returned. Where it failed, there is none.
    type: dict
    required: true
  _host:
    description: The real's name in the inventory.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show what this real has to serve
  ansible.builtin.debug:
    var: doctor_preflight | katran.fleet.services(inventory_hostname)
"""

RETURN = r"""
_value:
  description: Names of VIPs.
  type: list
  elements: str
"""

import typing as t
from collections.abc import Callable

from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.expected import services_of


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"services": services_of}
