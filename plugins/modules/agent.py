#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: agent
short_description: Say what the agent of a balancer's host is to do for it
version_added: 0.1.0
description:
  - C(katran-agent.service) checks the reals of VIPs that have a check, announces VIPs that are ready, tells other
    balancers of flows, and serves metrics. What it checks and announces it takes from the VIPs themselves; this module
    says the rest. The unit is module M(katran.fleet.host)'s.
  - The settings are in C(agent.json) beside the balancer's state, for root alone. The agent reads them as soon as they
    are others, and goes on with what it knows.
  - The key of flow exceptions is shown neither in a diff nor in a result.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.attributes
options:
  state:
    description:
      - V(absent) has the agent let go of the balancer. Its routes are withdrawn, and what the agent keeps of it goes.
        Verdicts stay as they are.
    type: str
    choices:
      - present
      - absent
    default: present
  interface:
    description:
      - Where the play attached program healthcheck for the agent; empty where it did not. It is kept, so that a later
        run knows whose the program is.
    type: str
    default: ''
  announce_table:
    description:
      - The kernel's table of routes that routing daemons learn, 1 to 4294967295 but not one of the kernel's own.
    type: int
    default: 198
  max_probes:
    description:
      - As many probes a second are made at most, 1 to 100000.
    type: int
    default: 2000
  metrics_listen:
    description:
      - One address and port, or a list of them, where metrics are served beside the unix socket; an empty list for the
        socket alone. An address that others reach needs O(metrics_allow).
    type: raw
    default: 127.0.0.1:9463
  metrics_allow:
    description:
      - The prefixes of who may read metrics beside the host itself.
    type: list
    elements: str
    default: []
  metrics_real:
    description:
      - Whether every real of every VIP has series of its own.
    type: bool
    default: false
  sync:
    description:
      - Whether other balancers are told of flows that are not where today's rings would put them, and theirs are held.
    type: bool
    default: false
  sync_key:
    description:
      - The key that all balancers share, 32 bytes as 64 hexadecimal digits or in base64. Required with O(sync).
    type: str
    default: ''
  sync_port:
    description:
      - The UDP port of all of them.
    type: int
    default: 9464
  sync_address:
    description:
      - The address of this host that peers send to. Default is the one from which it reaches the first of them.
    type: str
    default: ''
  sync_peers:
    description:
      - The addresses of the other balancers.
    type: list
    elements: str
    default: []
seealso:
  - module: katran.fleet.host
  - module: katran.fleet.vips
  - module: katran.fleet.healthcheck
"""

EXAMPLES = r"""
- name: As it is by default
  katran.fleet.agent:

- name: Metrics for the servers that ask for them, and flows for the other balancer
  katran.fleet.agent:
    metrics_listen: 192.0.2.10:9463
    metrics_allow: [192.0.2.0/24]
    sync: true
    sync_key: "{{ vault_katran_sync_key }}"
    sync_peers: [192.0.2.11]
"""

RETURN = r"""
changes:
  description: One line for each thing that was, or in check mode would be, done.
  returned: success
  type: list
  elements: str
  sample:
    - the agent's max_probes 2000 → 4000
left:
  description: The interface whose program healthcheck the agent needs no more; empty where it is as before.
  returned: success
  type: str
  sample: eth0
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.agent import run_agent


def main() -> None:
    run_agent()


if __name__ == "__main__":
    main()
