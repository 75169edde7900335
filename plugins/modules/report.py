#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Write one page about a fleet, of what its balancers told
version_added: 0.1.0
description:
  - Joins on the controller what M(katran.fleet.report_info) returned for each balancer, and writes it as one file of
    HTML that needs no network - what differs between balancers, what is wrong, VIPs with the shares that their reals
    should have and have, drops by reason, how full flow tables are, programs and kernels, and the last changes.
  - No host is reached. A balancer that did not answer is a finding on the page, and no failure.
  - The playbook C(katran.fleet.report) has all the tasks that this takes.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common.info
options:
  balancers:
    description:
      - The balancers of the inventory. One that has no O(told) was not asked, as with C(--limit), and the page says so.
    type: list
    elements: str
    required: true
  told:
    description:
      - The name of the variable in which results of M(katran.fleet.report_info) are registered.
    type: str
    required: true
  path:
    description:
      - The file on the controller. It is replaced as a whole, and its owner alone may read it. Check mode writes none.
    type: path
    required: true
  title:
    description:
      - What the page is called.
    type: str
    default: Fleet report
seealso:
  - module: katran.fleet.report_info
  - module: katran.fleet.doctor
  - module: katran.fleet.drift
"""

EXAMPLES = r"""
- name: Write the report
  katran.fleet.report:
    balancers: "{{ groups['balancers'] }}"
    told: report_told
    path: katran-report.html
  run_once: true
"""

RETURN = r"""
path:
  description: Where the file is, in full.
  returned: always
  type: str
bytes:
  description: How large the page is.
  returned: always
  type: int
differences:
  description: In how many things balancers differ.
  returned: always
  type: int
errors:
  description: How many findings lose packets or are about to, balancers without an answer among them.
  returned: always
  type: int
warnings_found:
  description: How many findings do not yet.
  returned: always
  type: int
summary:
  description: The whole in a sentence.
  returned: always
  type: str
  sample: "1 difference, 2 warnings (4 VIPs over 2 balancers)"
seconds:
  description: Seconds that the controller took to join and write it.
  returned: when it was written
  type: float
"""
