#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report_info
short_description: Read what the report of a fleet tells of a balancer
version_added: 0.1.0
description:
  - Returns in one task, and compactly, what module M(katran.fleet.report) writes about - how a balancer is, its VIPs
    with the slots and the flows that each real has, digests by which balancers are compared, what C(katran doctor)
    finds without probe flows, and the applied configurations on record.
  - Nothing is written on the host, not even a lock file.
  - The playbook C(katran.fleet.report) has all the tasks that this takes. For programs of your own,
    M(katran.fleet.balancer_info) is easier to read.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.info
seealso:
  - module: katran.fleet.report
  - module: katran.fleet.balancer_info
  - module: katran.fleet.doctor_info
"""

EXAMPLES = r"""
- name: Read what the report tells of a balancer
  katran.fleet.report_info:
  register: report_told
"""

RETURN = r"""
facts:
  description:
    - What the balancer tells. VIPs whose reals have the same slots share one of its pools; rows of numbers are texts,
      in the order of the pool's reals. C(flows) are entries of the connection tables, of at most 200,000 that were
      looked at.
  returned: always
  type: dict
  sample:
    installed: true
    instance: default
    agent: running
    kernel: 6.1.0-28-amd64
    reals: [10.0.0.11, 10.0.0.12]
    pools:
      - reals: 0 1
        slots: 43691 21846
    vips:
      - vip: 198.51.100.1:443/tcp
        state: announced
        pool: 0
        flows: 1320 668
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed(makes=False)

from ansible_collections.katran.fleet.plugins.module_utils._ansible.report import run_report_info


def main() -> None:
    run_report_info()


if __name__ == "__main__":
    main()
