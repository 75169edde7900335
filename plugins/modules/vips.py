#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vips
short_description: Manage the VIPs of a balancer and the reals behind them
version_added: 0.1.0
description:
  - Compares the VIPs, reals and consistent-hash rings that are wanted with those in the balancer's BPF maps,
    and writes exactly the entries that differ, in an order in which no packet meets a half-made VIP.
  - What somebody else changed in the maps is reported in check mode and repaired in a run.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.resource
  - katran.fleet.common.planned
  - katran.fleet.common.unready
  - katran.fleet.common.attributes
options:
  config:
    description:
      - The VIPs. O(config[].address), O(config[].port) and O(config[].protocol) name an entry.
    type: list
    elements: dict
    suboptions:
      address:
        description:
          - An IPv4 or IPv6 address, or a prefix (needs feature C(cidr_vips)).
        type: str
        required: true
      port:
        description:
          - The destination port; V(0) takes every port for which there is no VIP of its own.
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
      flags:
        description:
          - How packets to this VIP are treated. Default for a new VIP is none.
          - V(source_routing), V(global_lru), V(udp_stable_routing), V(udp_flow_migration) and V(local) need the
            feature of that name (V(local) needs C(local_delivery)).
          - V(hash_no_src_port) - the client's port is left out of the choice, so that all connections of a
            client address reach one real.
          - V(no_lru) - no connection is remembered; each packet goes where the ring says, also once that
            changes.
          - V(quic) - UDP packets go by the server id in their QUIC connection id, as
            O(katran.fleet.server_ids#module:config[].id) says.
          - V(hash_dst_port_only) - the destination port alone chooses, so that all clients of a port reach
            one real.
          - V(source_routing) - clients go by the source routes first.
          - V(local) - reals with C(local) get the packets without a tunnel, on this host.
          - V(global_lru) - unknown flows are looked up in the second connection table.
          - V(hash_src_dst_port) - for a VIP of any port or a prefix, the destination port takes part in the
            choice; otherwise all ports of a client reach one real.
          - V(udp_stable_routing) - UDP packets whose payload begins with 0x52 and three bytes of server id,
            big-endian, go by it; the payload has 8 bytes or more.
          - V(udp_flow_migration) - UDP flows to reals with state V(down), and to C(down_reals), move to
            others.
        type: list
        elements: str
        choices:
          - hash_no_src_port
          - no_lru
          - quic
          - hash_dst_port_only
          - source_routing
          - local
          - global_lru
          - hash_src_dst_port
          - udp_stable_routing
          - udp_flow_migration
      hash:
        description:
          - The kind of consistent hash. Default for a new VIP is V(maglev_v2), which honours weights.
        type: str
        choices:
          - maglev_v1
          - maglev_v2
      reals:
        description:
          - The servers behind the VIP. A VIP with no active real drops its packets.
        type: list
        elements: dict
        suboptions:
          address:
            description:
              - An IPv4 or IPv6 address. A VIP of IPv6 takes reals of IPv6 alone.
            type: str
            required: true
          weight:
            description:
              - Its share of new flows relative to the others, 0 to 10000; 0 is draining. Default for a new real is 1.
            type: int
          state:
            description:
              - V(active) takes new flows; V(draining) keeps its old ones alone; V(down) has its UDP flows moved away
                where the VIP has flag V(udp_flow_migration). Default for a new real is V(active).
            type: str
            choices:
              - active
              - draining
              - down
          local:
            description:
              - The real is this host itself (needs feature C(local_delivery)). Default for a new real is V(false).
            type: bool
      down_reals:
        description:
          - Reals whose UDP flows are moved away, whether or not they are in O(config[].reals).
        type: list
        elements: str
  min_active:
    description:
      - How many of its reals must take new flows for a VIP of O(config) to be applied; others are an error. That is
        said of O(config) alone, whatever M(katran.fleet.reals) and O(unready_reals) say.
      - Unless it is 0, a run is also refused that takes the last real away that nobody drained by hand.
    type: int
    default: 0
  allow_own_addresses:
    description:
      - Let VIPs of O(config) cover addresses that this host or its reals need for themselves. Such are this host's own
        addresses, its gateways, and reals.
      - A VIP covers them if it is a prefix around them, or their address with port V(0) or, for TCP, O(ssh_port).
        What is sent there would be balanced, and ssh to the host cut off.
      - Addresses of interface lo do not count where M(katran.fleet.decap) put them there, or where the VIP has a
        real with O(config[].reals[].local).
    type: bool
    default: false
  ssh_port:
    description:
      - The TCP port of ssh, which a VIP must not take from these addresses either.
    type: int
    default: 22
  unseen_reals:
    description:
      - Reals of which this run does not know whether they are ready. A warning names those that newly take flows of a
        VIP.
    type: list
    elements: str
    default: []
  purge_flows:
    description:
      - Also remove the connection-table entries of VIPs that are removed, and of reals that are removed from a VIP.
      - Without it, flows of a real that no VIP has any more are balanced anew with their next packet.
    type: bool
    default: false
seealso:
  - module: katran.fleet.balancer
"""

EXAMPLES = r"""
- name: Exactly these VIPs
  katran.fleet.vips:
    state: overridden
    config:
      - address: 198.51.100.1
        port: 443
        protocol: tcp
        reals:
          - address: 10.0.0.11
            weight: 10
          - address: 10.0.0.12
            state: draining
      - address: 2001:db8::1
        port: 443
        protocol: udp
        flags: [quic]
        reals:
          - address: 2001:db8:1::11

- name: Give one real more weight
  katran.fleet.vips:
    config:
      - address: 198.51.100.1
        port: 443
        protocol: tcp
        reals:
          - address: 10.0.0.11
            weight: 20
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
  sample: ["vip 198.51.100.1:443/tcp: weight of 10.0.0.11 1 → 10"]
references:
  description: The reals to which other resources lead, by resource.
  returned: success
  type: dict
  sample: {server_ids: [10.0.0.11], source_routes: []}
operations:
  description: Entries written per map; of C(ch_rings) the slots.
  returned: success
  type: dict
  sample: {ch_rings: 1034}
timings:
  description: Seconds spent in each phase.
  returned: success
  type: dict
  sample: {validate: 0.01, read: 0.02, plan: 0.03, write: 0.01}
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.vips import run_vips


def main() -> None:
    run_vips()


if __name__ == "__main__":
    main()
