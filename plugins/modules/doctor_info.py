#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_info
short_description: Examine a balancer or a real, and say what is wrong with it
version_added: 0.1.0
description:
  - Examines the host as C(katran doctor) does there, and returns named findings, each with its cause and a remedy.
  - It also returns what hosts are compared by. The playbook C(katran.fleet.doctor) does so for the whole fleet, and
    tells one cause in place of its symptoms.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.info
options:
  probes:
    description:
      - On a balancer, send one flow to each real of each VIP, and see what becomes of it.
    type: bool
    default: false
  services:
    description:
      - On a real, the names of VIPs with single addresses and ports that it has to serve, such as
        V(198.51.100.1:443/tcp). Something has to listen for each, and no firewall of the host may drop its packets.
    type: list
    elements: str
    default: []
  counters_only:
    description:
      - Return RV(counters) and nothing else, which takes less time.
    type: bool
    default: false
seealso:
  - module: katran.fleet.doctor
  - module: katran.fleet.balancer_info
"""

EXAMPLES = r"""
- name: What is wrong with this host
  katran.fleet.doctor_info:
    probes: true
  register: doctor
"""

RETURN = r"""
installed:
  description: Whether the host has anything of the instance, of a balancer or of a real.
  returned: unless O(counters_only)
  type: bool
findings:
  description:
    - What is wrong, errors first. RV(ignore:name) is one of a fixed set of words, RV(ignore:about) the VIP, real,
      interface or map that it is about. RV(ignore:error) is V(true) where packets are lost or about to be.
  returned: unless O(counters_only)
  type: list
  elements: dict
  sample:
    - name: vip_not_on_lo
      about: 198.51.100.1
      cause: 198.51.100.1 is no address of this host, so what decap takes out of the tunnel is not for anybody here
      remedy: ip addr add 198.51.100.1/32 dev lo
      error: true
      host: ""
seen:
  description:
    - What was seen of the host, by role. The playbook C(katran.fleet.doctor) compares it between hosts.
  returned: unless O(counters_only)
  type: dict
counters:
  description: What decap and the kernel of a real counted since they were loaded, and booted.
  returned: when O(counters_only)
  type: dict
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.doctor import run_doctor_info


def main() -> None:
    run_doctor_info()


if __name__ == "__main__":
    main()
