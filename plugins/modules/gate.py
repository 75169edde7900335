#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gate
short_description: Find out whether a balancer does after a change what it did before
version_added: 0.1.0
description:
  - With O(phase=before), counts for 0.3 seconds what goes through the balancer, and tells what checks say and what is
    announced. With O(phase=after), watches for some seconds, compares, and fails with a sentence for each thing that is
    worse. Nothing is ever written.
  - Worse is a share of packets dropped, for any reason, that the share before does not explain; packets that a VIP took
    and no real was sent; the use of C(fallback_cache); a VIP, or new flows altogether, that came steadily and ceased; a
    real that checks let in before and have out; and an announcement that is gone.
  - Besides, packets of flows to every VIP run through a second copy of the loaded program, as that of
    M(katran.fleet.simulate_info). Each has to be sent to a real of its VIP. That needs no traffic.
  - Little traffic proves nothing, and so raises no alarm.
  - The playbooks C(katran.fleet.deploy) and C(katran.fleet.upgrade) use it after each batch.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.info
options:
  phase:
    description:
      - Whether the change is still to come.
    type: str
    choices:
      - before
      - after
    required: true
  before:
    description:
      - With O(phase=after), RV(sample) of the phase before. Without it only that is judged which needs no comparison.
    type: dict
  seconds:
    description:
      - How long to watch after the change. It takes less where something is clearly worse, and one second where there
        was no traffic and no check before. V(0) looks at nothing, in both phases.
    type: float
    default: 5.0
  drained:
    description:
      - Whether traffic is led elsewhere while this looks, so that its absence says nothing.
    type: bool
    default: false
seealso:
  - module: katran.fleet.simulate_info
  - module: katran.fleet.doctor_info
"""

EXAMPLES = r"""
- name: Look before anything changes
  katran.fleet.gate:
    phase: before
  register: before

- name: Change something
  katran.fleet.balancer:
    interfaces: [eth0]

- name: Fail where the balancer does worse than before
  katran.fleet.gate:
    phase: after
    before: "{{ before.sample }}"
"""

RETURN = r"""
sample:
  description: What the balancer did, for O(before).
  returned: O(phase=before)
  type: dict
faults:
  description: What is worse than before, one sentence each.
  returned: O(phase=after)
  type: list
  elements: str
  sample:
    - "vip 198.51.100.1:443/tcp: of 8 simulated packets, 8 dropped, as if for no VIP"
seconds:
  description: How long it watched.
  returned: O(phase=after)
  type: float
simulated:
  description: How many flows were simulated.
  returned: O(phase=after)
  type: int
packets:
  description: How many packets came meanwhile.
  returned: O(phase=after)
  type: int
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.gate import run_gate


def main() -> None:
    run_gate()


if __name__ == "__main__":
    main()
