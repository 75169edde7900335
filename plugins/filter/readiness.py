# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.readiness."""

from __future__ import annotations

DOCUMENTATION = r"""
name: readiness
short_description: The reals to which nothing may lead newly in this run
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Says which addresses of reals are for O(katran.fleet.vips#module:unready_reals), because the run could not prepare
    them, and which for O(katran.fleet.vips#module:unseen_reals), because it left them out.
positional: _note
options:
  _input:
    description: What M(katran.fleet.preflight) returned.
    type: dict
    required: true
  _note:
    description:
      - The name of a variable that reals have once they are prepared. C(run) is that of O(_input), C(hosts) are the
        reals that were prepared.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Note which reals are ready, at the end of their play
  ansible.builtin.set_fact:
    deploy_prepared:
      run: "{{ deploy_preflight.run }}"
      hosts: "{{ ansible_play_hosts }}"
  run_once: true

- name: Show the others
  ansible.builtin.debug:
    var: deploy_preflight | katran.fleet.readiness('deploy_prepared')
"""

RETURN = r"""
_value:
  description: Addresses. C(unready) could not be prepared, C(unseen) are of hosts that the run left out.
  type: dict
"""

import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping

from jinja2 import pass_context
from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import Prepared
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import host_variable


def noted(context: Context, preflight: Mapping[str, t.Any], hosts: Iterable[str], note: str) -> Collection[str]:
    """The hosts that notes of this run name, one note for each batch; none where no host has one."""
    noted_hosts: set[str] = set()
    for host in hosts:
        found = host_variable(context, host, note)
        if found and found.get("run") == preflight["run"]:
            noted_hosts.update(found["hosts"])
    return frozenset(noted_hosts)


@pass_context
def readiness(context: Context, preflight: Mapping[str, t.Any], note: str) -> dict[str, list[str]]:
    """The addresses of reals that are not ready, and of those that nobody looked at."""
    reals = {host: told["addresses"] for host, told in preflight["reals"].items()}
    prepared = Prepared(reals, frozenset(preflight["seen"]), noted(context, preflight, reals, note))
    return {"unready": prepared.unready, "unseen": prepared.unseen}


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"readiness": readiness}
