#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: server_id_option
short_description: Let servers name themselves in TCP, and clients echo that
version_added: 0.1.0
description:
  - This takes clients of your own, on whose hosts this module runs too. Server ids for the public are those of QUIC
    (M(katran.fleet.server_ids)).
  - Attaches program server_id_option to the control groups of systemd's units. A server puts its id into a TCP option
    of its SYN-ACK, and a client that has the program echoes it on every later packet. Balancers with feature
    C(tcp_server_id) send these to the real with that id, whatever their connection tables and rings say.
  - A host whose O(id) and O(fallback_id) are 0 is a client alone.
  - A drop-in C(katran-server-id-INSTANCE.conf) of each service has the program in its group before it listens, also
    after a restart, a boot or a crash. Other programs in the group stay.
  - Only sockets that begin to listen under the program name their host. Of services that listen already the module
    warns, unless O(restart).
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.sources
  - katran.fleet.common.attributes
requirements:
  - python3-bpfcc and linux-libc-dev on the host, systemd, and control groups of version 2, alone or beside those of
    version 1
options:
  state:
    description:
      - V(absent) takes the program, its state and the drop-ins away. Connections that are open echo no id any more.
    type: str
    choices:
      - attached
      - absent
    default: attached
  units:
    description:
      - The units whose TCP connections are to have it, services, slices and scopes by their full names.
      - V(-.slice) is everything on the host. Containers are in slices, mostly V(system.slice), V(machine.slice) or
        V(kubepods.slice). No unit may be in another one of them.
      - Units that are not listed are left by the program. Required with O(state=attached).
    type: list
    elements: str
    default: []
  id:
    description:
      - This host's server id, which must be in the balancers' M(katran.fleet.server_ids). V(0) is none.
    type: int
    default: 0
  fallback_id:
    description:
      - The id that a server without O(id) gives, and that it takes from clients as well as its own. V(0) is none.
    type: int
    default: 0
  entries:
    description:
      - How many connections of clients on this host can have an id to echo at a time. Those that were used longest ago
        give way, and are balanced like any other from then on.
    type: int
    default: 65536
  restart:
    description:
      - Restart services that listen since before the program was in their groups. Connections to them end.
    type: bool
    default: false
seealso:
  - module: katran.fleet.server_ids
  - module: katran.fleet.decap
"""

EXAMPLES = r"""
- name: A server that names itself
  katran.fleet.server_id_option:
    units: [nginx.service]
    id: 1025

- name: A host of clients
  katran.fleet.server_id_option:
    units: [-.slice]
"""

RETURN = r"""
changes:
  description: One line for each step that was, or in check mode would be, taken.
  returned: success
  type: list
  elements: str
  sample: ["attach server_id_option to nginx.service"]
operations:
  description: Entries written per map.
  returned: success
  type: dict
  sample: {server_id_own: 1}
units_to_restart:
  description:
    - The services that listen since before they had an id, and name nobody until they are restarted. O(restart) does
      that.
  returned: success
  type: list
  elements: str
  sample: ["nginx.service"]
counters:
  description:
    - What the program counted since it was first loaded. C(set) are SYN-ACKs that named this host, and connections of
      clients that echo an id; C(read) are ids that came, right ones; C(missing) are peers without the option; C(wrong)
      are packets that echoed another id than this host's.
    - Empty where there is no program.
  returned: success
  type: dict
  sample: {missing: 0, read: 12, set: 12, wrong: 0}
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.server_id_option import run_server_id_option


def main() -> None:
    run_server_id_option()


if __name__ == "__main__":
    main()
