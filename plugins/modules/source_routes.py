#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: source_routes
short_description: Manage the source routes of a balancer
version_added: 0.1.0
description:
  - Clients of a prefix go to a real of their own, whatever the ring of the VIP says. The longest prefix wins.
  - It takes VIPs with flag C(source_routing) and a balancer with feature C(source_routing).
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.resource
  - katran.fleet.common.planned
  - katran.fleet.common.unready
  - katran.fleet.common.attributes
options:
  config:
    description:
      - The source routes. O(config[].prefix) names an entry.
    type: list
    elements: dict
    suboptions:
      prefix:
        description:
          - A prefix of client addresses.
        type: str
        required: true
      real:
        description:
          - Where these clients go. A prefix of IPv6 takes a real of IPv6 alone. Required unless O(state=deleted), or
            O(state=merged) with an entry that exists.
        type: str
seealso:
  - module: katran.fleet.balancer
  - module: katran.fleet.vips
"""

EXAMPLES = r"""
- name: Exactly these source routes
  katran.fleet.source_routes:
    state: overridden
    config:
      - prefix: 192.0.2.0/24
        real: 10.0.0.21
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
  sample: ["source route 192.0.2.0/24: added (10.0.0.21)"]
operations:
  description: Entries written per map.
  returned: success
  type: dict
timings:
  description: Seconds spent in each phase.
  returned: success
  type: dict
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.resource import run_resource


def main() -> None:
    run_resource("source_routes")


if __name__ == "__main__":
    main()
