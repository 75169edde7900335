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
  - A setting that is not given stays as the last run left it, each of O(sizes) by itself. So O(state=loaded) alone
    takes a balancer off its interfaces, and O(state=attached) alone puts it back. The role gives all of them.
  - Pins are compared with the maps and the program that the kernel runs. Where somebody unpinned one, or pinned
    something else in its place, the program's own are pinned again, and a program that is not the one on record is
    replaced.
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
        differ from those it was rolled back from, or until O(end_rollback). Where O(encapsulation) or the outer sources
        were others then, let reals take tunnels from those first (C(katran_real_sources)).
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
      - On a first run there are none.
    type: list
    elements: str
  mode:
    description:
      - V(native) runs in the driver, V(generic) in the kernel's stack, V(auto) natively where the driver can; where it
        cannot, a warning gives the kernel's reason.
      - On a first run it is V(native).
    type: str
    choices:
      - native
      - generic
      - auto
  source_dir:
    description:
      - Where the program's sources are. They must belong to root and be writable by nobody else.
      - On a first run it is V(/usr/lib/katran-fleet/bpf).
    type: path
  planned_sources:
    description:
      - File of O(source_dir) → SHA-256 of its content, once other tasks of the play have written it. By these, check
        mode tells whether the program is compiled anew.
      - M(katran.fleet.host) returns them in check mode, and the roles pass them on.
    type: dict
  encapsulation:
    description:
      - How packets travel to reals. V(ipip) is IPv4 or IPv6 in IPv4 or IPv6, V(gue) the same in UDP.
      - On a first run it is V(ipip).
    type: str
    choices:
      - ipip
      - gue
  gue_port:
    description:
      - The UDP port of V(gue), sent to and decapsulated from.
      - On a first run it is V(6080).
    type: int
  features:
    description:
      - What is compiled in beyond TCP, UDP, QUIC, both address families and the encapsulation.
      - V(source_routing) - clients of given prefixes go to reals of their own (source routes), for VIPs with
        the flag of that name.
      - V(tcp_server_id) - TCP connections carry the id of their real in an option of TCP, which the reals'
        program puts there, and go by it (server ids).
      - V(udp_stable_routing) - UDP packets that carry the id of a real go by it, for VIPs with the flag of that
        name.
      - V(udp_flow_migration) - UDP flows to reals that are down move to others, for VIPs with the flag of that
        name.
      - V(cidr_vips) - a VIP may be a prefix.
      - V(global_lru) - flows that the connection table does not know are looked up in a second one that others
        fill, for VIPs with the flag of that name.
      - V(icmp_too_big) - a frame longer than C(max_frame) is answered with ICMP, which tells its sender the
        MTU, instead of being dropped.
      - V(inline_decap) - the balancer itself takes tunnels to given addresses apart (decapsulation
        destinations).
      - V(local_delivery) - reals that are this host itself, for VIPs with flag V(local).
      - V(introspection) - what C(katran capture) takes; packets of interest are copied to whoever listens.
      - V(flow_debug) - it is noted by which hops GUE that is taken apart here came.
      - V(server_id_hash) - server ids up to 4294967295, in a hash table instead of an array.
      - V(vlan) - frames with one or two VLAN tags are balanced.
      - V(source_filter) - VIPs have lists of clients that they allow or deny.
      - V(quic_lb) - connection ids of QUIC as draft-ietf-quic-load-balancers writes them, for VIPs with C(quic_lb).
      - V(chain) - in a slot of O(root_array), packets that are not for this balancer go on to the program in the next
        slot instead of to the kernel.
      - On a first run there are none.
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
      - source_filter
      - quic_lb
      - chain
  source_ipv4:
    description:
      - The outer IPv4 source of V(gue), and this host's own address for decapsulation; V(auto) is the interface's.
      - On a first run it is V(auto).
    type: str
  source_ipv6:
    description:
      - The outer IPv6 source, likewise.
      - On a first run it is V(auto).
    type: str
  source_prefix_ipv4:
    description:
      - The upper half of V(ipip)'s outer IPv4 source; the lower half varies with the flow.
      - On a first run it is V(172.16.0.0/16).
    type: str
  source_prefix_ipv6:
    description:
      - The upper half of V(ipip)'s outer IPv6 source.
      - On a first run it is V(100::/64).
    type: str
  gateway_mac:
    description:
      - The MAC to which encapsulated packets are sent, out of the interface that they came from; V(auto) is that of the
        gateway behind the interfaces.
      - Default routes of every table count, in table main before others, by metric, whether their next hops are their
        own, objects or groups; IPv4 comes before IPv6. Of several gateways behind an interface, the first that answers
        is taken.
      - Interfaces whose gateways have different MACs are refused, because there is but one. Then either one MAC does
        for all, and is given here, or each interface has an O(instance) of its own.
      - On a first run it is V(auto).
    type: str
  copy_tos:
    description:
      - Copy the inner ToS or traffic class to the outer header.
      - On a first run it is V(true).
    type: bool
  decap_any:
    description:
      - With feature C(inline_decap), decapsulate whatever the outer destination is, and from any outer source. Whoever
        can send to this host may then pass inner packets of any source into its network.
      - On a first run it is V(false).
    type: bool
  decap_sources:
    description:
      - With feature C(inline_decap), the outer sources from which tunnels are taken, addresses and prefixes; those of
        others are passed on untouched. An empty list is O(source_prefix_ipv4) and O(source_prefix_ipv6).
      - Of balancers with V(gue), list the addresses. The role does so.
      - On a first run it is empty.
    type: list
    elements: str
  sizes:
    description:
      - Capacities of the maps. Flows are sums over all CPUs.
    type: dict
    suboptions:
      vips:
        description: VIPs; V(512) on a first run.
        type: int
      cidr_vips:
        description: CIDR VIPs per address family; V(256) on a first run.
        type: int
      reals:
        description: Real ids; id 0 is never a real; V(4096) on a first run.
        type: int
      ring:
        description: Slots of a VIP's ring, a prime; V(65537) on a first run.
        type: int
      source_routes:
        description: Source routes per address family; V(3000000) on a first run.
        type: int
      server_ids:
        description: Server ids; V(16777214) on a first run.
        type: int
      flows:
        description: Entries of the connection tables; V(1000000) on a first run.
        type: int
      global_flows:
        description: Entries of the global connection tables; V(100000) on a first run.
        type: int
      source_filters:
        description: Prefixes in VIPs' lists of clients per address family; V(100000) on a first run.
        type: int
  max_frame:
    description:
      - Bytes, Ethernet header included. Longer frames to a VIP are dropped, or answered with ICMP under feature
        C(icmp_too_big).
      - On a first run it is V(1514).
    type: int
  mtu_check:
    description:
      - What to do where an interface's MTU is too small for a packet of O(max_frame) in its tunnel, which takes 20
        bytes with ipip over IPv4 and 40 over IPv6, with GUE 8 more. What does not fit is lost without a word. V(warn)
        gives the numbers and the remedies, V(fail) makes it an error.
    type: str
    choices:
      - warn
      - fail
      - 'off'
    default: warn
  real_families:
    description:
      - The families of the reals' addresses, for O(mtu_check). Those that the balancer has already count too.
    type: list
    elements: str
    choices:
      - ipv4
      - ipv6
    default: []
  real_mss:
    description:
      - The largest MSS in bytes that VIPs announce on all reals, for O(mtu_check); V(0) where they announce any.
    type: int
    default: 0
  max_new_flows:
    description:
      - New flows per CPU and second above which none is learned.
      - On a first run it is V(125000).
    type: int
  udp_timeout:
    description:
      - Seconds after which an idle UDP flow is forgotten.
      - On a first run it is V(30).
    type: int
  forwarding_cores:
    description:
      - The CPUs that receive packets and so get a connection table; V(auto), or a list of CPU numbers.
      - On a first run it is V(auto).
    type: raw
  numa:
    description:
      - Where the machine has several memory nodes, V(auto) places each CPU's connection table on the node of that CPU;
        V(none) leaves it to the kernel. It takes effect when the tables' map is created.
      - On a first run it is V(auto).
    type: str
    choices:
      - auto
      - none
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
      - A Katran that runs there is replaced once VIPs are applied, with its flows, and held, so that
        O(state=rolled_back) goes back to it, with the flows that were learned meanwhile. It is let go once this
        balancer has a program of its own to go back to.
      - On a first run it is V(false).
    type: bool
  after_vips:
    description:
      - The VIPs are in place, or in check mode would be, so that a Katran may be replaced (O(replace_foreign)) though
        this balancer has none. Without it, RV(waits) says that it was not.
    type: bool
    default: false
  end_rollback:
    description:
      - After O(state=rolled_back), load what was rolled back again, though sources and settings are the same. Without
        it, the same settings leave the host with the program that it went back to, also where that is a Katran.
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

- name: Go forward again, with the same settings as before the rollback
  katran.fleet.balancer:
    interfaces: [eth0]
    encapsulation: gue
    end_rollback: true

- name: Take the balancer off its interfaces, and leave all of its settings as they are
  katran.fleet.balancer:
    state: loaded

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
waits:
  description: Whether a Katran was not replaced yet, as there are no VIPs.
  returned: success
  type: bool
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
