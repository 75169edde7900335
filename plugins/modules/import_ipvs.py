#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: import_ipvs
short_description: Write an inventory of what IPVS balances
version_added: 0.1.0
description:
  - Reads keepalived.conf, with the files that it includes, and what C(ipvsadm -Sn) printed, both or one of them, and
    writes an inventory with VIPs, reals, weights and checks. It works on the controller alone; no host is reached.
  - What has no equivalent is told with file and line, what it means, and what to do, in the result and as comments in
    the inventory. A word that this import does not know is told, too; nothing is dropped in silence.
  - Where both sources are given, keepalived.conf counts, and what the kernel has otherwise is told. What the kernel
    alone has is taken over.
  - A file that is there with another content is never replaced unless told so. The same input makes the same files.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common.info
options:
  keepalived:
    description:
      - A saved keepalived.conf on the controller. What it includes is looked for in its folder alone, also where it
        is named by its path on the balancer. What is not there is told.
    type: path
  ipvsadm:
    description:
      - A file on the controller with what C(ipvsadm -Sn) printed.
    type: path
  host:
    description:
      - The host that sent O(table) and O(files), for the comments.
    type: str
  table:
    description:
      - What C(ipvsadm -Sn) printed on a host.
    type: str
  configuration:
    description:
      - Which of O(files) is the one that includes the others.
    type: path
    default: /etc/keepalived/keepalived.conf
  config_id:
    description:
      - For which of the hosts that share the file it is read, as lines with C(@) say. Without it, these are told
        and passed over.
    type: str
    default: ""
  files:
    description:
      - Files of a host, each as module M(ansible.builtin.slurp) returns it, instead of O(keepalived).
    type: list
    elements: dict
  folder:
    description:
      - Where the inventory is written. It is made where it is missing.
    type: path
    required: true
  balancers:
    description:
      - The names of the hosts that are to be balancers.
    type: list
    elements: str
    required: true
  interfaces:
    description:
      - Their interfaces whose packets are balanced. Default is what vrrp_instance names.
    type: list
    elements: str
    default: []
  real_interfaces:
    description:
      - The reals' interfaces by which tunnels come. Default is O(interfaces).
    type: list
    elements: str
    default: []
  marks:
    description:
      - For virtual services by mark, each mark of the firewall with the list of the addresses, ports and protocols that
        its rules are for. A service whose mark is not among them becomes no VIP, and is told.
    type: dict
    default: {}
  overwrite:
    description:
      - Replace files that are there with another content.
    type: bool
    default: false
seealso:
  - module: katran.fleet.preflight
"""

EXAMPLES = r"""
- name: An inventory of what keepalived balances
  katran.fleet.import_ipvs:
    keepalived: saved/keepalived.conf
    ipvsadm: saved/ipvsadm.txt
    folder: inventories/moved
    balancers: [lb1, lb2]
"""

RETURN = r"""
told:
  description: What became nothing or something else - its places, its text, what it means, and what to do.
  returned: success
  type: list
  elements: dict
  sample:
    - places:
        - keepalived.conf:12
      subject: sorry_server 10.0.0.99 80
      meaning: a server that answers where no real does
      remedy: where reals fail, min_healthy keeps the last of them in
files:
  description: The files of the inventory, relative to its folder.
  returned: success
  type: list
  elements: str
services:
  description: How many virtual services were read.
  returned: success
  type: int
"""
