#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host
short_description: Compare a host with what every host of the fleet is to be, and make it so
version_added: 0.1.0
description:
  - Packages, the engine with the programs' sources and its units in C(/usr/lib/katran-fleet), the command C(katran) in
    C(/usr/local/bin) with its man page and completion, and what a real needs of its kernel. All of it is read from the
    host on every run, reported and repaired, whatever the run before got to.
  - Where nothing differs it is one run of one small module. Packages are installed by M(ansible.builtin.package).
  - C(katran-restore.service) brings back at boot what the kernel forgot.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common.attributes
options:
  state:
    description:
      - V(absent) removes the units, the library and the kernel's settings, which become what they were. Packages stay.
        It is refused while an instance keeps state on the host.
    type: str
    choices:
      - present
      - absent
    default: present
  packages:
    description:
      - The packages with bcc, netaddr and pyroute2 for the system's Python and the kernel's headers for programs,
        and for O(agent) with h11, dnspython, prometheus_client and cryptography, for O(sync) with numpy. Default is
        what Debian and Ubuntu call them; on another distribution they have to be given.
      - They are installed where the host lacks what they bring.
    type: list
    elements: str
    default: []
  leaving:
    description:
      - With O(state=absent), the instances whose programs the play has removed before, or in check mode would have.
    type: list
    elements: str
    default: []
  agent:
    description:
      - Whether the host has C(katran-agent.service), as a balancer needs it, in place of C(katran-watch.service).
      - Without it, that stays as it is.
    type: bool
  sync:
    description:
      - With O(agent), whether it tells other balancers of flows, for which it needs numpy.
    type: bool
    default: false
  real:
    description:
      - What the kernel needs of a real, which answers for VIPs on interface lo. ARP is answered for a link's own
        addresses alone, and the reverse-path filter is loose, as decapsulated packets come from anywhere.
    type: dict
    suboptions:
      interfaces:
        description:
          - The interfaces on which balancers' packets arrive.
        type: list
        elements: str
        required: true
      mtu:
        description:
          - MTU of the interfaces in bytes; V(0) leaves it.
        type: int
        default: 0
      mss:
        description:
          - The largest MSS in bytes that VIPs announce to clients; V(0) leaves it. It bounds what clients send, and
            that is what balancers encapsulate. Other connections of the host are not touched, and routes stay as they
            are. It takes the package nftables.
        type: int
        default: 0
      vips:
        description:
          - The VIPs that the host serves. Without it, those of the run before.
        type: list
        elements: str
      probes_from:
        description:
          - Interfaces by which this host, which is a balancer too, asks other reals about the VIPs that it has on
            interface lo itself. There the kernel is to take answers from addresses of its own (C(accept_local)), and
            its reverse-path filter is loose.
        type: list
        elements: str
        default: []
      tunnel:
        description:
          - What balancers send here, with which the interfaces' MTUs are compared. Without it they are not.
        type: dict
        suboptions:
          encapsulation:
            description:
              - As O(katran.fleet.balancer#module:encapsulation).
            type: str
            choices:
              - ipip
              - gue
            default: ipip
          max_frame:
            description:
              - As O(katran.fleet.balancer#module:max_frame).
            type: int
            default: 1514
          ipv6:
            description:
              - Whether the tunnels to this real are of IPv6.
            type: bool
            default: false
  mtu_check:
    description:
      - What to do where an interface's MTU is too small for a packet of O(real.tunnel.max_frame) in its tunnel, which
        takes 20 bytes with ipip over IPv4 and 40 over IPv6, with GUE 8 more. V(warn) gives the numbers and the
        remedies, V(fail) makes it an error.
      - O(real.mtu) counts as set, and O(real.mss) as a bound on packets, as which it holds for TCP alone.
    type: str
    choices:
      - warn
      - fail
      - 'off'
    default: warn
  files:
    description:
      - Path in the library → SHA-256 of its content. The action plugin of this name fills it in.
    type: dict
  contents:
    description:
      - Path in the library → content, of files that differ. The action plugin of this name fills it in.
    type: dict
seealso:
  - module: katran.fleet.decap
  - module: katran.fleet.balancer
"""

EXAMPLES = r"""
- name: A balancer
  katran.fleet.host:
    agent: true

- name: Nothing of the collection, after the modules of the programs removed theirs
  katran.fleet.host:
    state: absent
    leaving: [default]

- name: A real whose links to the balancers take no larger frames
  katran.fleet.host:
    real:
      interfaces: [eth0]
      mss: 1400
      vips: [198.51.100.1, "2001:db8::1"]
"""

RETURN = r"""
changes:
  description: One line for each thing that was, or in check mode would be, done.
  returned: success
  type: list
  elements: str
  sample:
    - enable katran-agent.service
    - net/ipv4/conf/eth0/rp_filter 1 → 2
sources:
  description:
    - File of the programs' sources → SHA-256 of its content, as a run writes it. The option C(planned_sources) of the
      modules that compile them takes it.
  returned: in check mode
  type: dict
  sample:
    decap.bpf.c: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.host import run_host


def main() -> None:
    run_host()


if __name__ == "__main__":
    main()
