#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: drift_info
short_description: Compare a host with what the inventory says, and write nothing
version_added: 0.1.0
description:
  - Reviews on the host, in one process, all that C(katran.fleet.deploy) would apply to it, with the same options, as
    the roles' own tasks give them. Each difference is told with its entry, whether somebody changed it on the host or
    the inventory is ahead, and since when, as far as that can be known.
  - It also returns what balancers are compared by. The playbook C(katran.fleet.drift) does so for the whole fleet.
  - Nothing is written on the host, not even a lock file. Where another run holds a lock, it waits for O(lock_timeout)
    seconds, and then says what could not be compared.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.info
options:
  preflight:
    description:
      - What M(katran.fleet.preflight) returned on the controller. A host that is neither balancer nor real there has
        nothing to be compared with.
      - The action plugin reads it, and gives the module O(applied).
    type: dict
  applied:
    description:
      - What a deploy would apply, in order, each with the name of its module and the options. The action plugin makes
        it from the tasks of the roles.
    type: list
    elements: dict
seealso:
  - module: katran.fleet.drift
  - module: katran.fleet.balancer_info
"""

EXAMPLES = r"""
- name: Compare a host with the inventory
  katran.fleet.drift_info:
    preflight: "{{ drift_preflight }}"
  register: drift_found
"""

RETURN = r"""
findings:
  description:
    - The differences. RV(ignore:area) is the module that would end it, RV(ignore:kind) V(changed) where it was changed
      on the host since the last run, V(ahead) where the inventory is another than that of the last run, V(differs)
      where that cannot be told, V(unknown) where it could not be compared. RV(ignore:since) says when it began.
  returned: always
  type: list
  elements: dict
  sample:
    - area: vips
      kind: changed
      what: "vip 198.51.100.1:443/tcp: 12 ring slots changed"
      since:
        at: ""
        after: "2026-11-27T21:00:04Z"
        by: the last run of vips that changed something
notes:
  description: What is no drift and yet worth knowing, such as reals that are drained by hand or out by check.
  returned: always
  type: list
  elements: str
compared:
  description: Digests of rings and of the program, by which balancers are compared; empty where there is none.
  returned: always
  type: dict
timings:
  description: Seconds that each part took.
  returned: always
  type: dict
seconds:
  description: Seconds that all of it took on the host.
  returned: always
  type: float
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed(makes=False)

from ansible_collections.katran.fleet.plugins.module_utils._ansible.drift import run_drift_info


def main() -> None:
    run_drift_info()


if __name__ == "__main__":
    main()
