# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.starved_vips."""

from __future__ import annotations

DOCUMENTATION = r"""
name: starved_vips
short_description: The VIPs with too few active reals
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Returns those entries of O(_input) that have fewer than O(_min) reals which take new flows.
  - An inventory group that came out empty shows here before it empties a VIP.
positional: _min
options:
  _input:
    description: VIPs in the form of module M(katran.fleet.vips).
    type: list
    elements: dict
    required: true
  _min:
    description: How many active reals a VIP needs.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: No VIP may be without an active real
  ansible.builtin.assert:
    that: katran_vips | katran.fleet.starved_vips(1) | length == 0
"""

RETURN = r"""
_value:
  description: The VIPs that have too few.
  type: list
  elements: dict
"""

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError

from ansible_collections.katran.fleet.plugins.module_utils._model import inventory
from ansible_collections.katran.fleet.plugins.module_utils._model.dual_stack import expanded
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import plain


def starved_vips(vips: Sequence[Mapping[str, t.Any]], minimum: int) -> list[Mapping[str, t.Any]]:
    """The VIPs with fewer than `minimum` active reals."""
    # A generator too may hold what is omitted.
    vips = plain(list(vips))
    for index, vip in enumerate(vips):
        if not isinstance(vip, Mapping):
            raise AnsibleFilterError(f"katran.fleet.starved_vips: entry {index} is not a mapping")
    told = inventory.minimum_fault(minimum)
    if told:
        raise AnsibleFilterError(f"katran.fleet.starved_vips: {told}")
    return inventory.starved_vips(expanded(vips)[0], int(minimum))


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"starved_vips": starved_vips}
