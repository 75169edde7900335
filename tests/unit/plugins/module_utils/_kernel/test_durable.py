# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of what a power cut or a kill may fall between: data, name, directory; a table's rows, the state."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel import state_folder
from ansible_collections.katran.fleet.plugins.module_utils._kernel.durable import write_durably
from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import locked, remove_lock
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and renamed, in order."""
    found: list[str] = []

    def watched(name: str, told: Callable[..., str]) -> None:
        call = getattr(os, name)

        def step(*arguments: Any) -> Any:
            found.append(told(*arguments))
            return call(*arguments)

        monkeypatch.setattr(os, name, step)

    watched("fsync", lambda fd: "sync directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "sync file")
    watched("rename", lambda _old, new: f"rename to {os.path.basename(new)}")
    return found


def test_a_file_is_on_the_disk_before_its_name_and_that_before_the_end(tmp_path: Path, steps: list[str]) -> None:
    write_durably(str(tmp_path / "here" / "file"), "text")
    assert steps[-3:] == ["sync file", "rename to file", "sync directory"]
    assert (tmp_path / "here" / "file").read_text(encoding="utf-8") == "text"


def test_the_rows_of_a_table_are_there_before_the_state_that_goes_by_them(tmp_path: Path, steps: list[str]) -> None:
    file = StateFile("blue", "/sys/fs/bpf", str(tmp_path))
    file.remember("server_ids.json", "[]")
    file.write(State("blue", "/sys/fs/bpf"))
    assert [step for step in steps if step.startswith("rename")] == [
        "rename to server_ids.json",
        "rename to state.json",
    ]
    # Written once.
    file.write(State("blue", "/sys/fs/bpf"))
    assert [step for step in steps if step.startswith("rename")][2:] == ["rename to state.json"]


def test_a_state_without_its_rows_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = StateFile("blue", "/sys/fs/bpf", str(tmp_path))
    file.write(State("blue", "/sys/fs/bpf"))
    before = Path(file.path).read_text(encoding="utf-8")

    def full(path: str, _text: str) -> None:
        raise StateError(f"{path} cannot be written: No space left on device")

    monkeypatch.setattr(state_folder, "write_durably", full)
    file.remember("server_ids.json", "[]")
    with pytest.raises(StateError, match=r"server_ids\.json cannot be written"):
        file.write(State("blue", "/sys/fs/bpf", vips=[]))
    assert Path(file.path).read_text(encoding="utf-8") == before


def test_who_waited_for_a_lock_that_was_removed_holds_the_one_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a third would hold a lock of the same name, and both would change the balancer."""
    root, flock = str(tmp_path), fcntl.flock
    removed = []

    def late(descriptor: int, operation: int) -> None:
        if not removed:
            # Between its opening and its locking, the holder removed the file and ended.
            removed.append(os.fstat(descriptor).st_ino)
            remove_lock("blue", root)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked("blue", True, 1, root):
        assert removed
        assert (tmp_path / "blue.lock").exists()
        with pytest.raises(StateError, match="locked by another run"), locked("blue", True, 0.05, root):
            pytest.fail("the lock was given twice")
