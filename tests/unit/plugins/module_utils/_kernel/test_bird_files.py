# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody else's bird.conf is kept as it was, whatever lies in bird's folder."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bird


def test_a_copy_follows_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf, kept, victim = tmp_path / "bird.conf", tmp_path / "bird.conf.before-katran", tmp_path / "victim"
    conf.write_text("somebody's", encoding="utf-8")
    conf.chmod(0o640)
    victim.write_text("precious", encoding="utf-8")
    Path(f"{kept}.katran").symlink_to(victim)
    monkeypatch.setattr(bird, "CONF", str(conf))
    bird.keep_conf(str(kept))
    assert victim.read_text(encoding="utf-8") == "precious"
    assert not kept.is_symlink()
    assert kept.read_text(encoding="utf-8") == "somebody's"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert kept.stat().st_mtime_ns == conf.stat().st_mtime_ns
    assert sorted(tmp_path.iterdir()) == [conf, kept, victim]
