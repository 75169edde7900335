#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: balancer_info
short_description: Read everything that a balancer can tell
version_added: 0.1.0
description:
  - Returns the program, the resources in the form of their modules' O(katran.fleet.vips#module:config),
    the counters and the maps. Feeding a resource back to its module changes nothing.
  - The resources are what the kernel has; weights and hashes, which it does not know, are those of the last run.
    RV(differences) says what somebody else changed since. Then feeding a resource back makes that the configuration.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.info
options:
  gather:
    description:
      - What to read. The default is everything.
    type: list
    elements: str
    choices:
      - program
      - vips
      - reals
      - source_routes
      - server_ids
      - decap_destinations
      - rings
      - checks
      - ready
      - healthcheck
      - counters
      - flows
      - maps
      - status
    default:
      - program
      - vips
      - reals
      - source_routes
      - server_ids
      - decap_destinations
      - rings
      - checks
      - ready
      - healthcheck
      - counters
      - flows
      - maps
      - status
seealso:
  - module: katran.fleet.balancer
  - module: katran.fleet.vips
"""

EXAMPLES = r"""
- name: Which VIPs does this host balance, and how much
  katran.fleet.balancer_info:
    gather: [vips, counters]
  register: balancer
"""

RETURN = r"""
program:
  description: The loaded program and where it is attached.
  returned: when gathered
  type: dict
differences:
  description:
    - A sentence for each thing, of what is gathered, that is not as the last run left it. The next run repairs it.
  returned: unless nothing but RV(healthcheck) and RV(status) is gathered
  type: list
  elements: str
  sample:
    - "vip 198.51.100.1:443/tcp: missing in vip_map"
    - "real 10.0.0.1: changed in reals"
vips:
  description: The VIPs that packets meet, in the form of module M(katran.fleet.vips).
  returned: when gathered
  type: list
  elements: dict
reals:
  description: What was said of reals by hand, in the form of module M(katran.fleet.reals).
  returned: when gathered
  type: list
  elements: dict
source_routes:
  description: The source routes in the form of their module.
  returned: when gathered
  type: list
  elements: dict
server_ids:
  description: The server ids in the form of their module.
  returned: when gathered
  type: list
  elements: dict
decap_destinations:
  description: The decapsulation destinations in the form of their module.
  returned: when gathered
  type: list
  elements: dict
rings:
  description:
    - For each VIP the slots of its ring that each real has, which is its share of new flows once all is said by the
      inventory, by hand and by checks. A real without address is none, and packets of its slots are dropped.
  returned: when gathered
  type: list
  elements: dict
  sample:
    - vip: 198.51.100.1:443/tcp
      reals:
        - address: 10.0.0.1
          slots: 65537
checks:
  description:
    - What checks say of every real of each VIP that has a check, since when and why, and what the agent knows of it.
      That works without the agent as well.
  returned: when gathered
  type: dict
  contains:
    agent:
      description: Whether the agent is V(running), is V(stopped) or V(never ran).
      type: str
    at:
      description: When the agent last wrote what it knows; null where it never did.
      type: str
    degraded:
      description: The VIPs of which C(check.min_healthy) keeps reals in, and which.
      type: list
      elements: dict
    reals:
      description:
        - A row for each real of a VIP. RV(ignore:state) is what was applied, RV(ignore:wanted) what is about to be;
          RV(ignore:share) is per cent of its weight; RV(ignore:held) says that it is in although its state is another,
          as the VIP's floor keeps it. RV(ignore:last) is the last answer, RV(ignore:history) are the last changes.
      type: list
      elements: dict
  sample:
    agent: running
    at: "2026-11-27T12:00:00.000+00:00"
    degraded: []
    reals:
      - vip: 198.51.100.1:443/tcp
        real: 10.0.0.11
        type: https
        state: down
        since: "2026-11-27T11:58:31.402+00:00"
        reason: connection refused
        share: 100
        wanted: ""
        held: false
        last:
          state: down
          reason: connection refused
          took: 0.0004
          expires: null
          at: "2026-11-27T11:59:59.812+00:00"
        history:
          - at: "2026-11-27T11:58:31.402+00:00"
            state: down
            reason: connection refused
ready:
  description:
    - What this balancer announces, and why or why not, as the agent last decided. A routing daemon learns it from the
      kernel's table.
  returned: when gathered
  type: dict
  contains:
    table:
      description: The number of the kernel's table of routes.
      type: int
    drained:
      description: Who asked traffic to leave this balancer, and since when; null where nobody did.
      type: dict
    places:
      description:
        - A row for each address or prefix of VIPs. RV(ignore:state) is V(announced), V(draining) (traffic is asked to
          leave) or V(withdrawn), RV(ignore:route) the metric of the route that the kernel has, 0 where it has none.
      type: list
      elements: dict
  sample:
    table: 198
    drained: null
    places:
      - place: 198.51.100.1
        state: announced
        since: "2026-11-27T11:58:31.402+00:00"
        reasons: []
        vips: [198.51.100.1:443/tcp]
        route: 1
healthcheck:
  description:
    - The health-check program with its settings, destinations in the form of module
      M(katran.fleet.healthcheck_destinations), and counters. Empty where the host has none.
  returned: when gathered
  type: dict
flows:
  description: How many flows each real has, and how full each connection table is.
  returned: when gathered
  type: dict
counters:
  description:
    - Global counters, packets and bytes per VIP, and every real with its id, the VIPs that have it, what was said of
      it by hand, packets and bytes. With feature C(source_filter) also C(source_denied), and C(denied_packets) and
      C(denied_bytes) of each VIP - what its lists of clients keep out.
    - C(server_ids) has for V(quic), V(tcp) and V(udp) how packets were routed that may carry an id.
  returned: when gathered
  type: dict
maps:
  description: The maps with id, capacity and bytes of kernel memory.
  returned: when gathered
  type: dict
status:
  description:
    - What C(katran status) shows on the host, in the form of its C(--json). It is quick, and works also where a real
      has no balancer, where another run is at work, and where the record is damaged; then RV(ignore:sure) is false.
  returned: when gathered
  type: dict
  contains:
    balancer:
      description:
        - Whether all is RV(ignore:well), and if not RV(ignore:problems) and RV(ignore:differences) in sentences;
          where the program is RV(ignore:attached), whether an RV(ignore:agent) is V(running), V(stopped) or V(none),
          who RV(ignore:drained) it, how full its RV(ignore:tables) of flows are, and its RV(ignore:vips). Of each of
          these, RV(ignore:state) is V(announced), V(ready) (it serves, and nothing announces it from here),
          V(draining), V(withdrawn) or V(down). Null where the host is no balancer.
      type: dict
    real:
      description:
        - By which RV(ignore:way) packets are taken out of their tunnels, the RV(ignore:vips), RV(ignore:sources) and
          RV(ignore:counters) of a real. Null where the host is none.
      type: dict
  sample:
    balancer:
      instance: default
      well: false
      sure: true
      agent: running
      drained: null
      problems:
        - "interface eth0: balancer of instance default was taken off: no packet that comes in there is balanced
          (systemctl restart katran-restore.service brings it back, and so does a deploy)"
      differences: []
      vips:
        - vip: 198.51.100.1:443/tcp
          state: down
          reasons: [its program runs nowhere]
          reals: 2
          reals_in: 2
          ring_share: 1.0
    real: null
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.info import run_info


def main() -> None:
    run_info()


if __name__ == "__main__":
    main()
