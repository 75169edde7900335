# SPDX-License-Identifier: GPL-3.0-or-later
"""The command katran as it is installed on a host: with the system's Python and nothing of Ansible."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.katran.fleet.plugins.plugin_utils.library import library

FOLDER = Path("/run/library")
COMMAND = ("/usr/bin/python3", "-I", str(FOLDER / "katran"))


def install() -> None:
    """Lay the library where nobody but this sandbox sees it."""
    for path, text in library().items():
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / path).write_text(text, encoding="utf-8")


def katran(*arguments: str, prefix: Sequence[str] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it; `prefix`: a command that starts it."""
    command = [*prefix, *COMMAND, *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, env={**os.environ, "TZ": "UTC", **environment}
    )


def told(*arguments: str) -> Any:
    """What it says to programs."""
    done = katran(*arguments, "--json")
    assert done.stderr == "", done.stderr
    return json.loads(done.stdout)
