#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: leaving_info
short_description: Count what still goes to reals that are drained
version_added: 0.1.0
description:
  - Counts flows and packets that a balancer sends to some reals, whichever VIP they are of. Nothing is changed.
  - Entries of TCP have no age, so that a connection which ended is a flow until its entry makes room for another.
    Packets tell what lives - RV(quiet) says for how long there was none.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.info
options:
  reals:
    description:
      - The addresses of reals.
    type: list
    elements: str
    required: true
  wait:
    description:
      - For how many seconds packets are counted.
    type: float
    default: 0
seealso:
  - module: katran.fleet.reals
  - module: katran.fleet.flows_info
"""

EXAMPLES = r"""
- name: Does anything still go to this real
  katran.fleet.leaving_info:
    reals: [10.0.0.12]
    wait: 5
  register: leaving
"""

RETURN = r"""
known:
  description: Those of the reals that the balancer has.
  returned: success
  type: list
  elements: str
flows:
  description: How many entries connection tables have for them.
  returned: success
  type: int
rates:
  description: Packets per second, one number for each second that was waited.
  returned: success
  type: list
  elements: float
quiet:
  description: For how many seconds there was no packet, at the end of the time that was waited.
  returned: success
  type: float
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.leaving_info import run_leaving_info


def main() -> None:
    run_leaving_info()


if __name__ == "__main__":
    main()
