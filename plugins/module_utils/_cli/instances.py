# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which balancer of this host a subcommand is about."""

from __future__ import annotations

from .._kernel.kept_balancers import kept_balancers
from .._model.errors import EngineError
from .._model.options import is_instance
from .._model.written import visible


def one_instance(name: str | None) -> str:
    """The one that is named, or the only one there is. EngineError where that is none."""
    if name is not None and not is_instance(name):
        raise EngineError(f"{visible(name)} is not the name of an instance")
    there = kept_balancers()
    if name in there and name is not None:
        return name
    if name is None and len(there) == 1:
        return there[0]
    if name is None and there:
        raise EngineError(f"this host has the balancers {', '.join(there)}: say which by --instance")
    raise EngineError(f"there is no balancer{f' {name}' if name else ''} on this host")
