#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: balancer
short_description: Compile, load and attach the XDP load balancer of a host
version_added: 0.1.0
description:
  - Creates and pins the BPF maps, compiles the program with bcc when its sources, settings or compiler changed,
    loads it and attaches it to interfaces with the kernel's compare-and-replace.
  - A program is replaced without touching the maps, so connections and counters survive.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.attributes
requirements:
  - python3-bpfcc and linux-libc-dev on the host, to compile
  - python3-pyroute2 on the host, to attach
options:
  state:
    description:
      - V(attached) is loaded and attached to O(interfaces).
      - V(loaded) has maps and program pinned and forwards nothing.
      - V(rolled_back) is the program before the last upgrade, with its settings; it stays until the sources or settings
        differ from those it was rolled back from. Where O(encapsulation) or the outer sources were others then, let
        reals take tunnels from those first (C(katran_real_sources)).
      - V(absent) is detached, with its pins, state and lock removed.
    type: str
    choices:
      - attached
      - loaded
      - rolled_back
      - absent
    default: attached
  interfaces:
    description:
      - The interfaces whose packets are balanced.
    type: list
    elements: str
    default: []
  mode:
    description:
      - V(native) runs in the driver, V(generic) in the kernel's stack, V(auto) natively where the driver can; where it
        cannot, a warning gives the kernel's reason.
    type: str
    choices:
      - native
      - generic
      - auto
    default: native
  source_dir:
    description:
      - Where the program's sources are. They must belong to root and be writable by nobody else.
    type: path
    default: /usr/lib/katran-fleet/bpf
  planned_sources:
    description:
      - File of O(source_dir) → SHA-256 of its content, once other tasks of the play have written it. By these, check
        mode tells whether the program is compiled anew.
      - M(katran.fleet.host) returns them in check mode, and the roles pass them on.
    type: dict
  encapsulation:
    description:
      - How packets travel to reals. V(ipip) is IPv4 or IPv6 in IPv4 or IPv6, V(gue) the same in UDP.
    type: str
    choices:
      - ipip
      - gue
    default: ipip
  gue_port:
    description:
      - The UDP port of V(gue), sent to and decapsulated from.
    type: int
    default: 6080
  features:
    description:
      - What is compiled in beyond TCP, UDP, QUIC, both address families and the encapsulation.
    type: list
    elements: str
    choices:
      - source_routing
      - tcp_server_id
      - udp_stable_routing
      - udp_flow_migration
      - cidr_vips
      - global_lru
      - icmp_too_big
      - inline_decap
      - local_delivery
      - introspection
      - flow_debug
      - server_id_hash
      - vlan
    default: []
  source_ipv4:
    description:
      - The outer IPv4 source of V(gue), and this host's own address for decapsulation; V(auto) is the interface's.
    type: str
    default: auto
  source_ipv6:
    description:
      - The outer IPv6 source, likewise.
    type: str
    default: auto
  source_prefix_ipv4:
    description:
      - The upper half of V(ipip)'s outer IPv4 source; the lower half varies with the flow.
    type: str
    default: 172.16.0.0/16
  source_prefix_ipv6:
    description:
      - The upper half of V(ipip)'s outer IPv6 source.
    type: str
    default: 100::/64
  gateway_mac:
    description:
      - The MAC to which encapsulated packets are sent; V(auto) is the default route's gateway.
    type: str
    default: auto
  copy_tos:
    description:
      - Copy the inner ToS or traffic class to the outer header.
    type: bool
    default: true
  decap_any:
    description:
      - With feature C(inline_decap), decapsulate whatever the outer destination is, and from any outer source. Whoever
        can send to this host may then pass inner packets of any source into its network.
    type: bool
    default: false
  decap_sources:
    description:
      - With feature C(inline_decap), the outer sources from which tunnels are taken, addresses and prefixes; those of
        others are passed on untouched. Default is O(source_prefix_ipv4) and O(source_prefix_ipv6).
      - Of balancers with V(gue), list the addresses. The role does so.
    type: list
    elements: str
    default: []
  sizes:
    description:
      - Capacities of the maps. Flows are sums over all CPUs.
    type: dict
    default: {}
    suboptions:
      vips:
        description: VIPs.
        type: int
        default: 512
      cidr_vips:
        description: CIDR VIPs per address family.
        type: int
        default: 256
      reals:
        description: Real ids; id 0 is never a real.
        type: int
        default: 4096
      ring:
        description: Slots of a VIP's ring, a prime.
        type: int
        default: 65537
      source_routes:
        description: Source routes per address family.
        type: int
        default: 3000000
      server_ids:
        description: Server ids.
        type: int
        default: 16777214
      flows:
        description: Entries of the connection tables.
        type: int
        default: 1000000
      global_flows:
        description: Entries of the global connection tables.
        type: int
        default: 100000
  max_frame:
    description:
      - Bytes, Ethernet header included. Longer frames to a VIP are dropped, or answered with ICMP under feature
        C(icmp_too_big).
    type: int
    default: 1514
  max_new_flows:
    description:
      - New flows per CPU and second above which none is learned.
    type: int
    default: 125000
  udp_timeout:
    description:
      - Seconds after which an idle UDP flow is forgotten.
    type: int
    default: 30
  forwarding_cores:
    description:
      - The CPUs that receive packets and so get a connection table; V(auto), or a list of CPU numbers.
    type: raw
    default: auto
  numa:
    description:
      - Where the machine has several memory nodes, V(auto) places each CPU's connection table on the node of that CPU;
        V(none) leaves it to the kernel. It takes effect when the tables' map is created.
    type: str
    choices:
      - auto
      - none
    default: auto
  root_array:
    description:
      - Shared mode, instead of O(interfaces). The program takes a slot of the array of program root, which module
        M(katran.fleet.xdp_root) attaches.
    type: dict
    suboptions:
      path:
        description: Where the array is pinned, as RV(katran.fleet.xdp_root#module:root_array) says.
        type: path
        required: true
      position:
        description: The slot, 0 to 2. The lowest that is in use runs first.
        type: int
        required: true
  untouched:
    description:
      - Resources that the play leaves alone. Features that the program has stay in as far as what is applied of these
        resources uses them, whether or not O(features) lists them.
    type: list
    elements: str
    choices:
      - vips
      - source_routes
      - server_ids
      - decap_destinations
    default: []
  accept_rehash:
    description:
      - Allow O(sizes.vips) and O(sizes.ring) to change. They seed the flow hash, so the whole fleet must change
        together.
    type: bool
    default: false
  replace_foreign:
    description:
      - Replace an XDP program that is not ours. What is ours is not replaced, but M(katran.fleet.decap)'s program by a
        balancer that has feature C(inline_decap).
    type: bool
    default: false
seealso:
  - module: katran.fleet.vips
  - module: katran.fleet.xdp_root
"""

EXAMPLES = r"""
- name: Balance what arrives on eth0
  katran.fleet.balancer:
    interfaces: [eth0]
    encapsulation: gue

- name: Go back to the program before the last upgrade
  katran.fleet.balancer:
    state: rolled_back

- name: Balance beside other XDP programs
  katran.fleet.balancer:
    root_array:
      path: /sys/fs/bpf/katran/default/maps/root_array
      position: 1

- name: Take this host out of the fleet
  katran.fleet.balancer:
    state: absent
"""

RETURN = r"""
changes:
  description: One line for each step that was, or in check mode would be, taken.
  returned: success
  type: list
  elements: str
program:
  description: The program's id, tag, source_digest, instructions and compile_seconds.
  returned: when loaded, outside check mode
  type: dict
attached:
  description: Interface, mode and program_id of each attachment.
  returned: when attached, outside check mode
  type: list
  elements: dict
maps:
  description: Id, entries and bytes of each map.
  returned: when loaded, outside check mode
  type: dict
reused_maps:
  description: The maps that existed and were kept.
  returned: when loaded, outside check mode
  type: list
  elements: str
selftest:
  description: The packets that a newly compiled program answered before it was attached, and the seconds that took.
  returned: when compiled, outside check mode
  type: dict
operations:
  description: Entries of settings written per map.
  returned: success
  type: dict
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.balancer import run_balancer


def main() -> None:
    run_balancer()


if __name__ == "__main__":
    main()
