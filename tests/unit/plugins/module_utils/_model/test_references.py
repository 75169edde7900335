# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reals that others refer to, and the line about an open folder."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model.folders import closing
from ansible_collections.katran.fleet.plugins.module_utils._model.references import other_references
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State


def test_reals_that_others_refer_to() -> None:
    state = State("blue", "/sys/fs/bpf/katran")
    state.references = {"vips": ["a", "b"], "lost_local": ["b", "c"], "server_ids": ["c", "d"]}
    assert other_references(state, ["vips"]) == {"b": True, "c": True, "d": False}
    assert other_references(state, ["lost_local"]) == {"a": False, "b": False, "c": False, "d": False}
    assert other_references(state, ["vips", "lost_local", "server_ids", "unknown"]) == {}


def test_a_folder_that_others_can_read() -> None:
    assert closing("/var/lib/katran", 0o755) == "close /var/lib/katran to all but root (mode 0755 → 0700)"
    assert closing("/x", 0o7) == "close /x to all but root (mode 0007 → 0700)"
