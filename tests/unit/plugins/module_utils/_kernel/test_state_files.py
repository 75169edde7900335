# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""state.json on a real file system."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_folder import read_bpffs
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.stored import SETTINGS, stored_vip


def test_a_state_survives_the_file(tmp_path: Path) -> None:
    file = StateFile("blue", "/sys/fs/bpf", str(tmp_path))
    assert file.read().lost
    state = State("blue", "/sys/fs/bpf", settings=SETTINGS, vips=[stored_vip("192.0.2.1")])
    state.real_ids.assign(["10.0.0.1"], 10)
    state.rings["192.0.2.1:80/tcp"] = ["a", "b"]
    file.write(state)
    assert file.read() == state
    assert not file.read().lost
    assert os.stat(file.path).st_mode & 0o777 == 0o600
    assert os.stat(file.directory).st_mode & 0o777 == 0o700
    assert os.listdir(file.directory) == ["state.json"]


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], check=True)
    try:
        file = StateFile("blue", "/sys/fs/bpf", str(tmp_path))
        old = State("blue", "/sys/fs/bpf", vips=[stored_vip("192.0.2.1")])
        file.write(old)
        new = State("blue", "/sys/fs/bpf", vips=[stored_vip("192.0.2.1", flags=["x" * 200_000])])
        with pytest.raises(StateError, match=r"state\.json cannot be written: No space left on device$"):
            file.write(new)
        assert file.read() == old
        assert os.listdir(file.directory) == ["state.json"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"schema": 99}', "has schema 99, but this version of katran.fleet reads schema 1"),
        ('{"schema": 1, "instance": "blue"}', "is damaged"),
    ],
)
def test_a_damaged_file_is_said_to_be_so(tmp_path: Path, text: str, sentence: str) -> None:
    file = StateFile("blue", "/sys/fs/bpf", str(tmp_path))
    os.mkdir(file.directory)
    Path(file.path).write_text(text, encoding="utf-8")
    with pytest.raises(StateError, match=sentence):
        file.read()


def test_another_bpffs_than_the_balancers_is_refused(tmp_path: Path) -> None:
    StateFile("blue", "/sys/fs/bpf", str(tmp_path)).write(State("blue", "/sys/fs/bpf"))
    with pytest.raises(StateError, match="balancer blue lives in the bpffs /sys/fs/bpf, not in /mnt/bpf"):
        StateFile("blue", "/mnt/bpf", str(tmp_path)).read()


def test_a_killed_runs_temporary_file_is_swept(tmp_path: Path) -> None:
    file = StateFile("blue", "/sys/fs/bpf", str(tmp_path))
    file.write(State("blue", "/sys/fs/bpf"))
    Path(file.directory, ".state.json.4711").write_text("half", encoding="utf-8")
    file.sweep()
    assert os.listdir(file.directory) == ["state.json"]


@pytest.mark.parametrize("name", ["state.json", "decap.json", "root.json", "healthcheck.json"])
def test_each_file_tells_the_bpffs(tmp_path: Path, name: str) -> None:
    """An instance may have any one of them."""
    folder = tmp_path / "blue"
    folder.mkdir(mode=0o700)
    assert read_bpffs("blue", root=str(tmp_path)) == "/sys/fs/bpf"
    (folder / name).write_text('{"bpffs": "/mnt/bpf"}', encoding="ascii")
    assert read_bpffs("blue", root=str(tmp_path)) == "/mnt/bpf"
    for text in ("{", "[1]", "{}", '{"bpffs": 5}', '{"bpffs": "mnt"}', '{"bpffs": "/mnt\\u0000"}', "[" * 100_000):
        (folder / name).write_text(text, encoding="ascii")
        assert read_bpffs("blue", root=str(tmp_path)) == "/sys/fs/bpf"


def test_a_programs_own_file_tells_its_bpffs(tmp_path: Path) -> None:
    folder = tmp_path / "blue"
    folder.mkdir(mode=0o700)
    (folder / "state.json").write_text('{"bpffs": "/first"}', encoding="ascii")
    (folder / "decap.json").write_text('{"bpffs": "/second"}', encoding="ascii")
    assert read_bpffs("blue", root=str(tmp_path)) == "/first"
    assert read_bpffs("blue", "decap.json", str(tmp_path)) == "/second"


def test_a_power_cut_loses_neither_the_file_nor_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is on the disk before the file has its name, and then the folder that has the name is."""
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(source: str, target: str) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    StateFile("blue", "/sys/fs/bpf", str(tmp_path)).write(State("blue", "/sys/fs/bpf"))
    assert done == ["file", "rename", "folder"]
