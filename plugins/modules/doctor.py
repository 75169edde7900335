#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor
short_description: Say what is wrong with a fleet, of what its hosts told
version_added: 0.1.0
description:
  - Joins on the controller what M(katran.fleet.doctor_info) returned for each host, compares hosts with each other and
    with the inventory, and says of each fault the cause and the remedy, without the symptoms that it explains. No host
    is reached, and what is found is no failure of this task.
  - The playbook C(katran.fleet.doctor) has all the tasks that this takes, and fails where it finds an error.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common.info
options:
  preflight:
    description:
      - What M(katran.fleet.preflight) returned. Where it failed, nothing is compared with the inventory.
    type: dict
    required: true
  examined:
    description:
      - The names of variables in which results of M(katran.fleet.doctor_info) are registered. Of several of one host,
        the last counts. A host of the fleet that has none of them is not looked at, as with C(--limit).
    type: list
    elements: str
    required: true
  counted:
    description:
      - The name of a variable in which reals have registered their counters afterwards.
    type: str
  path:
    description:
      - A file on the controller that gets the result as JSON. Check mode writes none.
    type: path
seealso:
  - module: katran.fleet.doctor_info
"""

EXAMPLES = r"""
- name: Say what is wrong
  katran.fleet.doctor:
    preflight: "{{ doctor_preflight }}"
    examined: [doctor_real, doctor_balancer]
  run_once: true
  register: doctor_diagnosis
"""

RETURN = r"""
findings:
  description: What is wrong, errors first, as module M(katran.fleet.doctor_info) has them, each with its host.
  returned: always
  type: list
  elements: dict
explained:
  description: Findings of hosts that others explain, which are not among RV(findings).
  returned: always
  type: list
  elements: dict
inventory:
  description: Why nothing was compared with the inventory, which is not valid.
  returned: when it is not
  type: str
errors:
  description: How many findings are errors.
  returned: always
  type: int
summary:
  description: The whole in a sentence.
  returned: always
  type: str
  sample: "OK: 4 VIPs over 2 balancers and 3 reals"
"""
