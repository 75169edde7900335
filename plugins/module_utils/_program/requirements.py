# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run needs of the host before it touches anything."""

from __future__ import annotations

import os

from .._kernel import bpf
from .._kernel.privilege import missing_capabilities
from .._model.errors import ProgramError


def require_capabilities() -> None:
    """ProgramError names the capabilities that this process lacks."""
    missing = missing_capabilities()
    if missing:
        raise ProgramError(
            f"not enough privilege: {' and '.join(missing)} missing in this process (uid {os.geteuid()});"
            " use become, or grant them"
        )


def require_bpffs(path: str) -> None:
    """ProgramError where the path is not in a mounted bpffs."""
    if not bpf.is_bpffs(path):
        raise ProgramError(f"bpffs: {path} is not a bpf file system on this host (mount -t bpf bpf {path})")
