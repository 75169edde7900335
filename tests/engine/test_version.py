# SPDX-License-Identifier: GPL-3.0-or-later
"""The version is told in two places, as hosts do not get galaxy.yml."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.katran.fleet.plugins.module_utils._agent.version import VERSION


def test_the_agent_s_version_is_the_collection_s() -> None:
    galaxy = Path(__file__).resolve().parents[2] / "galaxy.yml"
    assert f"\nversion: {VERSION}\n" in galaxy.read_text(encoding="utf-8")
