# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of a balancer's state, state.json above all."""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Callable

from .._model.errors import StateError
from .._model.state import State
from .state_folder import STATE_ROOT, StateFolder

_VIPS = '"vips": '


class StateFile(StateFolder):
    """The directory of one balancer's state."""

    def __init__(self, instance: str, bpffs: str, root: str = STATE_ROOT) -> None:
        super().__init__(instance, bpffs, root)
        self.path = os.path.join(self.directory, "state.json")
        self._remembered: dict[str, str] = {}
        self._vips: tuple[list[dict[str, t.Any]], str] | None = None
        self.before_writing: Callable[[], None] | None = None
        """What is to be done before anything is written, each time."""

    def write_file(self, name: str, text: str) -> None:
        """Replace one file of the directory (0600), durably."""
        if self.before_writing is not None:
            self.before_writing()
        super().write_file(name, text)

    def read(self) -> State:
        """The state; a fresh one with `lost` set where there is no file."""
        text = self.read_file("state.json")
        if text is None:
            return State(self.instance, self.bpffs, lost=True)
        state = State.from_json(text, self.path)
        line = next((line for line in text.splitlines() if line.startswith(_VIPS)), None)
        if line is not None:
            self._vips = state.vips, line.removeprefix(_VIPS).removesuffix(",")
        if state.bpffs != self.bpffs:
            raise StateError(
                f"balancer {self.instance} lives in the bpffs {state.bpffs}, not in {self.bpffs}:"
                " give that as bpffs, or remove the balancer first"
            )
        return state

    def write(self, state: State) -> None:
        """Replace the file; StateError where the disk does not take it, with the old one kept."""
        for name, text in self._remembered.items():
            self.write_file(name, text)
        self._remembered.clear()
        # Between a run's intent and its result, and in most runs of other resources, the VIPs are the same list.
        if self._vips is None or self._vips[0] is not state.vips:
            self._vips = state.vips, json.dumps(state.vips)
        self.write_file("state.json", state.to_json(self._vips[1]))

    def remember(self, name: str, text: str) -> None:
        """Take this as the text of a file of the directory, to be written with the next state."""
        self._remembered[name] = text

    def read_file(self, name: str) -> str | None:
        """The text of one file of the directory, None where there is none."""
        return self._remembered[name] if name in self._remembered else super().read_file(name)
