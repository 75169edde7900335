# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.last_ready."""

from __future__ import annotations

DOCUMENTATION = r"""
name: last_ready
short_description: The VIPs that nobody would be ready for, were these balancers drained
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Returns a sentence for each address or prefix of VIPs that one of O(_leaving) announces, and no other balancer that
    is not drained. An empty list says that they may all go together.
positional: _leaving, _gathered, _elsewhere
options:
  _input:
    description: All balancers of the inventory.
    type: list
    elements: str
    required: true
  _leaving:
    description: Those that are to be drained.
    type: list
    elements: str
    required: true
  _gathered:
    description:
      - The name of the variable in which each host of the play registered M(katran.fleet.balancer_info) with
        C(gather=[ready]).
    type: str
    required: true
  _elsewhere:
    description: The results of a loop that asked other balancers the same, each with its host as C(item).
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Show what would be left to nobody
  ansible.builtin.debug:
    msg: "{{ groups['balancers'] | katran.fleet.last_ready(['lb1'], 'drain_ready') }}"
"""

RETURN = r"""
_value:
  description: Sentences.
  type: list
  elements: str
"""

import typing as t
from collections.abc import Callable, Mapping, Sequence

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.module_utils._model import maintenance
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import host_variable


@pass_context
def last_ready(
    context: Context,
    group: Sequence[str],
    leaving: Sequence[str],
    gathered: str,
    elsewhere: Sequence[Mapping[str, t.Any]] = (),
) -> list[str]:
    """What would be left to nobody."""
    beside = {str(each["item"]): each for each in elsewhere}
    fleet = {}
    for host in group:
        found = beside.get(host) or host_variable(context, host, gathered) or {}
        fleet[host] = found.get("ready")
    return maintenance.last_ready(fleet, list(leaving))


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"last_ready": last_ready}
