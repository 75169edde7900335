# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.audit."""

from __future__ import annotations

DOCUMENTATION = r"""
name: audit
short_description: Who asks, for the environment of plays that change hosts
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Makes the environment by which modules tell a balancer's journal and history who asked, in which run and at which
    revision of the inventory.
  - The user is that of the controller. Where a job of GitLab, of GitHub Actions or of AWX runs the play, it is who
    started that, and with C(sudo) who typed it. The revision is git's, of the inventory's directory, with C(+dirty)
    where that is not as committed.
options:
  _input:
    description: What M(katran.fleet.preflight) returned, which found all of it out once.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Balance
  hosts: balancers
  environment: "{{ deploy_preflight | katran.fleet.audit }}"
  tasks:
    - name: Balance the VIPs
      ansible.builtin.import_role:
        name: katran.fleet.balancer
        tasks_from: apply
      vars:
        balancer_preflight: "{{ deploy_preflight }}"
"""

RETURN = r"""
_value:
  description: C(KATRAN_AUDIT), a text; nothing where preflight said nothing.
  type: dict
"""

import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.katran.fleet.plugins.module_utils._model.audit import VARIABLE
from ansible_collections.katran.fleet.plugins.plugin_utils.audit import audit_text


def audit(preflight: t.Any) -> dict[str, str]:
    """The environment of a play's tasks."""
    told = preflight.get("audit") if isinstance(preflight, Mapping) else None
    return {VARIABLE: audit_text(told)} if isinstance(told, Mapping) else {}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"audit": audit}
