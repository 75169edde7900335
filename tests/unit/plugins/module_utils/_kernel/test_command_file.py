# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file that all may run, as it is written and read."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.katran.fleet.plugins.module_utils._kernel.tree import read_command, write_file


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bin" / "katran"
    assert read_command(str(path)) is None
    write_file(str(path), "#!/bin/sh\n", runs=True)
    assert path.stat().st_mode & 0o777 == 0o755
    assert read_command(str(path)) == "#!/bin/sh\n"
    assert os.listdir(path.parent) == ["katran"]


def test_what_is_no_such_file_differs(tmp_path: Path) -> None:
    path = tmp_path / "katran"
    write_file(str(path), "#!/bin/sh\n")
    assert read_command(str(path)) == "#!/bin/sh\n# mode 0644\n"
    path.write_bytes(b"\xff\xfe")
    assert read_command(str(path)) == "# no text"
    path.unlink()
    path.symlink_to("/bin/true")
    assert read_command(str(path)) == "# no file"
    path.unlink()
    path.mkdir()
    assert read_command(str(path)) == "# no file"
