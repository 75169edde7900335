# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking systemd by its own command."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

from .._model.errors import HostError

FOLDER = "/etc/systemd/system"


def systemctl(*arguments: str) -> str:
    """Run systemctl; its output. HostError where it fails."""
    try:
        done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise HostError("systemd is not on this host: there is no command systemctl") from error
    if done.returncode:
        raise HostError(f"systemctl {' '.join(arguments[:2])}: {' '.join(done.stderr.split())[:300]}")
    return done.stdout


def read_properties(names: Iterable[str], properties: str) -> dict[str, dict[str, str]]:
    """Unit → property → value, of these properties, also of a unit that systemd does not know."""
    wanted = list(names)
    listed = systemctl("show", f"--property={properties}", "--", *wanted)
    # One block of KEY=VALUE for each unit, in their order: a unit that is linked elsewhere may call itself otherwise.
    return {
        name: dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for name, block in zip(wanted, listed.split("\n\n"), strict=True)
    }
