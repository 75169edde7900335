# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.said_of_reals."""

from __future__ import annotations

DOCUMENTATION = r"""
name: said_of_reals
short_description: What balancers answered to a word about reals
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Sorts what M(katran.fleet.reals) returned on each balancer.
positional: _said
options:
  _input:
    description: Names of balancers.
    type: list
    elements: str
    required: true
  _said:
    description: The name of the variable in which each registered it.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show who refused
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts_all | katran.fleet.said_of_reals('leaving_said')).refused }}"
"""

RETURN = r"""
_value:
  description:
    - Lines of those that C(refused), names of those that are C(silent), of those that are C(broken) and of those that
      C(heard), what takes it C(back) on each, and C(starts), how soon reals that are let in have their weight.
  type: dict
"""

import typing as t
from collections.abc import Callable, Sequence

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.module_utils._model.leaving_plan import folded, said
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import host_variable
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import plain

_WANTED = ("unreachable", "failed", "msg", "before", "after")


@pass_context
def said_of_reals(context: Context, hosts: Sequence[str], name: str) -> dict[str, t.Any]:
    """Who said what."""
    answers, starts = {}, {}
    for host in hosts:
        answer = host_variable(context, host, name) or {"unreachable": True}
        answers[host] = {key: plain(answer[key]) for key in _WANTED if key in answer}
        lines = plain(answer.get("starts")) or []
        if lines:
            starts[host] = "; ".join(lines)
    return {**said(answers)._asdict(), "starts": folded(starts)}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"said_of_reals": said_of_reals}
