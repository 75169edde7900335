#!/usr/bin/python
# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rollback
short_description: Say what a fleet goes back to
version_added: 0.1.0
description:
  - Reads on the controller what the operator wants to go back to, and where that is not said, finds the last run that
    changed any of the play's balancers. No host is reached, and nothing is changed; M(katran.fleet.revert) goes back.
  - The playbook C(katran.fleet.rollback) has all the tasks that this takes.
author:
  - The katran.fleet authors (@katran-fleet)
extends_documentation_fragment:
  - katran.fleet.common.info
options:
  before_run:
    description:
      - The id of a run, or its first 8 characters. It excludes O(to).
    type: raw
  to:
    description:
      - The number of an applied configuration. Each host has numbers of its own.
    type: raw
  histories:
    description:
      - The name of a variable in which results of M(katran.fleet.history_info) are registered. Where neither
        O(before_run) nor O(to) is given, the last run is found there. Runs that only changed what a person says of
        reals do not count.
    type: str
seealso:
  - module: katran.fleet.revert
  - module: katran.fleet.history_info
"""

EXAMPLES = r"""
- name: Find the last run
  katran.fleet.rollback:
    histories: rollback_history
  run_once: true
  register: rollback_decided
"""

RETURN = r"""
before_run:
  description: For O(katran.fleet.revert#module:before_run); null where O(to) is given, or nothing is found.
  returned: success
  type: str
to:
  description: For O(katran.fleet.revert#module:to).
  returned: success
  type: int
found:
  description: Whether there is something to go back to.
  returned: success
  type: bool
msg:
  description: What it is, in a sentence.
  returned: success
  type: str
audit:
  description: Who asks, as of M(katran.fleet.preflight).
  returned: success
  type: dict
"""
