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

import ipaddress
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.template import Templar

from ansible_collections.katran.fleet.plugins.filter.features import entries
from ansible_collections.katran.fleet.plugins.module_utils._model.shape import words

RESOURCES = ("katran_vips", "katran_source_routes", "katran_server_ids")
ID_FLAGS = frozenset(("quic", "udp_stable_routing"))


class LookupModule(LookupBase):
    """Finds the VIPs of other hosts' variables."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        addresses = frozenset(map(_canonical, self.get_option("real")))
        found: set[str] = set()
        for host in terms:
            found.update(served(self._resources(host, (variables or {})["hostvars"]), addresses))
        return sorted(found)

    def _resources(self, host: str, hostvars: t.Any) -> dict[str, t.Any]:
        """The variables of a host that count, templated as on that host.

        What hostvars itself templates knows no hostvars, which filter katran.fleet.reals asks for the reals.
        """
        if host not in hostvars:
            raise AnsibleLookupError(f"katran.fleet.served_vips: {host} is not a host of the inventory")
        everything = {**hostvars.raw_get(host), "hostvars": hostvars}
        templar = t.cast(Templar, self._templar).copy_with_new_env(available_variables=everything)
        names = [name for name in everything if any(name == each or name.startswith(f"{each}__") for each in RESOURCES)]
        return {name: templar.template(everything[name]) for name in names}


def served(variables: Mapping[str, t.Any], addresses: frozenset[str]) -> set[str]:
    """The addresses of the VIPs in these variables whose packets may reach a real with these addresses."""
    routed, named = (
        any(_canonical(entry.get("real")) in addresses for entry in entries(variables, name, "served_vips"))
        for name in RESOURCES[1:]
    )
    found = {
        str(vip.get("address"))
        for vip in entries(variables, RESOURCES[0], "served_vips")
        if not addresses or _leads_to(vip, addresses, routed, named)
    }
    return {address for address in found if "/" not in address}


def _canonical(address: t.Any) -> str:
    """An address in the one spelling that all its others have in common; what is none stays as it is."""
    try:
        return str(ipaddress.ip_address(str(address)))
    except ValueError:
        return str(address)


def _leads_to(vip: Mapping[str, t.Any], addresses: frozenset[str], routed: bool, named: bool) -> bool:
    flags = set(words(vip.get("flags")))
    listed = {_canonical(real.get("address")) for real in vip.get("reals") or () if isinstance(real, Mapping)}
    listed.update(map(_canonical, words(vip.get("down_reals"))))
    by_route = routed and "source_routing" in flags
    by_id = named and (vip.get("protocol") == "tcp" or not ID_FLAGS.isdisjoint(flags))
    return by_route or by_id or not addresses.isdisjoint(listed)
