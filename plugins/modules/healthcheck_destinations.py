#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: healthcheck_destinations
short_description: Manage which real a health checker's mark leads to
version_added: 0.1.0
description:
  - A checker that sets C(SO_MARK) on its socket probes the real of that mark, whatever the rings say, once module
    M(katran.fleet.healthcheck) is attached.
  - The marks 1258291200 to 1275068415 (C(0x4B000000) to C(0x4BFFFFFF)) are those of the agent's probes, which it keeps
    itself. This module neither adds nor changes one, and O(state=overridden) leaves them. Only O(state=deleted) that
    names one removes it, until the agent needs it again.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.resource
  - katran.fleet.common.attributes
options:
  config:
    description:
      - The destinations. O(config[].mark) names an entry.
    type: list
    elements: dict
    suboptions:
      mark:
        description:
          - The socket's mark, 1 to 4294967295, and none of the agent's.
        type: int
        required: true
      real:
        description:
          - The real that packets with this mark go to. An IPv4 real takes probes of IPv4 VIPs alone.
          - Required unless O(state=deleted), or O(state=merged) with an entry that exists.
        type: str
seealso:
  - module: katran.fleet.healthcheck
"""

EXAMPLES = r"""
- name: Exactly these destinations
  katran.fleet.healthcheck_destinations:
    state: overridden
    config:
      - mark: 1
        real: 10.0.0.11
      - mark: 2
        real: 2001:db8:1::11
"""

RETURN = r"""
before:
  description: The changed entries as they were.
  returned: success
  type: list
  elements: dict
after:
  description: The changed entries as they are now, or in check mode would be.
  returned: success
  type: list
  elements: dict
changes:
  description: One line for each change.
  returned: success
  type: list
  elements: str
  sample: ["mark 1: 10.0.0.11 → 10.0.0.12"]
operations:
  description: Entries written per map.
  returned: success
  type: dict
  sample: {hc_reals_map: 1}
timings:
  description: Seconds spent in each phase.
  returned: success
  type: dict
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.resource import run_resource


def main() -> None:
    run_resource("healthcheck_destinations")


if __name__ == "__main__":
    main()
