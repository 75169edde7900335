# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's marks among the destinations of health checks: whose runs keep them, and whose change them."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.marks import MARK_BASE, MARK_LAST
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import (
    TABLES,
    HealthcheckDestination,
    ProbeDestinations,
)

TABLE, OURS = TABLES["healthcheck_destinations"], ProbeDestinations()
FIRST, SECOND = MARK_BASE | 1, MARK_BASE | 2
A, B = "10.0.0.1", "10.0.0.2"


def table(*rows: tuple[int, str]) -> dict[int, HealthcheckDestination]:
    return {mark: HealthcheckDestination(mark, real) for mark, real in rows}


BEFORE = table((7, A), (FIRST, A), (SECOND, B))


def asked(state: str, *rows: tuple[int, str | None]) -> Asked:
    config: list[dict[str, t.Any]] = [{"mark": mark, "real": real} for mark, real in rows]
    return Asked(config, state, allow_empty=True)


@pytest.mark.parametrize(
    ("what", "after"),
    [
        (asked("overridden", (8, B)), table((8, B), (FIRST, A), (SECOND, B))),
        (asked("overridden"), table((FIRST, A), (SECOND, B))),
        (asked("merged", (8, B)), table((7, A), (8, B), (FIRST, A), (SECOND, B))),
        (asked("replaced", (7, B)), table((7, B), (FIRST, A), (SECOND, B))),
        (asked("deleted"), table((FIRST, A), (SECOND, B))),
        (asked("deleted", (7, None), (FIRST, None)), table((SECOND, B))),
        # What is read back changes nothing.
        (asked("overridden", (7, A), (FIRST, A), (SECOND, B)), BEFORE),
    ],
)
def test_a_module_leaves_them(what: Asked, after: dict[int, HealthcheckDestination]) -> None:
    assert TABLE.resolve(BEFORE, what) == after


@pytest.mark.parametrize("state", ["merged", "replaced", "overridden"])
@pytest.mark.parametrize("mark", [MARK_BASE, FIRST, MARK_LAST])
def test_a_module_changes_none(state: str, mark: int) -> None:
    with pytest.raises(ConfigError) as caught:
        TABLE.resolve(BEFORE, asked(state, (8, A), (mark, B)))
    told = f"{mark} is one of the marks of the agent's probes (1258291200 to 1275068415)"
    assert str(caught.value) == f"healthcheck_destinations[1].mark: {told}"


@pytest.mark.parametrize("mark", [MARK_BASE - 1, MARK_LAST + 1])
def test_those_beside_are_anybodys(mark: int) -> None:
    assert TABLE.resolve({}, asked("overridden", (mark, A))) == table((mark, A))


def test_what_was_let_in_before_may_come_back() -> None:
    assert TABLE.resolve({}, Asked([{"mark": FIRST, "real": A}], kept=True)) == table((FIRST, A))


def test_the_agent_keeps_its_own_alone() -> None:
    assert OURS.resolve(BEFORE, asked("overridden", (SECOND, A))) == table((7, A), (SECOND, A))
    assert OURS.resolve(BEFORE, asked("overridden")) == table((7, A))
    with pytest.raises(ConfigError, match="65537 marks, but there is room for 65536"):
        OURS.resolve(BEFORE, asked("overridden", *((MARK_BASE | number, A) for number in range(65_536))))
