# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks as operators run them: by ansible-playbook, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
Done = subprocess.CompletedProcess[str]


def run_playbook(*words: str | Path, cwd: Path = ROOT, timeout: float | None = None, **environment: str) -> Done:
    """What ansible-playbook said to these words, and its exit status; *environment*: what it has beside ours.

    Elsewhere than in the clone, whose ansible.cfg says where the collection is, the environment has to say so.
    """
    return subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, **environment},
    )
