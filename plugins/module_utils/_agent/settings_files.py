# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent.json of every balancer, read again where it is another."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Iterable

from .._engine.agent import read_settings
from .._kernel.state_folder import STATE_ROOT
from .._model.agent_settings import AGENT_FILE, AgentSettings
from .._model.errors import StateError
from .known import stamp_of
from .troubles import Troubles


class SettingsFiles:
    """Those of all balancers of the host."""

    def __init__(self, troubles: Troubles) -> None:
        self._troubles = troubles
        self._read: dict[str, tuple[t.Any, AgentSettings]] = {}

    def read(self, there: Iterable[str]) -> dict[str, AgentSettings]:
        """Instance → its settings, of those that have some. One whose file is damaged goes on with what it had."""
        found = {}
        for name in there:
            stamp = stamp_of(os.path.join(STATE_ROOT, name, AGENT_FILE))
            known = self._read.get(name)
            if stamp is None or (known is not None and known[0] == stamp):
                if stamp is not None and known is not None:
                    found[name] = known[1]
                continue
            try:
                settings = read_settings(name)
                self._troubles.end(name)
            except StateError as error:
                self._troubles.begin(name, str(error))
                settings = known[1] if known is not None else AgentSettings()
                stamp = None if known is None else known[0]
            if settings is not None:
                found[name] = settings
                if stamp is not None:
                    self._read[name] = stamp, settings
        self._read = {name: each for name, each in self._read.items() if name in found}
        return found
