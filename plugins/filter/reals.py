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
    C(katran_real_state) are optional. Where a host has C(katran_weights_file), the weight that the file gives it takes
    the place of C(katran_real_weight).
  - With O(zone), each site has weights of its own, by C(katran_zone) and C(katran_real_zones) of the hosts. A host that
    does not take part there has weight 0, which keeps its flows and takes no new ones.
  - What takes part is decided of the inventory alone, whatever checks say.
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
  zone:
    description:
      - The zone of the balancer, mostly its own C(katran_zone). Near are hosts of this zone, and those whose
        C(katran_real_zones) has a weight for it.
      - Without it, all hosts take part.
    type: str
  spill:
    description:
      - Per cent. While the near hosts that are active have less than this share of the weight of all near ones, or none
        is active, hosts of other zones take part too, each with its own weight. V(0) means the latter alone.
    type: int
    default: 0
  fallback:
    description:
      - Which zones help then, in this order, one more as long as there is not enough. Default is all others at once.
    type: list
    elements: str
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

- name: Each site its own reals, and those of others once less than half of them is active
  ansible.builtin.set_fact:
    katran_vips:
      - addresses: [198.51.100.1, "2001:db8::1"]
        port: 443
        protocol: tcp
        reals: "{{ groups['web'] | katran.fleet.reals(zone=katran_zone, spill=50) }}"
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

from ansible_collections.katran.fleet.plugins.module_utils._model.written import number_fault
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import host_variable
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import plain
from ansible_collections.katran.fleet.plugins.plugin_utils.sites import Candidate, at_site_by_family, zones_fault
from ansible_collections.katran.fleet.plugins.plugin_utils.weights_file import WeightsError, read_weights, weights_path


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
    return [address for address in map(str, addresses) if family in (None, _family(address))]


@pass_context
def reals(
    context: Context,
    hosts: Sequence[str],
    family: str | None = None,
    zone: str | None = None,
    spill: int = 0,
    fallback: Sequence[str] | None = None,
) -> list[dict[str, t.Any]]:
    """Reals of these hosts, in their order."""
    found: list[dict[str, t.Any]] = []
    candidates, addresses = [], []
    for host in host_names(hosts, "reals"):
        own = host_addresses(context, host, "reals", family)
        if own:
            candidates.append(_candidate(context, host, zone is not None))
            addresses.append(own)
    families = [list(dict.fromkeys(map(_family, own))) for own in addresses]
    if zone is not None:
        by_family = at_site_by_family(candidates, families, _word(zone, "zone"), *_helping(spill, fallback))
    else:
        by_family = [dict.fromkeys(own, each) for each, own in zip(candidates, families, strict=True)]
    for each, own in zip(by_family, addresses, strict=True):
        found += [{"address": address, **_given(each[_family(address)])} for address in own]
    return found


def _given(real: Candidate) -> dict[str, t.Any]:
    return {name: value for name, value in (("weight", real.weight), ("state", real.state)) if value is not None}


def _family(address: str) -> str:
    return "ipv6" if ":" in address else "ipv4"


def _candidate(context: Context, host: str, zoned: bool) -> Candidate:
    """A host as a real. AnsibleFilterError for what its variables should not say."""
    weight, state = (
        host_variable(context, host, "katran_real_weight"),
        host_variable(context, host, "katran_real_state"),
    )
    file = host_variable(context, host, "katran_weights_file")
    if file is not None:
        try:
            weight = read_weights(weights_path(file, host_variable(context, host, "inventory_dir"))).get(host, weight)
        except WeightsError as error:
            raise AnsibleFilterError(f"katran.fleet.reals: host {host}: katran_weights_file: {error}") from error
    if not zoned:
        return Candidate(host, "", weight, state)
    zone, zones = (
        plain(host_variable(context, host, "katran_zone")),
        plain(host_variable(context, host, "katran_real_zones")),
    )
    if not isinstance(zone, str) or not zone:
        raise AnsibleFilterError(f"katran.fleet.reals: host {host} has no katran_zone")
    fault = zones_fault(zones or {})
    if fault:
        raise AnsibleFilterError(f"katran.fleet.reals: host {host}: {fault}")
    return Candidate(host, zone, weight, state, zones or {})


def _word(value: t.Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise AnsibleFilterError(f"katran.fleet.reals: {name} {value!s:.80} is not the name of a zone")
    return str(value)


def _helping(spill: t.Any, fallback: t.Any) -> tuple[int, list[str] | None]:
    """When which zones help."""
    if number_fault(spill) or not 0 <= int(spill) <= 100:
        raise AnsibleFilterError(f"katran.fleet.reals: spill {spill!s:.80} is not a per cent (0 to 100)")
    if fallback is None:
        return int(spill), None
    if isinstance(fallback, str | Mapping) or not hasattr(fallback, "__iter__"):
        raise AnsibleFilterError(f"katran.fleet.reals: fallback {fallback!s:.80} is not a list of zones")
    return int(spill), [_word(each, "fallback") for each in fallback]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"reals": reals}
