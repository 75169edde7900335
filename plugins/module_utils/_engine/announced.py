# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent keeps in /run of what it announces, for those who tell of it."""

from __future__ import annotations

from .._kernel.agent_lock import is_held
from .._kernel.run_files import RunFiles
from .._model.announcement import DRAINING, READY, Told

STATES = {0: "withdrawn", READY: "announced", DRAINING: "draining"}
"""Metric of a place → what it is called."""


def has_agent(instance: str) -> bool:
    """Whether an agent announces a balancer."""
    return is_held(RunFiles(instance).folder)


def read_told(files: RunFiles) -> Told:
    """What ready.json says; as it is by default where there is none. StateError where it is damaged."""
    source = files.read(files.ready)
    return Told() if source is None else Told.from_json(source, files.ready)
