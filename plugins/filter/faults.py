# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter katran.fleet.faults."""

from __future__ import annotations

DOCUMENTATION = r"""
name: faults
short_description: What is wrong with a balancer's VIPs and tables
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Says what the modules would say against a configuration, before any host is asked.
options:
  _input:
    description:
      - Options by module. C(balancer) and C(decap) have a module's options; C(vips), C(source_routes), C(server_ids)
        and C(decap_destinations) have the list that is the module's O(katran.fleet.vips#module:config), for a balancer
        with the features and sizes of C(balancer).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: The VIPs must be valid
  ansible.builtin.assert:
    that: "{'balancer': {'interfaces': ['eth0']}, 'vips': katran_vips} | katran.fleet.faults | length == 0"
"""

RETURN = r"""
_value:
  description: Sentences; none where all is well.
  type: list
  elements: str
"""

import typing as t
from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError

from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import DECAP, parse_real
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.limits import UNLIMITED, Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.options import Spec
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import config_faults
from ansible_collections.katran.fleet.plugins.module_utils._model.settings import BALANCER, parse_settings
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import plain
from ansible_collections.katran.fleet.plugins.plugin_utils.role_options import option_faults


def faults(options: Mapping[str, t.Any]) -> list[str]:
    """What is wrong with these options, by module."""
    if not isinstance(options, Mapping):
        raise AnsibleFilterError("katran.fleet.faults: the input is not a mapping of options")
    options = plain(options)
    found: list[str] = []
    settings = _read(options, "balancer", BALANCER, parse_settings, found)
    _read(options, "decap", DECAP, parse_real, found)
    if "balancer" not in options:
        return found
    limits = UNLIMITED if settings is None else Limits(settings.sizes, settings.features)
    return found + config_faults(options, limits)


T = t.TypeVar("T")


def _read(
    options: Mapping[str, t.Any], name: str, spec: Spec, parse: Callable[[Mapping[str, t.Any]], T], found: list[str]
) -> T | None:
    """A module's options as the module reads them; None, and why in `found`, where it cannot."""
    if name not in options:
        return None
    read, wrong = option_faults(options[name], spec)
    found += wrong
    try:
        settings = parse(read)
    except ConfigError as error:
        found.append(str(error))
        return None
    return None if wrong else settings


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"faults": faults}
