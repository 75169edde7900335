#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drift
short_description: Say what a fleet has that the inventory has not
version_added: 0.1.0
description:
  - Joins on the controller what M(katran.fleet.drift_info) returned for each host, compares the balancers' rings and
    programs with each other, and prints what is the same everywhere first, then each difference once with its hosts.
    No host is reached.
  - The playbook C(katran.fleet.drift) has all the tasks that this takes, and ends with RV(exit_status).
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
  found:
    description:
      - The name of the variable in which results of M(katran.fleet.drift_info) are registered. A host of the fleet that
        has none is not looked at, as with C(--limit).
    type: str
    required: true
  path:
    description:
      - A file on the controller that gets the result as JSON. Check mode writes none.
    type: path
seealso:
  - module: katran.fleet.drift_info
"""

EXAMPLES = r"""
- name: Say what differs
  katran.fleet.drift:
    preflight: "{{ drift_preflight }}"
    found: drift_found
  run_once: true
  register: drift_report
"""

RETURN = r"""
findings:
  description: The differences, as M(katran.fleet.drift_info) has them, each with its host.
  returned: always
  type: list
  elements: dict
hosts:
  description: Host → its roles, whether it has drifted, what is worth knowing beside, and what it was compared by.
  returned: always
  type: dict
same:
  description: What is the same on all balancers.
  returned: always
  type: list
  elements: str
exit_status:
  description: V(3) where anything differs or could not be compared, V(0) where nothing does, V(1) after an error.
  returned: always
  type: int
summary:
  description: The whole in a sentence.
  returned: always
  type: str
  sample: "drift: 2 differences on lb3 (4 balancers and 3 reals)"
"""
