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
  - What was said of reals by hand (M(katran.fleet.reals)) or by checks stays, whatever is deployed. A run warns of it.
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
            O(katran.fleet.server_ids#module:config[].id) says, or O(config[].quic_lb).
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
      allow:
        description:
          - The clients that may come in, as addresses and prefixes of the VIP's family; all others may not (needs
            feature C(source_filter)). Absent for a new VIP means everybody.
          - The longest prefix of O(config[].allow) and O(config[].deny) that holds a client decides; the same prefix
            in both is an error. What is denied is dropped, and counted by VIP.
          - The client is the flow's. Of an ICMP error it is the one whose packet the error quotes, not the router; of a
            packet in a tunnel that ends here, the one inside. Echo requests are answered whoever asks, and health
            checks of the balancers pass by the lists.
          - A list that is mentioned takes the place of the former as a whole. An empty one is an error, as it could
            mean nobody or everybody. With state V(merged), a list with C(0.0.0.0/0) or C(::/0) lets everybody in;
            states V(replaced) and V(overridden) forget one that is not mentioned.
        type: list
        elements: str
      deny:
        description:
          - The clients that may not come in, likewise. Without O(config[].allow), all others may. An empty list ends
            it.
        type: list
        elements: str
      check:
        description:
          - How its reals are checked, through the tunnel to each of them. Absent for a new VIP means not at all.
          - A check is given whole. What it does not say has the default of O(check_defaults), whatever was there
            before; an empty mapping ends it.
        type: dict
        suboptions:
          type:
            description:
              - What is asked, which every check has to say.
              - V(tcp) - a connection is accepted. V(tls) - and its handshake succeeds. V(http) and V(https) - a
                request is answered with O(config[].check.status), O(config[].check.drain_status) or another status.
                V(udp) - a datagram is answered. V(dns) - a question is answered without an error. V(external) -
                nothing is asked; others write verdicts into C(verdicts.d).
            type: str
            choices:
              - tcp
              - tls
              - http
              - https
              - udp
              - dns
              - external
          address:
            description:
              - Where probes go, through the tunnel to each real. Default is the VIP's own address. A VIP that is a
                prefix needs one, in that prefix; it is of the VIP's family.
            type: str
          port:
            description:
              - The port to which probes go. Default is the VIP's own, which V(0) is not. A check of type V(udp) of a
                VIP of TCP needs one.
            type: int
          host:
            description:
              - The name of the service, of V(tls), V(http) and V(https) - header Host, the name asked for in TLS,
                and the one that a certificate has to bear where O(config[].check.verify) is set. Default is the
                address.
            type: str
          path:
            description:
              - What is asked for, of V(http) and V(https). It begins with V(/), which is the default.
            type: str
          method:
            description:
              - How it is asked for, of V(http) and V(https). Default is V(GET).
            type: str
            choices:
              - GET
              - HEAD
              - OPTIONS
              - POST
          headers:
            description:
              - Headers of the request, names and values, of V(http) and V(https). They are in C(state.json) and in
                results of modules, so they should hold no secret that opens more than the check.
            type: dict
          status:
            description:
              - The statuses that mean active, of V(http) and V(https), each from 100 to 599 or a range such as
                V(200-299). Default is V(200).
            type: list
            elements: str
          drain_status:
            description:
              - The statuses that mean that a real is draining, in the same way. Default is V(503), unless
                O(config[].check.status) has it. All others mean that it is down.
            type: list
            elements: str
          body:
            description:
              - A text that the answer must have in it, of V(http) and V(https). Default is any answer.
            type: str
          verify:
            description:
              - Whether the certificate must be trusted by the balancer and bear the name in O(config[].check.host),
                of V(tls) and V(https). Default is V(false).
            type: bool
          payload:
            description:
              - What is sent, of V(udp), as a text or as C(hex:) and hexadecimal digits. Default is an empty
                datagram.
            type: str
          expect:
            description:
              - What the answer must have in it, of V(udp), in the same way. Default is any answer.
            type: str
          query:
            description:
              - The domain that is asked for, of V(dns), which must be said.
            type: str
          record:
            description:
              - The type of record that is asked for, of V(dns). Default is V(A).
            type: str
            choices:
              - A
              - AAAA
              - CNAME
              - MX
              - NS
              - PTR
              - SOA
              - SRV
              - TXT
          interval:
            description:
              - Seconds from one probe to the next, 0.1 to 3600. Default is V(1.0).
            type: raw
          timeout:
            description:
              - Seconds in which an answer must be there, 0.01 to 60. Default is V(0.5).
            type: raw
          fast_interval:
            description:
              - Seconds from one probe to the next after a failure, from 0.1 to O(config[].check.interval). Default
                is V(0.2), or O(config[].check.interval) where that is less.
            type: raw
          fall:
            description:
              - As many answers in a row make an active real another, 1 to 100. Default is V(4).
            type: int
          rise:
            description:
              - As many good answers in a row make it active again, 1 to 100. Default is V(3).
            type: int
          min_healthy:
            description:
              - Per cent of the VIP's weight of active reals that checks leave, however many fail. Of those that
                failed, the last stay in. V(0) lets all go. Default is V(50).
            type: int
          slow_start:
            description:
              - Seconds in which the weight of a real that is active again grows, 0 to 3600. Default is V(0).
            type: raw
          on_down:
            description:
              - What becomes of the flows to a real that is down. V(purge) balances them anew, V(keep) leaves them
                where they are. Default is V(purge).
            type: str
            choices:
              - purge
              - keep
      announce:
        description:
          - How routers learn of it, where the balancer announces its VIPs. It is given whole; an empty mapping means
            the defaults, which hold where none is given.
        type: dict
        suboptions:
          enabled:
            description:
              - Whether the VIP is announced at all. Default is V(true).
            type: bool
          min_healthy:
            description:
              - As many of its reals have to be in. Default is V(1).
            type: int
          communities:
            description:
              - Communities of BGP that its route gets, such as V("65001:80"), in quotes.
            type: list
            elements: str
          last_resort:
            description:
              - What becomes of the announcement where the reals' health alone speaks against it. Default is V(keep).
            type: str
            choices:
              - keep
              - withdraw
      quic_lb:
        description:
          - How the connection ids of the VIP's servers are read instead of in Katran's layout - as
            draft-ietf-quic-load-balancers-21 writes them, unencrypted. It wants flag V(quic) and feature C(quic_lb).
          - Each entry is one of its configurations. The first three bits of a connection id say which it is of, so that
            a new one can be rolled out beside the old.
          - Ids of none of them, that are too short for theirs, or that name no server go by the connection table and
            the ring.
          - It is given whole; an empty list ends it.
        type: list
        elements: dict
        suboptions:
          config:
            description:
              - The config id, V(0) to V(6). V(7) is for ids that nobody can route.
            type: int
            required: true
          server_id_length:
            description:
              - Bytes of the server id, 1 to 15; without O(config[].quic_lb[].servers) 1 to 8.
            type: int
            required: true
          nonce_length:
            description:
              - Bytes of the nonce, 4 to 18. With the server id there is room for 19.
            type: int
            required: true
          first_octet_encodes_cid_length:
            description:
              - All servers write into the last five bits of the first byte how many bytes follow it; ids in which that
                cannot be are not routed by. Default is V(false).
            type: bool
          servers:
            description:
              - The server ids. Without it they are O(katran.fleet.server_ids#module:config[].id), big-endian in as many
                bytes as O(config[].quic_lb[].server_id_length) says.
            type: list
            elements: dict
            suboptions:
              id:
                description:
                  - The server id in hexadecimal digits, two for each byte, in quotes. A server may have several.
                type: str
                required: true
              real:
                description:
                  - The real to which it leads, of the VIP's family. A VIP of IPv4 may have reals of IPv6.
                type: str
                required: true
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
  check_defaults:
    description:
      - What lies under every O(config[].check), with the same options but C(type) and C(address). What means nothing
        for the type of a check is passed over there.
      - A VIP without a check does not get one by it.
    type: dict
    default: {}
  max_probes:
    description:
      - As many probes a second may all checks of the balancer make while all is well, 1 to 100000. A service that
        several VIPs ask in the same way counts once.
    type: int
    default: 2000
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
        check:
          type: https
          path: /healthz
          host: www.example.net
        announce:
          min_healthy: 1
          communities: ["65001:80"]
      - address: 2001:db8::1
        port: 443
        protocol: udp
        flags: [quic]
        reals:
          - address: 2001:db8:1::11
      - address: 198.51.100.2
        port: 443
        protocol: udp
        flags: [quic]
        reals:
          - address: 10.0.0.11
          - address: 10.0.0.12
        quic_lb:
          - config: 0
            server_id_length: 2
            nonce_length: 6
          - config: 1
            server_id_length: 5
            nonce_length: 8
            servers:
              - id: "5ee0a1b2c3"
                real: 10.0.0.11
              - id: "5ee0d4e5f6"
                real: 10.0.0.12

- name: Let two networks in, but not one host of them
  katran.fleet.vips:
    config:
      - address: 198.51.100.1
        port: 443
        protocol: tcp
        allow: [192.0.2.0/24, 203.0.113.0/24]
        deny: [192.0.2.66]

- name: Check a VIP no more
  katran.fleet.vips:
    config:
      - address: 198.51.100.1
        port: 443
        protocol: tcp
        check: {}

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
by_hand:
  description:
    - What was said by hand of reals of the whole fleet, C(words) that hold and those that C(ended), with their moments.
  returned: success
  type: dict
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
