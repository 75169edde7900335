# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.lagging."""

from __future__ import annotations

DOCUMENTATION = r"""
name: lagging
short_description: What balancers that were away have not heard of reals
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Compares over balancers what was said of reals of the whole fleet, by C(katran.fleet.drain_real) and
    C(katran.fleet.undrain_real), and returns what is to be told to whom. Of what they know the newest is right.
positional: _applied, _elsewhere
options:
  _input:
    description: Names of balancers.
    type: list
    elements: str
    required: true
  _applied:
    description:
      - The name of the variable in which each registered a run of M(katran.fleet.vips) or M(katran.fleet.reals). Who
        has none is neither asked nor told.
    type: str
    required: true
  _elsewhere:
    description:
      - The results of a loop over other balancers, each with its host as C(item). What they know counts, and they are
        told nothing.
    type: list
    elements: dict
    default: []
"""

EXAMPLES = r"""
- name: Show who was away
  ansible.builtin.debug:
    msg: "{{ groups['balancers'] | katran.fleet.lagging('balancer_applied') }}"
"""

RETURN = r"""
_value:
  description: For each C(host) the C(state) and C(config) that M(katran.fleet.reals) is to be run with.
  type: list
  elements: dict
"""

import typing as t
from collections.abc import Callable, Mapping, Sequence

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.module_utils._model import lagging as model
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import host_variable
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import plain


@pass_context
def lagging(
    context: Context, hosts: Sequence[str], applied: str, elsewhere: Sequence[Mapping[str, t.Any]] = ()
) -> list[dict[str, t.Any]]:
    """What to tell whom."""
    told = {host: (host_variable(context, host, applied) or {}).get("by_hand") for host in hosts}
    told |= {str(each["item"]): each.get("by_hand") for each in elsewhere}
    found = model.lagging({host: plain(by_hand) for host, by_hand in told.items() if by_hand is not None})
    return [each._asdict() for each in found if each.host in hosts]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"lagging": lagging}
