# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.server_ids."""

from __future__ import annotations

DOCUMENTATION = r"""
name: server_ids
short_description: The hosts of a group as server ids
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Turns host names into entries of id and real, from each host's C(katran_server_id) and C(katran_real_address).
  - Hosts without C(katran_server_id), and those where it is 0, have none and are left out.
options:
  _input:
    description: Host names, mostly a group.
    type: list
    elements: str
    required: true
  family:
    description: Which address a host with several is reached by. Default is its first.
    type: str
    choices: [ipv4, ipv6]
"""

EXAMPLES = r"""
- name: Server ids of the web group
  ansible.builtin.set_fact:
    katran_server_ids: "{{ groups['web'] | katran.fleet.server_ids }}"
"""

RETURN = r"""
_value:
  description: Id and real.
  type: list
  elements: dict
"""

import typing as t
from collections.abc import Callable, Sequence

from ansible.errors import AnsibleFilterError
from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.filter.reals import host_addresses, host_names
from ansible_collections.katran.fleet.plugins.module_utils._model.written import number_fault
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import host_variable


@pass_context
def server_ids(context: Context, hosts: Sequence[str], family: str | None = None) -> list[dict[str, t.Any]]:
    """Server ids of these hosts, in their order."""
    found = []
    for host in host_names(hosts, "server_ids"):
        number = host_variable(context, host, "katran_server_id")
        if number is None or str(number) == "0":
            # As for module decap, 0 is none.
            continue
        addresses = host_addresses(context, host, "server_ids", family)
        if not addresses:
            raise AnsibleFilterError(f"katran.fleet.server_ids: host {host} has no katran_real_address of {family}")
        if number_fault(number) or int(number) < 0:
            raise AnsibleFilterError(
                f"katran.fleet.server_ids: host {host}: katran_server_id {number!r:.80} is not a number"
            )
        found.append({"id": int(number), "real": addresses[0]})
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"server_ids": server_ids}
