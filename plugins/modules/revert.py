#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: revert
short_description: Bring a balancer back to a configuration that it had
version_added: 0.1.0
description:
  - Each run of M(katran.fleet.balancer), M(katran.fleet.vips), M(katran.fleet.reals) and the tables of a balancer that
    changes something leaves the applied configuration in the history of the host, where C(katran history) shows it.
    The last 20 are kept.
  - VIPs and tables come back exactly as they were then. Reals and VIPs keep their ids, so connections stay where they
    are unless their real is not in the VIP any more.
  - The program comes back where it is the one before the last upgrade, whose bytecode is kept; then it stays as after
    O(katran.fleet.balancer#module:state=rolled_back). Otherwise a warning says why it does not. Its settings go with
    it; interfaces, gateway and sizes of the connection tables come back by themselves.
  - What a person said of reals (M(katran.fleet.reals)) and what checks say stay as they are today.
  - All is tried in memory first; where a part cannot be done, nothing is.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common
  - katran.fleet.common.attributes
options:
  before_run:
    description:
      - The id of a run; the balancer comes back to what it was before that. What other runs changed since goes back
        as well, which a warning says.
      - Where that run applied nothing to this balancer, nothing is changed.
      - Either this or O(to) is required.
    type: str
  to:
    description:
      - The number of an applied configuration, as C(katran history) shows it on this host. V(0) is what was there
        before the first run on record.
    type: int
  stays:
    description:
      - Whether a program that comes back is noted as rolled back by hand, so that runs leave it until its sources or
        settings change, or O(katran.fleet.balancer#module:end_rollback) ends it. Without, the next run brings the
        program of its sources again, as after the rollback of a batch.
    type: bool
    default: true
seealso:
  - module: katran.fleet.balancer
  - module: katran.fleet.vips
"""

EXAMPLES = r"""
- name: Back to what was before a run
  katran.fleet.revert:
    before_run: 0f2b6c1e9d4f4b0c8d5a4d2f7a9c3e11

- name: Look at what going back to configuration 7 would change
  katran.fleet.revert:
    to: 7
  check_mode: true
  diff: true
"""

RETURN = r"""
to:
  description: The number of the configuration that it goes back to; null where there is nothing to go back from.
  returned: success
  type: int
msg:
  description: What it goes back to, or why nothing is to be done.
  returned: success
  type: str
changes:
  description: One line for each change.
  returned: success
  type: list
  elements: str
  sample: ["vip 198.51.100.1 port 80 tcp: real 10.0.0.3 added"]
operations:
  description: Entries written per map.
  returned: success
  type: dict
"""

from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed

prefer_installed()

from ansible_collections.katran.fleet.plugins.module_utils._ansible.revert import run_revert


def main() -> None:
    run_revert()


if __name__ == "__main__":
    main()
