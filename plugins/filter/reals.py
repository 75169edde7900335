# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.reals."""

from __future__ import annotations

DOCUMENTATION = r"""
name: reals
short_description: The hosts of a group as reals of a VIP
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Turns host names into the entries of O(katran.fleet.vips#module:config[].reals), from each host's own variables.
  - C(katran_real_address) is an address or a list of addresses and must be there; C(katran_real_weight) and
    C(katran_real_state) are optional.
options:
  _input:
    description: Host names, mostly a group.
    type: list
    elements: str
    required: true
  family:
    description: Take only addresses of this family. A VIP of IPv6 takes reals of IPv6 alone.
    type: str
    choices: [ipv4, ipv6]
"""

EXAMPLES = r"""
- name: VIPs of both families in front of one group
  ansible.builtin.set_fact:
    katran_vips:
      - address: 198.51.100.1
        port: 443
        protocol: tcp
        reals: "{{ groups['web'] | katran.fleet.reals(family='ipv4') }}"
      - address: 2001:db8::1
        port: 443
        protocol: tcp
        reals: "{{ groups['web'] | katran.fleet.reals(family='ipv6') }}"
"""

RETURN = r"""
_value:
  description: Address, and weight and state where the host sets them.
  type: list
  elements: dict
"""

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import host_variable
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import plain


def host_names(hosts: t.Any, name: str) -> list[str]:
    """The hosts as a list. AnsibleFilterError for anything else, such as the name of a group."""
    if isinstance(hosts, str | Mapping) or not hasattr(hosts, "__iter__"):
        raise AnsibleFilterError(f"katran.fleet.{name}: {hosts} is not a list of hosts; give groups['NAME']")
    return list(hosts)


def host_addresses(context: Context, host: str, name: str, family: str | None) -> list[str]:
    """A host's addresses of a family, or of both. AnsibleFilterError for a host without katran_real_address."""
    if family not in (None, "ipv4", "ipv6"):
        raise AnsibleFilterError(f"katran.fleet.{name}: family {family} is neither ipv4 nor ipv6")
    value = plain(host_variable(context, host, "katran_real_address"))
    addresses = [value] if isinstance(value, str) and value else value
    if not isinstance(addresses, list) or not addresses:
        raise AnsibleFilterError(f"katran.fleet.{name}: host {host} has no katran_real_address")
    return [address for address in map(str, addresses) if family is None or (":" in address) == (family == "ipv6")]


@pass_context
def reals(context: Context, hosts: Sequence[str], family: str | None = None) -> list[dict[str, t.Any]]:
    """Reals of these hosts, in their order."""
    found = []
    for host in host_names(hosts, "reals"):
        addresses = host_addresses(context, host, "reals", family)
        options = {
            name: value
            for name, value in (
                ("weight", host_variable(context, host, "katran_real_weight")),
                ("state", host_variable(context, host, "katran_real_state")),
            )
            if value is not None
        }
        found += [{"address": address, **options} for address in addresses]
    return found


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"reals": reals}
