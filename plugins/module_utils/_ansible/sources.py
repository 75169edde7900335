# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources that a review goes by: those that the role's task before would write."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.module_utils.basic import AnsibleModule

from .._model.options import Spec

PLANNED_SOURCES: Spec = {"planned_sources": {"type": "dict"}}


def planned_sources(module: AnsibleModule) -> Mapping[str, str] | None:
    """File → SHA-256 of what the sources will be; None where they are what they are to be."""
    planned: Mapping[str, str] | None = module.params["planned_sources"] if module.check_mode else None
    return planned
