# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.beside."""

from __future__ import annotations

DOCUMENTATION = r"""
name: beside
short_description: The balancers of one host, of which there may be several (instances)
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Of hosts of the inventory, those that are on the same host as this one, as C(ansible_host) and C(ansible_port) say;
    which of them a play removes, and which stay.
positional: _leaving
options:
  _input:
    description: Hosts of the inventory, this one among them or not.
    type: list
    elements: str
    required: true
  _leaving:
    description: Those that the play removes.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show which balancers of this host stay
  ansible.builtin.debug:
    msg: "{{ (groups['balancers'] | katran.fleet.beside(ansible_play_hosts)).staying }}"
"""

RETURN = r"""
_value:
  description: The names of instances that are C(leaving), and of hosts of the inventory that are C(staying).
  type: dict
"""

import typing as t
from collections.abc import Callable, Sequence

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.module_utils._model.beside import Machine, machine_of
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import host_variable


@pass_context
def beside(context: Context, hosts: Sequence[str], leaving: Sequence[str]) -> dict[str, list[str]]:
    """The instances of this host that leave, and the hosts of the inventory that stay on it."""

    def machine(host: str) -> Machine:
        return machine_of(host, *(host_variable(context, host, name) for name in ("ansible_host", "ansible_port")))

    mine = str(context["inventory_hostname"])
    here = [host for host in dict.fromkeys([mine, *hosts]) if host == mine or machine(host) == machine(mine)]
    return {
        "leaving": sorted(
            {str(host_variable(context, host, "katran_instance") or "default") for host in here if host in leaving}
        ),
        "staying": [host for host in here if host not in leaving],
    }


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        """Name → filter."""
        return {"beside": beside}
