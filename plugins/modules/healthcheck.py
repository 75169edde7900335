#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: healthcheck
short_description: Let a health checker on this host probe each real through a VIP
version_added: 0.1.0
description:
  - Attaches program healthcheck to the way out of an interface. What a checker sends to a VIP from a socket with
    C(SO_MARK) leaves in a tunnel to the real that module M(katran.fleet.healthcheck_destinations) gives for that mark,
    as if the balancer had chosen it. Everything else leaves untouched.
  - The program is a bpf filter of the qdisc C(clsact), which is added where the interface has none, and taken away
    again with the program.
  - The addresses and MACs are written to the program's maps, and repaired there if somebody else changed them.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.sources
  - katran.fleet.common.attributes
requirements:
  - python3-bpfcc, linux-libc-dev and python3-pyroute2 on the host
options:
  state:
    description:
      - V(absent) takes the program, its maps, its destinations and its qdisc away.
    type: str
    choices:
      - attached
      - absent
    default: attached
  interface:
    description:
      - The interface by which probes leave. Required with O(state=attached).
      - With O(root_array_path), V(auto) is an interface whose XDP program has that array, and over which a default
        route leads - where it was before, else the first. Where the root program is called by another, as by a
        dispatcher, it is the interface of the default route.
    type: str
  root_array_path:
    description:
      - For V(auto) as O(interface), the pin of the root program's array in which the balancer has a slot
        (O(katran.fleet.balancer#module:root_array)).
    type: path
  encapsulation:
    description:
      - What the reals take, as for module M(katran.fleet.balancer).
    type: str
    choices:
      - ipip
      - gue
    default: ipip
  gue_port:
    description:
      - The UDP port of GUE.
    type: int
    default: 6080
  source_ipv4:
    description:
      - The outer source of probes to IPv4 reals; V(auto) is the first global address of O(interface).
      - Reals take tunnels from listed sources alone, so this must be among O(katran.fleet.decap#module:sources). The
        roles list C(katran_healthcheck_sources).
    type: str
    default: auto
  source_ipv6:
    description:
      - The outer source of probes to IPv6 reals; V(auto) is the first global address of O(interface).
    type: str
    default: auto
  source_mac:
    description:
      - The source MAC of probes; V(auto) is that of O(interface).
    type: str
    default: auto
  gateway_mac:
    description:
      - Where probes are sent; V(auto) is the MAC of the default route's gateway.
    type: str
    default: auto
  max_frame:
    description:
      - The longest probe in bytes with its Ethernet header, before its tunnel; a longer one is dropped, as a longer
        frame of a client is by the balancer (O(katran.fleet.balancer#module:max_frame)).
    type: int
    default: 1514
  counted_vips:
    description:
      - VIPs whose probes are counted apart; M(katran.fleet.balancer_info) shows the counts.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description:
          - The VIP's address.
        type: str
        required: true
      port:
        description:
          - The VIP's port.
        type: int
        required: true
      protocol:
        description:
          - The VIP's transport protocol.
        type: str
        choices:
          - tcp
          - udp
        required: true
seealso:
  - module: katran.fleet.healthcheck_destinations
  - module: katran.fleet.balancer
"""

EXAMPLES = r"""
- name: Probe reals through the tunnel
  katran.fleet.healthcheck:
    interface: eth0

- name: Mark 1 is the first real
  katran.fleet.healthcheck_destinations:
    state: overridden
    config:
      - mark: 1
        real: 10.0.0.11
"""

RETURN = r"""
changes:
  description: One line for each step that was, or in check mode would be, taken.
  returned: success
  type: list
  elements: str
  sample: ["gateway MAC 02:00:00:00:00:01 → 02:00:00:00:00:02"]
operations:
  description: Entries written per map.
  returned: success
  type: dict
  sample: {hc_pckt_macs: 1}
program:
  description: The loaded program.
  returned: when O(state=attached), outside check mode
  type: dict
  sample: {id: 42, instructions: 740, interface: eth0, tag: 9da7fe360a8cfcb3}
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.healthcheck import run_healthcheck


def main() -> None:
    run_healthcheck()


if __name__ == "__main__":
    main()
