# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module leaves in the journal of its host: that it ran and of what, not the whole inventory."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.katran.fleet.plugins.module_utils._ansible.module import Strict

SPEC = {"config": {"type": "list", "elements": "dict"}, "key": {"type": "str", "no_log": True}}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, t.Any]]]:
    """(message, fields) of each line of the journal."""
    found: list[tuple[str, dict[str, t.Any]]] = []

    def note(_module: object, msg: str, log_args: dict[str, t.Any] | None = None) -> None:
        found.append((msg, log_args or {}))

    monkeypatch.setattr(basic.AnsibleModule, "log", note)
    return found


def test_long_options_are_told_by_their_beginnings(lines: list[tuple[str, dict[str, t.Any]]]) -> None:
    config = [{"address": f"198.51.100.{number % 256}", "port": number} for number in range(1, 5000)]
    with patch_module_args({"config": config, "key": "not to be seen"}):
        Strict(SPEC)
    ((message, fields),) = lines
    assert message.startswith("Invoked with config=[{'address': '198.51.100.1', 'port': 1}")
    assert message.endswith("characters)")
    assert len(message) < 1100
    assert all(len(value) < 300 for value in fields.values())
    assert "not to be seen" not in f"{message}{fields}"


def test_short_ones_are_told_whole(lines: list[tuple[str, dict[str, t.Any]]]) -> None:
    with patch_module_args({"config": [{"port": 1}]}):
        Strict(SPEC)
    ((message, fields),) = lines
    assert message == "Invoked with config=[{'port': 1}] key=NOT_LOGGING_PARAMETER"
    assert fields["config"] == "[{'port': 1}]"
