#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flows_info
short_description: Search a balancer's connection tables
version_added: 0.1.0
description:
  - Lists flows and counts them per real, in the tables of every CPU, the table of CPUs that have none, and the global
    tables. Reading does not keep a flow alive.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.info
options:
  vip:
    description:
      - An address or prefix, and if need be port and protocol, such as V(198.51.100.1), V(198.51.100.1:443),
        V(198.51.100.1:443/tcp), V([2001:db8::1]:443/udp) or V(198.51.100.0/24).
      - Port V(0) takes the flows to every port that has no VIP of its own.
    type: str
  real:
    description:
      - The address of the real that the flows go to.
    type: str
  client:
    description:
      - The address or prefix that the flows come from.
    type: str
  stale:
    description:
      - Only those flows that today's ring would send to another real. The connection tables keep a flow where it was
        when a ring changes, so a connection that lives is among them as well as what ended ones left behind; entries of
        TCP keep no time that would tell. A million flows take some 5 seconds.
    type: bool
    default: false
  limit:
    description:
      - How many flows to list, 0 to 100000. The counts are over all of them.
    type: int
    default: 100
seealso:
  - module: katran.fleet.flows
  - module: katran.fleet.simulate_info
"""

EXAMPLES = r"""
- name: Which reals do a client's connections go to
  katran.fleet.flows_info:
    client: 192.0.2.7
  register: found

- name: How many flows has each real
  katran.fleet.flows_info:
    limit: 0
"""

RETURN = r"""
flows:
  description: The flows, up to O(limit).
  returned: success
  type: list
  elements: dict
  contains:
    client:
      description: The client's address.
      type: str
    client_port:
      description: The client's port; 0 where the VIP has flag C(hash_no_src_port).
      type: int
    vip:
      description: The VIP's address.
      type: str
    port:
      description: The VIP's port; 0 where the VIP is one of any port or of a prefix.
      type: int
    protocol:
      description: V(tcp) or V(udp).
      type: str
    real:
      description: The real's address; null where the balancer has no real of that id any more.
      type: str
    real_id:
      description: The real's id.
      type: int
    table:
      description: The map in which the flow is.
      type: str
    cpu:
      description: The CPU whose table it is in; null where it is one of several CPUs, or of those that have none.
      type: int
    idle:
      description: Seconds since the flow's last packet; null for TCP, whose entries keep no time.
      type: float
    stale:
      description: Whether today's ring would choose another real for it.
      type: bool
    ring:
      description: The real that today's ring would choose; null where there is none, or none of that is asked of it.
      type: str
    encapsulated_by:
      description:
        - The outer source of the tunnel in which the flow's packets came, which is the balancer before this one.
        - null where that is not known, as always of a VIP of any port or with flag C(hash_no_src_port).
      returned: with features C(inline_decap) and C(flow_debug)
      type: str
total:
  description: How many flows agree with O(vip), O(real) and O(client).
  returned: success
  type: int
reals:
  description: How many of them go to each real, most first.
  returned: success
  type: list
  elements: dict
  sample: [{real: 10.0.0.11, id: 3, flows: 17}]
tables:
  description: The tables, with all their entries, those selected, and their capacity.
  returned: success
  type: list
  elements: dict
  sample: [{table: lru_mapping, cpu: 0, entries: 40, selected: 17, capacity: 500000}]
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.flows_info import run_flows_info


def main() -> None:
    run_flows_info()


if __name__ == "__main__":
    main()
