#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Say what changes between two inventories of a fleet, on the controller
version_added: 0.2.0
description:
  - Works out for every balancer what the runs of its modules would do if it were exactly as the old inventory says, and
    are to make of it what the new one says; for every real, what it is told otherwise. No host is reached.
  - Prints it, what is the same on many hosts once, and all that is wrong with the new inventory, on which it fails.
  - An inventory is code. To read one runs its scripts, plugins and lookups.
  - The playbook C(katran.fleet.plan) ends with what this returns as C(exit_status).
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common.info
options:
  old:
    description:
      - The inventory to compare with, as a path, as the path of what C(ansible-inventory --list --export) printed, or
        as a git revision, which has to have the files of the run's inventory.
      - As C(REVISION:PATH) the revision needs no inventory of the run; the path is one from the top of the repository
        around the working directory.
      - C(/dev/null) is a fleet without hosts.
    type: str
    required: true
  new:
    description:
      - The other one, likewise. Without it, the inventory of the run.
    type: str
    default: ""
  path:
    description:
      - A file on the controller that gets everything as JSON. Check mode writes none.
    type: path
  markdown:
    description:
      - A file on the controller that gets the text as a comment for a merge request. Check mode writes none.
    type: path
seealso:
  - module: katran.fleet.preflight
"""

EXAMPLES = r"""
- name: Say what this branch changes
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Compare with the main branch
      katran.fleet.plan:
        old: origin/main
        markdown: plan.md
"""

RETURN = r"""
exit_status:
  description: 0 where nothing changes, 2 where something does, 1 where a deploy would not get through.
  returned: always
  type: int
  sample: 2
summary:
  description: All of it in a sentence.
  returned: when both inventories could be read
  type: str
  sample: 50 of 50 balancers changed
plan:
  description:
    - What changes. C(deltas) has, for hosts that change alike, the C(settings), the C(vips) with the C(percent) of
      their flows that moves, the C(tables), and by resource the C(changes) and C(operations) that its module will
      return; C(writes) are the operations of all resources together.
    - C(faults) and C(warnings) are those of the new inventory; C(old_faults) are why the old one cannot be compared
      with.
  returned: when both inventories could be read
  type: dict
"""
