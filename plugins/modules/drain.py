#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drain
short_description: Take a balancer out of service, and put it back
version_added: 0.1.0
description:
  - With V(drained), routers are asked to send elsewhere (metric 2, GRACEFUL_SHUTDOWN). With O(withdraw), the peers then
    hold the balancer's flow exceptions and have said so, where it tells them any (C(katran_sync)), and after that its
    routes go. Last, with O(wait), its counters are watched until they stand still.
  - The program goes on serving what still comes. The word outlives deploys, upgrades and reboots, until V(undrained).
  - It takes the agent, which announces. Where it does not run, the word is kept, and the module fails.
  - This module looks at one balancer. Playbook C(katran.fleet.drain) also sees to it that another one is left.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.attributes
options:
  state:
    description:
      - V(drained) has traffic leave, V(undrained) lets it come back.
    type: str
    choices:
      - drained
      - undrained
    default: drained
  withdraw:
    description:
      - Whether the routes go, once routers were asked to send elsewhere and the peers hold the flow exceptions. Where a
        peer that answers has not acknowledged them in time, they stay, and the module fails.
    type: bool
    default: false
  by:
    description:
      - Whose word it is, as C(katran status) and reasons show it. Who drained a balancer first remains.
    type: str
    default: ansible
  hand_over:
    description:
      - For how many seconds peers are waited for that are to acknowledge the flow exceptions.
    type: float
    default: 30
  wait:
    description:
      - For how many seconds at most it is waited, with V(drained) until no packet came for three seconds, with
        V(undrained) until all is announced again that is to be. With 0 nobody waits. That it took longer is no failure;
        RV(still) and RV(missing) tell.
    type: float
    default: 0
seealso:
  - module: katran.fleet.reals
  - module: katran.fleet.balancer_info
"""

EXAMPLES = r"""
- name: Take a balancer out of service
  katran.fleet.drain:
    withdraw: true
    by: alice
    wait: 120
  register: left
  failed_when: left is failed or left.still is false

- name: Put it back, and wait until routers hear of it
  katran.fleet.drain:
    state: undrained
    wait: 60
"""

RETURN = r"""
changes:
  description: One line for each thing that was, or in check mode would be, done.
  returned: success
  type: list
  elements: str
  sample:
    - "balancer default: traffic is asked to leave, by alice, and its routes are withdrawn"
drained:
  description: Since when and by whom it is drained, and whether its routes are withdrawn; null where it is not.
  returned: always
  type: dict
routes:
  description: The routes that announce it at last, each with its metric. 1 is ready, 2 asks traffic to go elsewhere.
  returned: outside check mode
  type: list
  elements: dict
peers:
  description:
    - What each peer did with the flow exceptions - V(acknowledged), V(waiting) or V(unreachable). Empty where nothing
      was handed over.
  returned: always
  type: dict
rates:
  description: Packets per second, one number for each second that was waited.
  returned: always
  type: list
  elements: float
falling:
  description: The same in a line for people.
  returned: always
  type: str
  sample: 12,400 → 3,100 → 210 → 0 packets/s
still:
  description: Whether its counters stood still for three seconds; null where nobody waited.
  returned: always
  type: bool
missing:
  description: What is not announced after O(wait) seconds with V(undrained), and why.
  returned: always
  type: list
  elements: dict
  contains:
    place:
      description: Address or prefix.
      type: str
    reason:
      description: Why it is not announced.
      type: str
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.drain import run_drain


def main() -> None:
    run_drain()


if __name__ == "__main__":
    main()
