#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: katran_info
short_description: Read a running Katran that is not ours
version_added: 0.1.0
description:
  - Reads the maps of a Katran that runs on the host, pinned or not, and returns what an inventory says of it. Nothing
    is written to it.
  - Weights are not in its maps. They are told back from the rings, as the smallest that give each ring to the slot; a
    ring that no such weights give is V(stale), and said to be.
  - The playbook C(katran.fleet.import_katran) writes an inventory of it.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.info
options:
  interfaces:
    description:
      - Where it runs, also behind an array of programs. Without this, O(program_id) and O(maps_path), it is looked for
        on all interfaces, and has to be the only one.
    type: list
    elements: str
    default: []
  program_id:
    description:
      - The kernel's id of its program, as C(bpftool prog) and C(ip link) show it; V(0) is none.
    type: int
    default: 0
  maps_path:
    description:
      - A folder of a bpf file system where its maps are pinned under their names.
    type: path
    default: ""
  vips:
    description:
      - VIPs as M(katran.fleet.vips) takes them. Their rings are compared with those that it has.
    type: list
    elements: dict
seealso:
  - module: katran.fleet.import_katran
  - module: katran.fleet.balancer
"""

EXAMPLES = r"""
- name: What does the Katran on this host balance
  katran.fleet.katran_info:
  register: katran

- name: How far is it what the inventory says
  katran.fleet.katran_info:
    vips: "{{ katran_vips }}"
  register: compared
"""

RETURN = r"""
program:
  description: Its id, the interfaces where it runs with their modes, and its maps with their ids and sizes.
  returned: success
  type: dict
variables:
  description: The variables of an inventory that say the same.
  returned: success
  type: dict
stale:
  description: A sentence for each VIP whose ring no weights give, with how many slots differ.
  returned: success
  type: list
  elements: str
notes:
  description: What has no equivalent, and what maps do not tell.
  returned: success
  type: list
  elements: str
healthcheck_destinations:
  description: The marks of a health checker and their reals, where one runs beside it.
  returned: success
  type: list
  elements: dict
ring_slots_different:
  description: How many slots of its rings lead to another real than those of O(vips).
  returned: when O(vips) is given
  type: int
differences:
  description: A sentence for each VIP that is not as O(vips) has it.
  returned: when O(vips) is given
  type: list
  elements: str
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.katran import run_katran_info


def main() -> None:
    run_katran_info()


if __name__ == "__main__":
    main()
