# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.named_reals."""

from __future__ import annotations

DOCUMENTATION = r"""
name: named_reals
short_description: The addresses of reals that an operator names
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Names are addresses, or hosts of the inventory, each of which stands for all of its C(katran_real_address).
options:
  _input:
    description: Names and addresses, as a list or a text with commas.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Show the addresses of a real, of both families
  ansible.builtin.debug:
    msg: "{{ 'web1' | katran.fleet.named_reals }}"
"""

RETURN = r"""
_value:
  description:
    - The C(addresses), C(words) of M(katran.fleet.reals) that drain them, C(faults) in sentences, and for C(audit) who
      does it.
  type: dict
"""

import typing as t
from collections.abc import Callable
from datetime import UTC, datetime

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.module_utils._model.leaving_plan import chosen_reals
from ansible_collections.katran.fleet.plugins.module_utils._model.maintenance import names_of
from ansible_collections.katran.fleet.plugins.plugin_utils.audit import audit_here
from ansible_collections.katran.fleet.plugins.plugin_utils.given import given_faults
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import host_variable
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import plain


@pass_context
def named_reals(context: Context, asked: t.Any) -> dict[str, t.Any]:
    """The reals that are meant, and what is wrong."""
    told = plain(asked)
    names = set(names_of(told) or ())
    # Of hosts that nobody names, no variable is looked at.
    inventory = {str(host): _addresses(context, str(host)) if host in names else [""] for host in context["hostvars"]}
    found = chosen_reals(told, inventory)
    since = datetime.now(tz=UTC).isoformat(timespec="milliseconds")
    words = [{"address": address, "state": "draining", "since": since} for address in found.addresses]
    faults = found.faults + given_faults(context)
    return {"addresses": found.addresses, "faults": faults, "words": words, "audit": audit_here(context)}


def _addresses(context: Context, host: str) -> list[str]:
    value = plain(host_variable(context, host, "katran_real_address"))
    return [str(each) for each in (value if isinstance(value, list) else [value] if value else [])]


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"named_reals": named_reals}
