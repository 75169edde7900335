#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: bgp
short_description: Announce a balancer's VIPs by BGP
version_added: 0.1.0
description:
  - Has bird (package C(bird2)) learn the routes that C(katran-agent) keeps in a table of the kernel for VIPs that the
    balancer is ready for, and announce them. Nothing is imported, and nothing else announced.
  - Manages C(/etc/bird/bird.conf) as a whole. A configuration is installed once bird accepts it (C(bird -p)), and
    read by the running daemon without a session being reset whose own settings stay.
  - A C(bird.conf) that somebody else wrote is refused, unless O(config.replace_foreign) is set.
  - Passwords are shown neither in a diff nor in a result.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common.attributes
options:
  state:
    description:
      - V(absent) brings back the C(bird.conf) and the state of its unit that were there before the first run. The
        package stays.
    type: str
    choices:
      - present
      - absent
    default: present
  config:
    description:
      - To whom VIPs are announced, and how. Required with O(state=present).
    type: dict
    suboptions:
      as:
        description:
          - The balancer's autonomous system, 1 to 4294967295.
        type: int
        required: true
      router_id:
        description:
          - The router id, written as an IPv4 address. Default is the IPv4 address from which the host reaches the first
            neighbor of IPv4, else that of its first interface that has one. Once chosen it stays as long as the host
            has the address. A host without any has to be told.
        type: str
      neighbors:
        description:
          - The routers that VIPs are announced to.
        type: list
        elements: dict
        required: true
        suboptions:
          address:
            description:
              - The router's address, of either family. VIPs of both families are announced to each.
            type: str
            required: true
          as:
            description:
              - The router's autonomous system.
            type: int
            required: true
          password:
            description:
              - The key of TCP MD5 (RFC 2385), up to 80 visible characters of ASCII without C(").
            type: str
          bfd:
            description:
              - Whether BFD watches the neighbor. Where the router has none, the session comes up all the same.
            type: bool
            default: true
          multihop:
            description:
              - As many hops away the router is at most; V(0) for one on the same link.
            type: int
            default: 0
          interface:
            description:
              - The interface of a link-local address.
            type: str
          local_address:
            description:
              - The host's own address of the session, where routes would choose another.
            type: str
          ttl_security:
            description:
              - Take packets only from as far as the router is (GTSM, RFC 5082); the router has to have it too.
            type: bool
            default: false
          families:
            description:
              - VIPs of which families are announced. The next hop of the family that the session is not of is the
                host's address on the same interface; where it has none, those VIPs are left out.
            type: list
            elements: str
            choices:
              - ipv4
              - ipv6
            default:
              - ipv4
              - ipv6
      bfd:
        description:
          - Timers of BFD.
        type: dict
        suboptions:
          interval:
            description:
              - Seconds between two packets, 0.01 to 10, in each direction.
            type: float
            default: 0.1
          multiplier:
            description:
              - As many in a row have to be missing, 1 to 255, before the other side counts as gone.
            type: int
            default: 3
      communities:
        description:
          - Communities of every VIP, standard (C(65001:80)) or large (C(65001:1:2)), in quotes.
        type: list
        elements: str
        default: []
      local_pref:
        description:
          - The local preference, for neighbors of the same AS.
        type: int
      hold_time:
        description:
          - Seconds without a word after which a session counts as lost, 3 to 65535. Routers negotiate the smaller one.
        type: int
        default: 9
      graceful_restart:
        description:
          - Seconds for which routers that support it (RFC 4724) keep VIPs while bird is started anew; V(0) for none.
        type: int
        default: 30
      prefixes:
        description:
          - Where all VIPs are that may ever be announced. Without it just those of O(places) are, and each new address
            changes C(bird.conf).
        type: list
        elements: str
      replace_foreign:
        description:
          - Replace a C(bird.conf) that somebody else wrote. It is kept as C(/etc/bird/bird.conf.before-katran).
        type: bool
        default: false
  places:
    description:
      - Addresses and prefixes of the VIPs. Without it every route of the agent's is announced.
    type: list
    elements: dict
    suboptions:
      place:
        description:
          - An address or a prefix.
        type: str
        required: true
      communities:
        description:
          - Communities of the VIPs there, besides O(config.communities).
        type: list
        elements: str
        default: []
  table:
    description:
      - The table of the kernel with the agent's routes.
    type: int
    default: 198
  packages:
    description:
      - The packages that bring bird, which are installed where it is missing. Default is C(bird2).
    type: list
    elements: str
    default: []
seealso:
  - module: katran.fleet.vips
"""

EXAMPLES = r"""
- name: Announce to two routers
  katran.fleet.bgp:
    config:
      as: 65001
      neighbors:
        - {address: 10.0.0.1, as: 65000, password: "{{ vault_bgp_password }}"}
        - {address: 10.0.0.2, as: 65000, password: "{{ vault_bgp_password }}"}
      communities: ["65000:100"]
    places:
      - {place: 198.51.100.1, communities: ["65000:80"]}
      - place: "2001:db8::1"

- name: Bird as it was before
  katran.fleet.bgp:
    state: absent
"""

RETURN = r"""
changes:
  description: One line for each thing that was, or in check mode would be, done.
  returned: success
  type: list
  elements: str
  sample:
    - rewrite /etc/bird/bird.conf
    - have bird read /etc/bird/bird.conf
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.bgp import run_bgp


def main() -> None:
    run_bgp()


if __name__ == "__main__":
    main()
