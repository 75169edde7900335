# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-builder takes our execution environment, and finds in the collection what it needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BUILDER = str(Path(sys.prefix) / "bin/ansible-builder")


def build(*words: str) -> str:
    return subprocess.run([BUILDER, *words], check=True, capture_output=True, text=True, timeout=60).stdout


def test_a_context_is_created(tmp_path: Path) -> None:
    words = ["--file", str(ROOT / "execution-environment.yml"), "--output-filename", "Containerfile"]
    build("create", *words, "--context", str(tmp_path))
    assert "ansible-galaxy collection install" in (tmp_path / "Containerfile").read_text(encoding="utf-8")
    wanted = yaml.safe_load((tmp_path / "_build/requirements.yml").read_text(encoding="utf-8"))
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    assert [each["name"] for each in wanted["collections"]] == [f"{galaxy['namespace']}.{galaxy['name']}"]


def test_what_the_collection_needs_is_found(tmp_path: Path) -> None:
    installed = tmp_path / "ansible_collections/katran/fleet"
    shutil.copytree(ROOT / "meta", installed / "meta")
    shutil.copy(ROOT / "galaxy.yml", installed)
    found = yaml.safe_load(build("introspect", str(tmp_path)))
    assert found["python"] == []
    assert {line.split()[0] for line in found["system"]} == {"openssh-clients", "openssh-client", "git-core", "git"}


def test_the_core_it_gets_is_one_that_the_collection_takes() -> None:
    wanted = yaml.safe_load((ROOT / "execution-environment.yml").read_text(encoding="utf-8"))
    least = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))["requires_ansible"]
    assert wanted["dependencies"]["ansible_core"]["package_pip"].startswith(f"ansible-core{least.removesuffix('.0')},")


@pytest.mark.parametrize("name", ["drain-real.yml"])
def test_rulebooks_run_playbooks_that_there_are(name: str) -> None:
    (rules,) = yaml.safe_load((ROOT / "docs/eda" / name).read_text(encoding="utf-8"))
    actions = [action for rule in rules["rules"] for action in rule.get("actions", [rule.get("action")])]
    playbooks = [action["run_playbook"]["name"] for action in actions if "run_playbook" in action]
    assert playbooks
    for playbook in playbooks:
        assert playbook.startswith("katran.fleet.")
        assert (ROOT / "playbooks" / f"{playbook.rpartition('.')[2]}.yml").exists(), playbook
