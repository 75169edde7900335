# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What doctor looks at beside a balancer."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor import beside
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile


def test_an_empty_folder_is_no_other_balancer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "StateFile", partial(StateFile, root=str(tmp_path)))
    for name in ("left", "kept"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "kept/state.json").write_text("{}")
    (tmp_path / "kept/state.json").chmod(0o600)
    assert [beside.is_kept(name) for name in ("left", "kept", "none")] == [False, True, False]
