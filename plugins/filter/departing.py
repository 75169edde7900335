# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.departing."""

from __future__ import annotations

DOCUMENTATION = r"""
name: departing
short_description: The balancers that are to be drained
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Says which balancers O(_asked) names or, where it names none, which ones the limit of the run leaves, and all that
    is wrong with what was said.
positional: _asked, _limit, _playing
options:
  _input:
    description: All balancers of the inventory.
    type: list
    elements: str
    required: true
  _asked:
    description: Names of balancers, as a list or a text with commas; empty where nobody names any.
    type: raw
    required: true
  _limit:
    description: The limit of the run; empty where there is none.
    type: str
    required: true
  _playing:
    description: The hosts of the play.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show who is to be drained
  ansible.builtin.debug:
    msg: "{{ groups['balancers'] | katran.fleet.departing('lb1', '', ansible_play_hosts_all) }}"
"""

RETURN = r"""
_value:
  description: Names of C(hosts), C(faults) in sentences, and for C(audit) who does it.
  type: dict
"""

import typing as t
from collections.abc import Callable, Sequence

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.module_utils._model.maintenance import chosen_balancers
from ansible_collections.katran.fleet.plugins.plugin_utils.audit import audit_here
from ansible_collections.katran.fleet.plugins.plugin_utils.given import given_faults
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import plain


@pass_context
def departing(
    context: Context, group: Sequence[str], asked: t.Any, limit: str, playing: Sequence[str]
) -> dict[str, t.Any]:
    """The balancers that are meant, and what is wrong."""
    chosen = chosen_balancers(plain(asked), bool(limit), list(playing), list(group))
    faults = chosen.faults + given_faults(context)
    return {"hosts": chosen.hosts, "faults": faults, "audit": audit_here(context)}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"departing": departing}
