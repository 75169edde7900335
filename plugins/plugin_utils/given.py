# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator gives a playbook of maintenance beside the names of who is meant."""

from __future__ import annotations

from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.module_utils._model.maintenance import OPTIONS, option_faults
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import plain


def given_faults(context: Context) -> list[str]:
    """What is wrong with that, in sentences."""
    return option_faults({name: plain(context[f"katran_{name}"]) for name in OPTIONS if f"katran_{name}" in context})
