# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a simulated program has of the live one's."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._engine.simulate import SHARED


def test_no_counter_and_no_table_is_shared_with_the_live_program() -> None:
    written = {"ctl_array", "fallback_cache", "fallback_glru", "lru_mapping", "global_lru_maps", "flow_debug_maps"}
    assert not written & SHARED
    assert not any("stats" in name for name in SHARED)
