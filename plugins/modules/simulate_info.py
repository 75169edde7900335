#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: simulate_info
short_description: Ask a balancer where a flow would go, and why
version_added: 0.1.0
description:
  - Runs a packet of each flow through a second copy of the loaded program, which reads the live VIPs, rings, reals and
    routes, and into whose own connection tables the flow's entry is copied. No counter, no table and no packet of the
    balancer is touched.
  - For TCP it is a packet of a connection that is open (ACK). With flag C(quic) or C(udp_stable_routing) it carries
    O(flows[].server_id) if that is given.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.info
options:
  flows:
    description:
      - The flows to ask for, up to 10000.
    type: list
    elements: dict
    required: true
    suboptions:
      source:
        description:
          - The client's address.
        type: str
        required: true
      destination:
        description:
          - The address that the client sends to.
        type: str
        required: true
      source_port:
        description:
          - The client's port.
        type: int
        required: true
      destination_port:
        description:
          - The port that the client sends to.
        type: int
        required: true
      protocol:
        description:
          - The transport protocol.
        type: str
        choices:
          - tcp
          - udp
        required: true
      server_id:
        description:
          - The server id that the packet carries, in a QUIC connection id, in the header of stable UDP routing, or in
            the TCP option.
        type: int
seealso:
  - module: katran.fleet.flows_info
  - module: katran.fleet.balancer_info
"""

EXAMPLES = r"""
- name: Why does this client reach that real
  katran.fleet.simulate_info:
    flows:
      - source: 192.0.2.7
        destination: 198.51.100.1
        source_port: 31337
        destination_port: 443
        protocol: tcp
  register: asked

- name: Say it
  ansible.builtin.debug:
    msg: "{{ asked.flows[0].detail }}"
"""

RETURN = r"""
flows:
  description: One answer for each flow, in their order.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description:
        - V(sent) to a real in a tunnel, V(passed) to the host itself, V(dropped), or V(aborted) by an error of the
          program.
      type: str
    vip:
      description: The VIP that the packet is for; null where it is for none.
      type: str
      sample: 198.51.100.1:443/tcp
    real:
      description: The real's address; null where there is none.
      type: str
    real_id:
      description: The real's id; null where there is none.
      type: int
    reason:
      description:
        - How the real was found. V(no_vip), V(connection_table), V(global_table), V(server_id), V(source_route),
          V(ring), V(no_real) where none was, or V(denied) by the VIP's lists of clients.
      type: str
    detail:
      description: The reason as a sentence.
      type: str
      sample: "slot 40512 of the ring leads to real 10.0.0.11"
    local:
      description: Whether the VIP's packet is delivered to this host itself.
      type: bool
    encapsulation:
      description: The tunnel, by its outer headers; empty where nothing is sent.
      type: dict
      sample: {type: ipip, source: 172.16.104.123, destination: 10.0.0.11, gateway_mac: 02:00:00:00:00:01}
    entries:
      description:
        - The flow's entries in the live tables, in the form of M(katran.fleet.flows_info). Where CPUs differ, the
          answer is that of the newest.
      type: list
      elements: dict
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.simulate import run_simulate_info


def main() -> None:
    run_simulate_info()


if __name__ == "__main__":
    main()
