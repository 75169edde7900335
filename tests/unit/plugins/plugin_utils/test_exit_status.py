# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.plugin_utils import exit_status


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"exit_status": 0}, (0, "")),
        ({"exit_status": 3, "failed": False}, (3, "")),
        ({"exit_status": 1, "failed": True}, (1, "")),
        # Of a task that failed before it knew more, the task has told why.
        ({"failed": True, "msg": "no such thing"}, (1, "")),
        ({"exit_status": 256, "failed": True}, (1, "")),
        ({"exit_status": "2", "failed": True}, (1, "")),
        ({"skipped": True}, (1, exit_status.NO_ANSWER)),
        ({"exit_status": -1}, (1, exit_status.NO_ANSWER)),
        ("text", (1, exit_status.NO_ANSWER)),
    ],
)
def test_a_result_asks_for_a_status(answer: Any, expected: tuple[int, str]) -> None:
    assert exit_status.status_of([answer]) == expected


def test_the_first_result_counts() -> None:
    assert exit_status.status_of([{"exit_status": 2}, {"exit_status": 3}]) == (2, "")


def test_no_result_is_an_error() -> None:
    assert exit_status.status_of([]) == (1, exit_status.NO_ANSWER)


def test_the_end_is_an_exit_that_no_template_catches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        exit_status.end_run(3, "two hosts have drifted")
    assert ended.value.code == 3
    assert not isinstance(ended.value, Exception)
    assert "two hosts have drifted" in capsys.readouterr().err
