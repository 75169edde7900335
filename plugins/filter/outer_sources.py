# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.outer_sources."""

from __future__ import annotations

DOCUMENTATION = r"""
name: outer_sources
short_description: From where a host takes balancers' packets
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Joins what the inventory tells of the outer sources of balancers' packets with the addresses of those balancers
    whose source of GUE is V(auto), for O(katran.fleet.decap#module:sources). They alone know which it is of these. The
    addresses are those of their facts, which the playbook C(katran.fleet.deploy) gathers.
options:
  _input:
    description: What M(katran.fleet.preflight) returned for the host, of which C(sources) and C(ask) count.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show from where this real takes packets
  ansible.builtin.debug:
    var: real_told | katran.fleet.outer_sources
"""

RETURN = r"""
_value:
  description: Prefixes C(sources), and C(unknown), the balancers of which there are no such facts.
  type: dict
"""

import typing as t
from collections.abc import Callable, Mapping

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.module_utils._model.outer_sources import Answers
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import host_variable


@pass_context
def outer_sources(context: Context, told: Mapping[str, t.Any]) -> dict[str, list[str]]:
    """The sources that are known, and the balancers whose are not."""
    found = Answers.of(told, {host: host_variable(context, host, "ansible_facts") or {} for host in told["ask"]})
    return {"sources": found.sources, "unknown": found.unknown}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"outer_sources": outer_sources}
