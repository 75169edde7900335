# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent reads of state.json is what a run left, however often and in whichever part it changes."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._agent import settings_files
from ansible_collections.katran.fleet.plugins.module_utils._agent.checking import told
from ansible_collections.katran.fleet.plugins.module_utils._agent.journal import Journal
from ansible_collections.katran.fleet.plugins.module_utils._agent.known import Known, StateReader
from ansible_collections.katran.fleet.plugins.module_utils._agent.troubles import Troubles
from ansible_collections.katran.fleet.plugins.module_utils._model.agent_settings import AGENT_FILE, AgentSettings
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids
from ansible_collections.katran.fleet.plugins.module_utils._model.state import ProgramRecord, State
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import Verdict

DOWN = Verdict("198.51.100.1:80/tcp", "10.0.0.1", "down", "2026-01-01T00:00:00+00:00", "connection refused")


def vip(port: int) -> dict[str, Any]:
    return {
        "address": "198.51.100.1",
        "port": port,
        "protocol": "tcp",
        "flags": [],
        "hash": "maglev_v2",
        "reals": [{"address": "10.0.0.1", "weight": 1, "state": "active", "local": False}],
        "down_reals": [],
        "check": {"type": "tcp"},
    }


STATE = State("default", "/sys/fs/bpf", vips=[vip(80)], real_ids=Ids(1, {"10.0.0.1": 1}))


@pytest.fixture(name="folder")
def make(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    (tmp_path / "default").mkdir(mode=0o700)
    return tmp_path


def write(folder: Path, text: str) -> None:
    path = folder / "default" / "state.json"
    new = path.with_name("new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o600)
    new.rename(path)


def test_what_a_run_leaves_is_read_once(folder: Path) -> None:
    reader = StateReader("default", str(folder))
    assert reader.read() == Known()
    assert reader.read() is None
    write(folder, STATE.to_json())
    first = reader.read()
    assert first is not None
    assert [str(key) for key in first.vips] == ["198.51.100.1:80/tcp"]
    assert (first.bpffs, first.real_ids, first.loaded) == ("/sys/fs/bpf", {"10.0.0.1": 1}, False)
    assert reader.read() is None
    # A run of verdicts leaves the VIPs as they are: they are the same objects.
    write(folder, replace(STATE, verdicts=[DOWN._asdict()], interrupted=["vips"]).to_json())
    second = reader.read()
    assert second is not None
    assert second.vips is first.vips
    assert (second.verdicts, second.interrupted) == ((DOWN,), True)
    write(folder, replace(STATE, vips=[vip(80), vip(81)], program=ProgramRecord(tag="0011")).to_json())
    third = reader.read()
    assert third is not None
    assert (len(third.vips), third.loaded, third.verdicts) == (2, True, ())
    (folder / "default" / "state.json").unlink()
    assert reader.read() == Known()


@pytest.mark.parametrize("part", ["vips", "verdicts", "whole"])
def test_damage_is_told_until_it_is_mended(folder: Path, part: str) -> None:
    reader = StateReader("default", str(folder))
    write(folder, STATE.to_json())
    first = reader.read()
    assert first is not None
    wrong = {
        "vips": replace(STATE, vips=[{**vip(80), "port": 70000}]).to_json(),
        "verdicts": replace(STATE, verdicts=[{**DOWN._asdict(), "share": 101}]).to_json(),
        "whole": "[1",
    }
    write(folder, wrong[part])
    for _again in range(2):
        with pytest.raises(StateError, match="is damaged"):
            reader.read()
    write(folder, replace(STATE, verdicts=[DOWN._asdict()]).to_json())
    mended = reader.read()
    assert mended is not None
    assert mended.vips == first.vips
    assert mended.verdicts == (DOWN,)


def test_a_real_that_changes_alike_in_many_vips_is_one_line() -> None:
    others = [DOWN._replace(vip=f"198.51.100.{number}:80/tcp") for number in (2, 3)]
    slow = DOWN._replace(real="10.0.0.2", state="active", reason="slow start", share=10)
    lines = told([(None, DOWN), *((None, each) for each in others), (slow._replace(state="down"), slow), (slow, None)])
    assert [line for line, _fields in lines] == [
        "vip 198.51.100.1:80/tcp and 2 more: real 10.0.0.1 active → down (connection refused)",
        "vip 198.51.100.1:80/tcp: real 10.0.0.2 down → active",
    ]
    assert lines[0][1] == {
        "vip": "198.51.100.1:80/tcp",
        "vips": 3,
        "real": "10.0.0.1",
        "state": "down",
        "before": "active",
        "reason": "connection refused",
    }


def test_settings_that_cannot_be_looked_at_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is no reason to let go of a balancer, which withdraws its routes."""
    folder = tmp_path / "default"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(settings_files, "STATE_ROOT", str(tmp_path))
    settings = AgentSettings(max_probes=77)
    monkeypatch.setattr(settings_files, "read_settings", lambda _name: settings)
    file = folder / AGENT_FILE
    file.write_text(settings.to_json(), encoding="utf-8")
    files = settings_files.SettingsFiles(Troubles(Journal()))
    assert files.read(["default"]) == {"default": settings}

    def failing(path: str) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    def refuse(_name: str) -> AgentSettings:
        raise StateError("agent.json cannot be read: Input/output error")

    monkeypatch.setattr(settings_files, "read_settings", refuse)
    with monkeypatch.context() as broken:
        broken.setattr(os, "stat", failing)
        assert files.read(["default"]) == {"default": settings}
    file.unlink()
    assert files.read(["default"]) == {}
