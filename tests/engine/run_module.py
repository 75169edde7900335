# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one module as Ansible does, in a process of its own: `run_module.py NAME` with the arguments as JSON on stdin."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "collections"))

from ansible.module_utils.testing import patch_module_args


def main() -> None:
    if "KATRAN_COMPILED" in os.environ:
        from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
        from ansible_collections.katran.fleet.tests.engine import compiled

        compiler.compile_program = compiled.compile_program
    module = importlib.import_module(f"ansible_collections.katran.fleet.plugins.modules.{sys.argv[1]}")
    with patch_module_args(json.load(sys.stdin)):
        module.main()


if __name__ == "__main__":
    main()
