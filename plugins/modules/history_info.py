#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: history_info
short_description: List the configurations that were applied to a balancer
version_added: 0.1.0
description:
  - Reads what runs that changed something left in the history of the host; C(katran history) shows the same, and what
    differs between them. M(katran.fleet.revert) goes back to one.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.info
seealso:
  - module: katran.fleet.revert
"""

EXAMPLES = r"""
- name: Who changed this balancer, and when?
  katran.fleet.history_info:
  register: history
"""

RETURN = r"""
entries:
  description: The applied configurations, oldest first. Of one that a run without an id applied, C(run) is empty.
  returned: success
  type: list
  elements: dict
  sample:
    - number: 7
      kind: applied
      began: "2026-05-04T03:02:01.123+00:00"
      run: 0f2b6c1e9d4f4b0c8d5a4d2f7a9c3e11
      user: jane
      revision: 3b1f0c2a9e77
      modules:
        - vips
      what: "vip 198.51.100.1:443/tcp: real 10.0.0.13 added (weight 1)"
      seconds: 0.4
damaged:
  description: A sentence for each entry that cannot be read.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.history_info import run_history_info


def main() -> None:
    run_history_info()


if __name__ == "__main__":
    main()
