# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks that look at hosts come to their report although every host hangs until its time is up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.katran.fleet.tests.engine.playbooks import ROOT, run_playbook

LOOKING = ("doctor", "drift", "report")
KEYWORDS = frozenset(("register", "ignore_unreachable", "failed_when", "ignore_errors"))


def looks(name: str) -> list[dict[str, Any]]:
    """The tasks of a playbook that are bounded in time, with something that takes longer in the place of the look."""
    plays = yaml.safe_load((ROOT / f"playbooks/{name}.yml").read_text(encoding="utf-8"))
    found = [task for play in plays for task in play.get("tasks", ()) if "timeout" in task]
    hanging = {"timeout": 1, "ansible.builtin.command": "sleep 30", "changed_when": False}
    return [{key: task[key] for key in ("name", *KEYWORDS) if key in task} | hanging for task in found]


@pytest.mark.parametrize("name", LOOKING)
def test_hosts_that_all_hang_do_not_keep_the_report_away(name: str, tmp_path: Path) -> None:
    asked = looks(name)
    assert asked
    told = {"name": "Report", "hosts": "all", "gather_facts": False}
    plays = [
        {"name": "Look", "hosts": "all", "gather_facts": False, "tasks": asked},
        {**told, "tasks": [{"ansible.builtin.debug": {"msg": "told at the end"}}]},
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False), encoding="utf-8")
    done = run_playbook(
        "-i", "a,b,", "-c", "local", tmp_path / "play.yml", ANSIBLE_PYTHON_INTERPRETER="/usr/bin/python3"
    )
    assert done.stdout.count("Timed out after 1 second") >= 2 * len(asked), done.stdout
    assert done.stdout.count("told at the end") == 2, done.stdout
    assert done.returncode == 0
