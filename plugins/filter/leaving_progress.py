# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.leaving_progress."""

from __future__ import annotations

DOCUMENTATION = r"""
name: leaving_progress
short_description: How far reals have been left, over all balancers
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Adds up what M(katran.fleet.leaving_info) counted on each balancer in the same time.
positional: _counted, _before, _seconds, _most
options:
  _input:
    description: Names of balancers.
    type: list
    elements: str
    required: true
  _counted:
    description: The name of the variable in which each registered it.
    type: str
    required: true
  _before:
    description: What this filter made of the time before; empty at first.
    type: dict
    required: true
  _seconds:
    description: For how many seconds they counted.
    type: float
    required: true
  _most:
    description: As many flows may be left.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Show how far it is
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts | katran.fleet.leaving_progress('leaving_counted', {}, 5)).line }}"
"""

RETURN = r"""
_value:
  description:
    - A C(line) for people, whether it is C(over), whether a balancer has C(known) such a real, and for how many
      C(seconds) they count by now, the last of which were C(quiet).
  type: dict
"""

import typing as t
from collections.abc import Callable, Mapping, Sequence

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.module_utils._model.leaving_plan import progress
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import host_variable
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import plain

_WANTED = ("known", "flows", "rates", "quiet")


@pass_context
def leaving_progress(
    context: Context, hosts: Sequence[str], name: str, before: Mapping[str, t.Any], seconds: float, most: int = 0
) -> dict[str, t.Any]:
    """How far it is."""
    answers = {}
    for host in hosts:
        answer = host_variable(context, host, name) or {}
        answers[host] = {key: plain(answer[key]) for key in _WANTED if key in answer}
    return progress(answers, plain(before), float(seconds), int(most))._asdict()


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"leaving_progress": leaving_progress}
