#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: import_katran
short_description: Write an inventory of Katrans that run on hosts
version_added: 0.1.0
description:
  - Writes on the controller what M(katran.fleet.katran_info) returned for the hosts of the play. What is the same on
    all of them goes to C(group_vars), the rest to C(host_vars), and is told. What has no equivalent stands in
    C(notes.txt).
  - A file that is there already, with another content, is left alone unless O(force) is given. No host is reached.
  - The playbook C(katran.fleet.import_katran) has all the tasks that this takes.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common.attributes
attributes:
  diff_mode:
    support: none
options:
  found:
    description:
      - The name of the variable in which results of M(katran.fleet.katran_info) are registered.
    type: str
    required: true
  path:
    description:
      - The folder on the controller for the inventory. It is made where it is not there.
    type: path
    required: true
  group:
    description:
      - The group that the hosts are in.
    type: str
    default: balancers
  force:
    description:
      - Write over files that are there.
    type: bool
    default: false
seealso:
  - module: katran.fleet.katran_info
"""

EXAMPLES = r"""
- name: Write an inventory
  katran.fleet.import_katran:
    found: katran
    path: /home/me/fleet
  run_once: true
  register: written
"""

RETURN = r"""
changes:
  description: One line for each file that was, or in check mode would be, written.
  returned: success
  type: list
  elements: str
notes:
  description: What has no equivalent in an inventory, and where hosts differ.
  returned: success
  type: list
  elements: str
vips:
  description: For each host the VIPs that its files say.
  returned: success
  type: dict
"""
