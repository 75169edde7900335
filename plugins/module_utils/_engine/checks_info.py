# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What checks say of every real, and what is known of that: of state.json, and of what the agent keeps in /run."""

from __future__ import annotations

import time
import typing as t

from .._kernel.run_files import RunFiles
from .._model.checks_view import Seen
from .._model.errors import StateError
from .._model.judging import Checked, iso
from .._model.state import State
from .._model.verdicts import Verdict, degraded, words_of
from .._model.vips import vips_from_config


def checks_info(instance: str, state: State, warnings: list[str]) -> dict[str, t.Any]:
    """Every real of each VIP that has a check.

    `agent`: running, stopped, or never ran; `at`: when it last wrote; `degraded`: the VIPs whose floor keeps reals in.
    """
    vips, words = vips_from_config(state.vips), words_of(state)
    record = None
    try:
        record = RunFiles(instance).read_checks()
    except StateError as error:
        warnings.append(str(error))
    checked = Checked.of(vips)
    seen = Seen(checked, words.overlay, [Verdict(**entry) for entry in state.verdicts], record)
    combined = {str(key): words.combined(vip) for key, vip in checked.vips.items()}
    agent = "never ran" if record is None else "running" if seen.is_alive(time.time()) else "stopped"
    if checked.vips and agent != "running":
        warnings.append(
            "the agent has not run on this host: what checks said last holds"
            if record is None
            else f"the agent does not run: what is known of checks is of {iso(record.at)}"
        )
    return {
        "agent": agent,
        "at": iso(record.at) if record is not None else None,
        "degraded": [{"vip": str(key), "reason": why} for key, why in degraded(vips, words).items()],
        "reals": [
            {**row.to_data(), "held": row.real in combined[row.vip].held} for row in seen.rows(lambda _key, _real: True)
        ],
    }
