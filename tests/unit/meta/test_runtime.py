# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import yaml

COLLECTION = Path(__file__).resolve().parents[3]


def documentation(module: Path) -> dict[str, Any]:
    for statement in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "DOCUMENTATION":
            return yaml.safe_load(ast.literal_eval(statement.value))
    raise AssertionError(f"{module.name} has no DOCUMENTATION")


def test_action_group_all_names_every_module_with_the_common_options():
    runtime = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    # module_defaults for the group set these options: a module without them would refuse to run.
    with_common_options = [
        module.stem
        for module in sorted((COLLECTION / "plugins" / "modules").glob("[!_]*.py"))
        if "katran.fleet.common" in documentation(module).get("extends_documentation_fragment", [])
    ]

    assert runtime["action_groups"]["all"] == [f"katran.fleet.{name}" for name in with_common_options]
