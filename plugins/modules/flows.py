#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: flows
short_description: Remove flows from a balancer's connection tables
version_added: 0.1.0
description:
  - A flow that is removed is balanced anew with its next packet. TCP connections break where that gives another real.
  - The tables of every CPU are searched, the table of CPUs that have none, and the global tables.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.attributes
options:
  state:
    description:
      - The flows that agree with all of O(vip), O(real) and O(client) are removed.
    type: str
    choices:
      - absent
    default: absent
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
  allow_all:
    description:
      - Allow to remove every flow, where none of O(vip), O(real) and O(client) is given.
    type: bool
    default: false
seealso:
  - module: katran.fleet.flows_info
"""

EXAMPLES = r"""
- name: Move one client's connections away from a real
  katran.fleet.flows:
    real: 10.0.0.11
    client: 192.0.2.0/24
"""

RETURN = r"""
removed:
  description: How many flows were, or in check mode would be, removed.
  returned: success
  type: int
reals:
  description: How many of them went to each real.
  returned: success
  type: list
  elements: dict
  sample: [{real: 10.0.0.11, id: 3, flows: 17}]
operations:
  description: Entries removed per map.
  returned: success
  type: dict
  sample: {lru_mapping: 17}
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.flows import run_flows


def main() -> None:
    run_flows()


if __name__ == "__main__":
    main()
