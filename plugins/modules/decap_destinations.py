#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: decap_destinations
short_description: Manage the addresses at which a balancer takes tunnels apart
version_added: 0.1.0
description:
  - Packets encapsulated to one of these addresses are stripped, and what was inside is balanced.
  - It takes a balancer with feature C(inline_decap).
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.resource
  - katran.fleet.common.planned
  - katran.fleet.common.attributes
options:
  config:
    description:
      - The addresses. O(config[].address) names an entry.
    type: list
    elements: dict
    suboptions:
      address:
        description:
          - The outer destination.
        type: str
        required: true
      egress:
        description:
          - Send what was inside out again to where it came from instead of balancing it. Only for GUE. Default for a
            new entry is V(false).
        type: bool
seealso:
  - module: katran.fleet.balancer
  - module: katran.fleet.vips
"""

EXAMPLES = r"""
- name: Exactly these tunnel ends
  katran.fleet.decap_destinations:
    state: overridden
    config:
      - address: 2001:db8::404
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
  sample: ["decapsulation destination 2001:db8::404: added (ingress)"]
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
    run_resource("decap_destinations")


if __name__ == "__main__":
    main()
