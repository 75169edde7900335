#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: xdp_root
short_description: Let several XDP programs share an interface
version_added: 0.1.0
description:
  - Attaches program root, which runs the program in the first of its three slots that has one. That program ends the
    chain, or runs the next slot itself.
  - A balancer takes a slot instead of the interface with O(katran.fleet.balancer#module:root_array).
  - What is in the slots stays when this module runs again.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.attributes
requirements:
  - python3-bpfcc, linux-libc-dev and python3-pyroute2 on the host
options:
  state:
    description:
      - V(absent) takes the program, its array and its state away. It fails while a slot is in use.
    type: str
    choices:
      - attached
      - absent
    default: attached
  interfaces:
    description:
      - The interfaces to share. Required with O(state=attached).
    type: list
    elements: str
    default: []
  mode:
    description:
      - V(native) runs in the driver, V(generic) in the kernel's stack.
    type: str
    choices:
      - native
      - generic
    default: native
  source_dir:
    description:
      - Where the program's sources are. They must belong to root and be writable by nobody else.
    type: path
    default: /usr/lib/katran-fleet/bpf
seealso:
  - module: katran.fleet.balancer
"""

EXAMPLES = r"""
- name: Share an interface
  katran.fleet.xdp_root:
    interfaces: [eth0]
  register: shared

- name: Run the balancer in the second slot, behind a filter of our own in the first
  katran.fleet.balancer:
    root_array:
      path: "{{ shared.root_array }}"
      position: 1
"""

RETURN = r"""
changes:
  description: One line for each step that was, or in check mode would be, taken.
  returned: success
  type: list
  elements: str
  sample: ["attach root to eth0 in native mode"]
root_array:
  description: Where the array of slots is pinned.
  returned: when O(state=attached), outside check mode
  type: str
  sample: /sys/fs/bpf/katran/default/maps/root_array
slots:
  description: The slots in use.
  returned: when O(state=attached), outside check mode
  type: list
  elements: dict
  contains:
    position:
      description: The slot, V(0) to V(2).
      type: int
    program_id:
      description: The kernel-wide id of the program in it.
      type: int
attached:
  description: The interfaces that root runs on.
  returned: when O(state=attached), outside check mode
  type: list
  elements: dict
  sample: [{interface: eth0, mode: native, program_id: 42}]
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.xdp_root import run_xdp_root


def main() -> None:
    run_xdp_root()


if __name__ == "__main__":
    main()
