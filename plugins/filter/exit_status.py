# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.exit_status."""

from __future__ import annotations

DOCUMENTATION = r"""
name: exit_status
short_description: End ansible-playbook with the exit status that a task's result asks for
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - As C(hosts) of a last play, ends the run with the number C(exit_status) of the result that is registered under
    O(_input); 1 where that task failed without one, and where no host has such a result.
  - Where the number is 0, it is the name of the host that has the result, and the run goes on.
  - Where plays are only looked at, as by C(--syntax-check), it is V(localhost).
options:
  _input:
    description: The name of the variable in which a task registered its result.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Plan
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Compare
      katran.fleet.plan:
        old: origin/main
      register: answer
      ignore_errors: true

- name: Tell by the exit status
  hosts: "{{ 'answer' | katran.fleet.exit_status }}"
  gather_facts: false
"""

RETURN = r"""
_value:
  description: A host that the play may have.
  type: str
"""

import typing as t
from collections.abc import Callable

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.plugin_utils.exit_status import end_run, is_listing, status_of

ALONE = "localhost"


@pass_context
def exit_status(context: Context, name: str) -> str:
    """A host of the inventory where the registered result asks for status 0; otherwise the run ends here."""
    if is_listing():
        return ALONE
    hostvars = context["hostvars"]
    # The implicit localhost is none of those that hostvars lists.
    hosts = dict.fromkeys((ALONE, *hostvars))
    found = next(((host, variables[name]) for host in hosts if name in (variables := hostvars.raw_get(host))), None)
    status, sentence = status_of([found[1]] if found else [])
    if status or found is None:
        end_run(status, sentence)
    return str(found[0])


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"exit_status": exit_status}
