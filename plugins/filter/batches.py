# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.batches."""

from __future__ import annotations

DOCUMENTATION = r"""
name: batches
short_description: How many balancers at a time a play changes
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Says by what M(katran.fleet.preflight) returned in an earlier play how large batches are, for C(serial) of a play.
    Where a play begins, Ansible knows no host's variables, so this looks for them itself.
  - In check mode, where nothing changes, all are one batch.
options:
  _input:
    description: The name of the variable in which M(katran.fleet.preflight) is registered.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Balance
  hosts: balancers
  serial: "{{ 'deploy_preflight' | katran.fleet.batches }}"
"""

RETURN = r"""
_value:
  description: Sizes of batches; [1, 25%, 100%] where nobody said.
  type: list
  elements: raw
"""

import typing as t
from collections.abc import Callable

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.module_utils._model.rollout import SERIAL


@pass_context
def batches(context: Context, preflight: str) -> list[int | str]:
    """The sizes of batches."""
    if context.get("ansible_check_mode"):
        return ["100%"]
    hostvars = context.get("hostvars")
    for host in hostvars or ():
        found = hostvars.raw_get(host).get(preflight)
        if found and "rollout" in found:
            return list(found["rollout"]["serial"])
    return list(SERIAL)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"batches": batches}
