# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs a play, and at which revision."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.filter import audit as audit_filter
from ansible_collections.katran.fleet.plugins.module_utils._model.audit import Audit, parse_audit
from ansible_collections.katran.fleet.plugins.plugin_utils.audit import audit_of, audit_text, revision_of

PATH = {"PATH": "/usr/bin:/bin"}


def test_the_user_is_who_is_behind_it() -> None:
    assert audit_of("r", {}, {"GITLAB_USER_LOGIN": "jane", "SUDO_USER": "joe"})["user"] == "jane"
    assert audit_of("r", {}, {"GITHUB_ACTOR": "octo\ncat"})["user"] == "octo?cat"
    assert audit_of("r", {}, {"SUDO_USER": "joe"})["user"] == "joe"
    assert audit_of("r", {"awx_user_name": "ann"}, {"SUDO_USER": "joe"})["user"] == "ann"


def test_without_any_it_is_the_process_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "me")
    assert audit_of("r", {}, {}) == {"run": "r", "user": "me", "revision": ""}


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.net")
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_revision_is_the_inventorys(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        # ansible-test's containers have none: then nothing is known.
        assert revision_of(str(tmp_path), PATH) == ""
        return
    assert revision_of(str(tmp_path), PATH) == ""
    assert revision_of(str(tmp_path / "nowhere"), PATH) == ""
    git(tmp_path, "init", "-q")
    assert revision_of(str(tmp_path), PATH) == ""
    folder = tmp_path / "inventory"
    folder.mkdir()
    (folder / "hosts.yml").write_text("all:\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "x")
    head = git(tmp_path, "rev-parse", "HEAD")[:12]
    assert audit_of("r", {"inventory_dir": str(folder)}, PATH)["revision"] == head
    # Somebody else's folder is none of its business, nor is the repository of a hook.
    (tmp_path / "other").write_text("x")
    assert revision_of(str(folder), {**PATH, "GIT_DIR": "/nowhere"}) == head
    (folder / "host_vars.yml").write_text("x: 1\n")
    assert revision_of(str(folder), PATH) == f"{head}+dirty"


def test_without_git_nothing_is_known(tmp_path: Path) -> None:
    assert revision_of(str(tmp_path), {"PATH": str(tmp_path)}) == ""


def test_the_environment_of_a_play() -> None:
    assert audit_filter.FilterModule().filters() == {"audit": audit_filter.audit}
    told = {"run": "r1", "user": "jane", "revision": "abc"}
    found = audit_filter.audit({"run": "r1", "audit": told, "more": 1})
    assert json.loads(found["KATRAN_AUDIT"]) == told
    assert parse_audit(found["KATRAN_AUDIT"]) == Audit("r1", "jane", "abc")
    assert audit_text({}) == '{"run": "", "user": "", "revision": ""}'
    for nothing in ({}, None, {"audit": None}, "x"):
        assert audit_filter.audit(nothing) == {}
