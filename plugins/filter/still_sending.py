# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.still_sending."""

from __future__ import annotations

DOCUMENTATION = r"""
name: still_sending
short_description: The balancers that may still send to reals of before
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Names the balancers that this run did not get through, and those with VIPs, source routes or server ids that no
    variable is about. While there is one, no real may give up a VIP.
positional: _note, _applied
options:
  _input:
    description: What M(katran.fleet.preflight) returned.
    type: dict
    required: true
  _note:
    description:
      - The name of a variable that balancers have once their batch is done. C(run) is that of O(_input), C(hosts) are
        the balancers of the batch that are done.
    type: str
    required: true
  _applied:
    description: The name of the variable in which a balancer's run of M(katran.fleet.vips) is registered.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show who may still send
  ansible.builtin.debug:
    var: deploy_preflight | katran.fleet.still_sending('balancer_batch', 'balancer_applied')
"""

RETURN = r"""
_value:
  description: Names of balancers, sorted.
  type: list
  elements: str
"""

import typing as t
from collections.abc import Callable, Mapping

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.filter.readiness import noted
from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import may_still_send
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import host_variable


@pass_context
def still_sending(context: Context, preflight: Mapping[str, t.Any], note: str, applied: str) -> list[str]:
    """The balancers that may still send to reals of before."""
    resources = preflight["resources"]
    balancers = {host: frozenset(resources[told["resources"]]) for host, told in preflight["balancers"].items()}
    references = {
        host: result["references"]
        for host in balancers
        if "references" in (result := host_variable(context, host, applied) or {})
    }
    return may_still_send(balancers, noted(context, preflight, balancers, note), references)


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"still_sending": still_sending}
