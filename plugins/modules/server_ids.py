#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_ids
short_description: Manage the server ids of a balancer
version_added: 0.1.0
description:
  - QUIC connection ids, stable UDP routing and the TCP option carry a server id, by which a packet finds its real
    whatever the connection table knows.
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
      - The server ids. O(config[].id) names an entry.
    type: list
    elements: dict
    suboptions:
      id:
        description:
          - The id, from 1 to the size O(katran.fleet.balancer#module:sizes) gives the map.
          - QUIC servers put their id into the connection ids that they choose, for VIPs with flag V(quic).
            The two highest bits of its first byte say where it is; ids are big-endian, and all other bits
            are free.
          - Layout 1, first byte 0x40 to 0x7f, ids 1 to 65535. The lower six bits of byte 0 are the highest
            of the id, then come byte 1 and the two highest bits of byte 2.
          - Layout 2, first byte 0x80 to 0xbf, ids 1 to 16777215. Bytes 1 to 3 are the id.
          - Layout 3, first byte 0xc0 to 0xff, ids 1 to 2147483647. Bytes 1 to 4 are the id. Beyond the
            default size of the map this takes feature V(server_id_hash).
          - A first byte below 0x40, id 0, and an id that is not listed mean that the connection table and
            the ring choose. Connection ids must have 8 bytes or more.
        type: int
        required: true
      real:
        description:
          - The real that it names. Required unless O(state=deleted), or O(state=merged) with an entry that exists.
        type: str
seealso:
  - module: katran.fleet.balancer
  - module: katran.fleet.vips
"""

EXAMPLES = r"""
- name: Exactly these server ids
  katran.fleet.server_ids:
    state: overridden
    config: "{{ groups['web'] | katran.fleet.server_ids }}"
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
  sample: ["server id 1025: 10.0.0.3 → 10.0.0.4"]
operations:
  description: Entries written per map.
  returned: success
  type: dict
timings:
  description: Seconds spent in each phase.
  returned: success
  type: dict
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.resource import run_resource


def main() -> None:
    run_resource("server_ids")


if __name__ == "__main__":
    main()
