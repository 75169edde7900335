#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: decap
short_description: Let a real take the packets that balancers send it
version_added: 0.1.0
description:
  - Attaches program decap, which strips the encapsulation of packets to this host whose inner destination is one of
    O(vips), and passes everything else on untouched.
  - Adds the VIPs to interface lo, so that the host answers from them directly (DSR).
  - The program runs by XDP, or where that cannot be, at the ingress of tc; or the kernel's own tunnel devices strip the
    encapsulation, and the program looks at what they stripped. See O(how) and docs/reals.md.
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
      - V(withdrawn) takes those VIPs away that are not in O(vips), and outer sources that are not in O(sources), and
        changes nothing else. That is for the time when no balancer sends to them, or from there, any more.
      - V(absent) takes the program, its state and the addresses away.
    type: str
    choices:
      - attached
      - withdrawn
      - absent
    default: attached
  interfaces:
    description:
      - The interfaces on which balancers' packets arrive. Without O(attach) they are not looked at.
    type: list
    elements: str
    default: []
  attach:
    description:
      - Run the program on O(interfaces). Where one of them is a balancer's too, V(false) leaves that to the balancer,
        whose feature C(inline_decap) strips tunnels to this host, that is to its
        O(katran.fleet.balancer#module:source_ipv4) and O(katran.fleet.balancer#module:source_ipv6). O(vips) are added
        to interface lo all the same.
      - A program that is on an interface already stays there until the balancer takes its place.
    type: bool
    default: true
  how:
    description:
      - By what tunnels are stripped.
      - V(xdp) is the program by XDP in O(mode); an interface on which another's program is, is an error.
      - V(tc) is the program at the ingress of tc (qdisc clsact), before what else filters there. It is slower, and
        works beside others' programs and with every driver.
      - V(auto) is V(xdp), and where another's program has one of O(interfaces), or its driver does not take the program
        in O(mode), V(tc) for all of them. That stays so until V(xdp) is given, as the other's program may be back at
        any time. Check mode does not know of what the driver does not take.
      - V(kernel) is the kernel's tunnel devices C(katran-ipip) and C(katran-ip6tnl) in external mode, and a port of
        C(fou) for GUE, for kernels that have them (modules C(ipip), C(ip6_tunnel), C(fou)). They strip whatever comes
        to this host; the program at their ingress drops what is for none of O(vips) or from none of O(sources).
      - A change brings the new way before it takes the old one away.
    type: str
    choices:
      - auto
      - xdp
      - tc
      - kernel
    default: auto
  firewall:
    description:
      - With O(how=kernel), tunnels pass the host's firewall before they are stripped. V(accept) puts rules with comment
        C(katran.fleet) at the top of chains of nftables that drop what comes in, for the tunnels' protocols and from
        O(sources) alone, and has them there again in every run. V(leave) takes such rules away.
      - With the others nothing is to be accepted, as tunnels are stripped before a firewall sees them. Whether clients'
        packets to the VIPs are accepted is never changed here.
    type: str
    choices:
      - accept
      - leave
    default: accept
  mode:
    description:
      - The mode of XDP. V(native) runs in the driver, V(generic) in the kernel's stack.
    type: str
    choices:
      - native
      - generic
    default: native
  vips:
    description:
      - The VIP addresses that this real serves. Default is those that it serves already.
    type: list
    elements: str
  keep_vips:
    description:
      - Go on serving the VIPs that are not in O(vips), until O(state=withdrawn).
    type: bool
    default: false
  sources:
    description:
      - The outer sources from which tunnels are taken, addresses and prefixes, at most 4096. Tunnels of others are not
        stripped. An empty list is the default, V(172.16.0.0/16) and V(100::/64), what balancers have with IPIP.
      - Of balancers with GUE, and of whoever probes reals by M(katran.fleet.healthcheck), list the addresses.
      - "V([0.0.0.0/0, '::/0']) takes those of everybody: whoever can send to this host may then give an inner packet to
        a VIP any source, past every filter on the way."
      - With O(state=withdrawn), those that stay; empty leaves all.
    type: list
    elements: str
    default: []
  keep_sources:
    description:
      - Go on taking tunnels from sources that are not in O(sources), until O(state=withdrawn) with O(sources).
    type: bool
    default: false
  addresses:
    description:
      - Addresses to which balancers send. One that the host does not have is an error.
    type: list
    elements: str
    default: []
  gue_port:
    description:
      - The UDP port of GUE. After a change the port of before is understood too, as balancers have it for a while.
    type: int
    default: 6080
  server_id:
    description:
      - This real's server id, by which misrouted TCP packets are counted; V(0) counts none.
    type: int
    default: 0
  loopback:
    description:
      - Add O(vips) to interface lo, where the host has them on no interface yet. What was there before stays in every
        state.
      - Such an address is never the source of the host's own connections. IPv4 addresses have scope host for that,
        those of IPv6 are deprecated, which is enough while the host has another global one.
    type: bool
    default: true
seealso:
  - module: katran.fleet.balancer
"""

EXAMPLES = r"""
- name: Serve two VIPs
  katran.fleet.decap:
    interfaces: [eth0]
    vips:
      - 198.51.100.1
      - 2001:db8::1

- name: Serve one more, while balancers still send to others
  katran.fleet.decap:
    interfaces: [eth0]
    vips: [198.51.100.2]
    keep_vips: true

- name: Serve no other any more, now that they do not
  katran.fleet.decap:
    state: withdrawn
    vips: [198.51.100.2]
"""

RETURN = r"""
changes:
  description: One line for each step that was, or in check mode would be, taken.
  returned: success
  type: list
  elements: str
operations:
  description: Entries written per map.
  returned: success
  type: dict
how:
  description: By what tunnels are stripped, C(xdp), C(tc) or C(kernel).
  returned: with O(state=attached)
  type: str
  sample: tc
why:
  description: Why by that.
  returned: with O(state=attached)
  type: str
  sample: interface eth0 has an XDP program that is not ours (id 7)
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.decap import run_decap


def main() -> None:
    run_decap()


if __name__ == "__main__":
    main()
