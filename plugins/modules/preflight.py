#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Check the variables of the whole fleet, on the controller
version_added: 0.1.0
description:
  - Reads the variables of every balancer and real, works out what each host is to be told by them, and fails with all
    that is wrong with any of them in one report. No host is reached.
  - Wrong are values that the modules would refuse, variables that begin with C(katran_) and are none, groups without
    hosts that look like a slip of the pen, lists that came out empty, and VIPs with too few active reals.
  - What is wrong with hosts that the run is not about, as with C(--limit), is a warning.
  - With O(role) it is about the host alone that runs it, whose variables may then come from the play as well.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common.info
options:
  role:
    description:
      - Take the host that runs this for one that has this role, whichever groups it is in. Default is to check every
        host of the groups C(balancers) and C(reals), or of those that C(katran_balancers_group) and
        C(katran_reals_group) name.
    type: str
    choices:
      - balancer
      - real
seealso:
  - module: katran.fleet.balancer
  - module: katran.fleet.vips
  - module: katran.fleet.decap
"""

EXAMPLES = r"""
- name: Review an inventory without reaching a host
  hosts: all
  gather_facts: false
  tasks:
    - name: Check the fleet
      katran.fleet.preflight:
      run_once: true
"""

RETURN = r"""
balancers:
  description: For each balancer, what its variables tell it.
  returned: success
  type: dict
  sample:
    lb1:
      features:
        - cidr_vips
      resources: "0"
      untouched:
        - source_routes
        - server_ids
        - decap_destinations
      sources: []
      ask: []
      families:
        - ipv4
      mss: 0
ask:
  description: The balancers whose addresses somebody has to know, of all of these.
  returned: success
  type: list
  elements: str
resources:
  description: What these say by C(resources), each resource that a variable is about. Balancers mostly share one.
  returned: success
  type: dict
  sample:
    "0":
      vips:
        - address: 198.51.100.0/24
          port: 443
          protocol: tcp
          reals:
            - address: 10.0.0.11
reals:
  description:
    - For each real, its addresses, the port of GUE, the VIPs to serve, null where nobody says which, and from where
      tunnels are taken.
    - C(ask) are the balancers whose addresses come to C(sources).
    - C(tunnel) is what balancers send there, null where there is none.
  returned: success
  type: dict
  sample:
    web1:
      addresses:
        - 10.0.0.11
      gue_port: 6080
      sources:
        - 172.16.0.0/16
        - 2001:db8:64::/64
      ask: []
      tunnel:
        encapsulation: ipip
        max_frame: 1514
        ipv6: false
      attach: true
      vips:
        - 198.51.100.1
rollout:
  description: Of a run over all balancers, the sizes of batches and how many balancers may fail before it stops.
  returned: success
  type: dict
  sample:
    serial:
      - 1
      - 25%
      - 100%
    max_failed: 0
seen:
  description: The hosts that the run is about.
  returned: success
  type: list
  elements: str
run:
  description: A word that no other run has.
  returned: success
  type: str
audit:
  description:
    - The same word, the user behind the run and the revision of the inventory, each empty where it is not known.
    - P(katran.fleet.audit#filter) makes of it the environment of plays that change hosts.
  returned: success, without O(role)
  type: dict
  sample:
    run: 0f2b6c1e9d4f4b0c8d5a4d2f7a9c3e11
    user: jane
    revision: 3b1f0c2a9e77+dirty
faults:
  description: Each thing that is wrong, and the hosts that have it.
  returned: failure
  type: list
  elements: dict
"""
