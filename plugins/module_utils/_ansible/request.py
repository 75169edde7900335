# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every run is told by a module's options."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Mapping

from .._engine.request import Request


def request_of(params: Mapping[str, t.Any], check: bool) -> Request:
    """The options that every module has."""
    bpffs = os.path.normpath(params["bpffs"])
    audit = os.environ.get("KATRAN_AUDIT", "")
    return Request(params["instance"], bpffs, float(params["lock_timeout"]), check, audit=audit)
