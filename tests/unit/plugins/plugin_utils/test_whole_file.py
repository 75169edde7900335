# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.plugin_utils.whole_file import PRIVATE, write_whole


def test_private(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("what was there")
    path.chmod(0o644)
    write_whole(str(path), "→\n", PRIVATE)
    assert path.read_bytes() == "→\n".encode()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["report.json"]


def test_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write_whole(str(tmp_path / "missing" / "report.json"), "text")
    assert not list(tmp_path.iterdir())
