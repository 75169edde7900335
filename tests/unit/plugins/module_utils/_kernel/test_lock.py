# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a balancer, with real processes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import locked, remove_lock
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError

HOLDER = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_the_lock_names_who_holds_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "blue.lock")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        sentence = rf"balancer blue is locked by another run \(pid {holder.pid}\): waited 0.1 s \(lock_timeout\)"
        with pytest.raises(StateError, match=sentence), locked("blue", True, 0.1, str(tmp_path)):
            pytest.fail("the lock was given twice")
        holder.kill()
    with locked("blue", True, 0.1, str(tmp_path)):
        pass


def test_two_may_look_but_not_change_meanwhile(tmp_path: Path) -> None:
    with (
        locked("blue", False, 1, str(tmp_path)),
        locked("blue", False, 1, str(tmp_path)),
        pytest.raises(StateError, match="locked by another run"),
        locked("blue", True, 0.05, str(tmp_path)),
    ):
        pytest.fail("a change went ahead beside a look")


def test_a_removed_lock_guards_nobody(tmp_path: Path) -> None:
    with locked("blue", True, 1, str(tmp_path)):
        remove_lock("blue", str(tmp_path))
        with locked("blue", True, 0.1, str(tmp_path)):
            assert (tmp_path / "blue.lock").exists()


def test_who_waited_for_a_lock_that_was_removed_has_the_new_one(tmp_path: Path) -> None:
    """What it waited for guards nothing any more: a third run would take another file's."""
    waits, has, ends = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        waits.set()
        with locked("blue", True, 10, str(tmp_path)):
            has.set()
            ends.wait(10)

    thread = threading.Thread(target=wait)
    with locked("blue", True, 1, str(tmp_path)):
        thread.start()
        waits.wait(10)
        time.sleep(0.2)
        remove_lock("blue", str(tmp_path))
    try:
        assert has.wait(10)
        with pytest.raises(StateError, match="locked by another run"), locked("blue", True, 0.1, str(tmp_path)):
            pytest.fail("the lock was given twice")
    finally:
        ends.set()
        thread.join()
