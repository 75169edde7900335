# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which balancers a host keeps."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.katran.fleet.plugins.module_utils._kernel.kept_balancers import kept_balancers


def test_an_empty_folder_is_no_balancer(tmp_path: Path) -> None:
    for name in ("left", "kept"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "kept/state.json").write_text("{}")
    (tmp_path / "kept/state.json").chmod(0o600)
    assert kept_balancers(str(tmp_path)) == ["kept"]
