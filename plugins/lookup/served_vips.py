# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: served_vips
short_description: The VIP addresses that a real has to serve
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Returns the addresses of those VIPs whose packets may reach a real, for O(katran.fleet.decap#module:vips). A host
    takes packets to such an address for its own, so others stay off it.
  - Those are VIPs that list the real among their reals or down reals, VIPs with flag C(source_routing) where a source
    route leads to it, and VIPs that route by server id where one stands for it.
  - A prefix is no address and is left out.
options:
  _terms:
    description:
      - Hosts whose C(katran_vips), C(katran_source_routes) and C(katran_server_ids) count, and those of several teams,
        like C(katran_vips__NAME). Mostly a group of balancers.
    required: true
  real:
    description: The real's addresses. Without any, every VIP counts.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Serve what the balancers send here
  katran.fleet.decap:
    interfaces: [eth0]
    vips: "{{ query('katran.fleet.served_vips', *groups['balancers'], real=katran_real_address) }}"
"""

RETURN = r"""
_raw:
  description: Addresses, sorted.
  type: list
  elements: str
"""

import typing as t
from collections.abc import Iterable, Mapping

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.katran.fleet.plugins.filter.features import resources_of
from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import Served, resource_of
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables, VariableError


class LookupModule(LookupBase):
    """Finds the VIPs of other hosts' variables."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        hostvars = (variables or {})["hostvars"]
        hosts = HostVariables(self._templar, hostvars)
        found: set[str] = set()
        for host in terms:
            if host not in hostvars:
                raise AnsibleLookupError(f"katran.fleet.served_vips: {host} is not a host of the inventory")
            try:
                told = {name: hosts.get(host, name) for name in hosts.raw(host) if resource_of(name)}
            except VariableError as error:
                raise AnsibleLookupError(f"katran.fleet.served_vips: {host}: {error}") from error
            found |= served(told, self.get_option("real"))
        return sorted(found)


def served(variables: Mapping[str, t.Any], addresses: Iterable[str]) -> set[str]:
    """The addresses of the VIPs in these variables whose packets may reach a real with these addresses."""
    return Served.of(resources_of(variables, "served_vips")).to(addresses)
