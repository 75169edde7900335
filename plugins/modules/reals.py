#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: reals
short_description: Drain reals, or take them down, in every VIP at once
version_added: 0.1.0
description:
  - Lays a state over every VIP that has the real. The overlay is kept apart from the VIPs, so that a deploy does not
    undo it; M(katran.fleet.vips) warns of it until O(state=deleted) ends it.
  - A VIP's last real that takes new flows is refused, whether the others were drained by hand, in the same run or by
    the inventory (weight 0, state draining or down). O(allow_empty) says that it is meant.
  - Source routes and server ids name their reals, and go on leading to one that is drained. A warning names them.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.resource
  - katran.fleet.common.planned
  - katran.fleet.common.attributes
options:
  config:
    description:
      - The reals. O(config[].address) names an entry.
    type: list
    elements: dict
    suboptions:
      address:
        description:
          - The real's address.
        type: str
        required: true
      state:
        description:
          - V(active) takes new flows whatever the VIPs say, but not against a check; V(draining) keeps its old flows
            alone; V(down) also has its UDP flows moved away where the VIP has flag C(udp_flow_migration). Required
            unless O(state=deleted).
        type: str
        choices:
          - active
          - draining
          - down
      since:
        description:
          - When that was said, as ISO 8601 with its time zone. It says that the word, or its end, is one of the whole
            fleet, as playbooks C(katran.fleet.drain_real) and C(katran.fleet.undrain_real) say it. Balancers that were
            away are told of it by the next of these or deploy. Without it the word is this balancer's alone.
        type: str
  newest:
    description:
      - Apply only what is newer than what this balancer heard of the real, by O(config[].since).
    type: bool
    default: false
  allow_empty:
    description:
      - Allow what leaves VIPs without a real for new flows, and O(state=overridden) and O(state=deleted) with an empty
        or absent O(config), which ends everything that was said by hand.
    type: bool
    default: false
  purge_flows:
    description:
      - Also remove the connection-table entries of reals that become V(draining) or V(down), so that their flows are
        balanced anew at once.
    type: bool
    default: false
seealso:
  - module: katran.fleet.balancer
  - module: katran.fleet.vips
"""

EXAMPLES = r"""
- name: Drain a server before its upgrade
  katran.fleet.reals:
    config:
      - address: 10.0.0.12
        state: draining

- name: Give it back
  katran.fleet.reals:
    state: deleted
    config:
      - address: 10.0.0.12
"""

RETURN = r"""
by_hand:
  description:
    - What was said of the fleet, C(words) that hold and those that C(ended), with their reals and moments.
  returned: success
  type: dict
starts:
  description: How soon each real that is let in again has its whole weight, in sentences.
  returned: success
  type: list
  elements: str
  sample: ["real 10.0.0.12 has its whole weight in 60 s (slow_start) in 198.51.100.1:443/tcp"]
before:
  description: The changed entries as they were.
  returned: success
  type: list
  elements: dict
after:
  description: The changed entries as they are now, or in check mode would be.
  returned: success
  type: list
  elements: dict
changes:
  description: One line for each change.
  returned: success
  type: list
  elements: str
  sample: ["real 10.0.0.12: as its VIPs say → draining"]
operations:
  description: Entries written per map.
  returned: success
  type: dict
timings:
  description: Seconds spent in each phase.
  returned: success
  type: dict
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.vips import run_reals


def main() -> None:
    run_reals()


if __name__ == "__main__":
    main()
