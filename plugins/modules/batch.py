#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: batch
short_description: Judge a batch of balancers, on the controller
version_added: 0.1.0
description:
  - Says at the end of each batch of the playbooks C(katran.fleet.deploy) and C(katran.fleet.upgrade) whether the run
    goes on, from what the batch's hosts have registered, and which of them go back to what they were before the run. No
    host is reached.
  - A balancer that failed goes back in any case. Where more failed in the whole run than C(katran_max_failed) lets, all
    of the batch goes back, and the run stops. One that does not answer counts as one that failed.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common.info
options:
  preflight:
    description:
      - What M(katran.fleet.preflight) returned.
    type: dict
    required: true
  phase:
    description:
      - V(judge) says what becomes of a batch. V(end) tells of it once its hosts went back, and fails where the run
        stops with it. V(sum) fails at the end of a run that went on without a balancer.
    type: str
    choices:
      - judge
      - end
      - sum
    default: judge
  failed:
    description:
      - The name of the variable in which a host that failed has C(run), C(task) and C(why).
    type: str
    default: balancer_failed
  before:
    description:
      - The name of the variable in which a host's M(katran.fleet.gate) of the phase before is registered.
    type: str
    default: balancer_before
  judged:
    description:
      - The name of the variable in which this is registered.
    type: str
    default: balancer_batch
  reverted:
    description:
      - The name of the variable in which a host that went back has C(run) and C(why), empty where all went well.
    type: str
    default: balancer_reverted
  playbook:
    description:
      - What an operator runs again.
    type: str
    default: katran.fleet.deploy
seealso:
  - module: katran.fleet.gate
  - module: katran.fleet.preflight
"""

EXAMPLES = r"""
- name: Judge the batch
  katran.fleet.batch:
    preflight: "{{ deploy_preflight }}"
  register: balancer_batch
  run_once: true
"""

RETURN = r"""
hosts:
  description: The batch's balancers that are as wanted.
  returned: O(phase=judge)
  type: list
  elements: str
revert:
  description: Those that go back to what they were before the run.
  returned: O(phase=judge)
  type: list
  elements: str
bare:
  description: Those that would, and had no balancer before.
  returned: O(phase=judge)
  type: list
  elements: str
lost:
  description: Those that do not answer.
  returned: O(phase=judge)
  type: list
  elements: str
failures:
  description: Why each failed that did.
  returned: O(phase=judge)
  type: dict
  sample:
    lb1: "Attach the balancer: interface eth1 does not exist"
stop:
  description: Whether the run ends with this batch.
  returned: O(phase=judge)
  type: bool
lines:
  description: What became of the batch, one sentence each.
  returned: O(phase=end)
  type: list
  elements: str
"""
