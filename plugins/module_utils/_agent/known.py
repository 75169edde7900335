# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What state.json says, as far as the agent goes by it, read again whenever a run left another one."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .._kernel.state_folder import STATE_ROOT, StateFolder
from .._model.errors import StateError
from .._model.overlay import Overlay, overlay_of
from .._model.state import State
from .._model.verdicts import Verdict
from .._model.vips import Vip, VipKey, vips_from_config

_NAME = "state.json"
_VIPS = '"vips": '


@dataclass(frozen=True)
class Known:
    """A balancer as its last run left it.

    `verdicts`: as applied; `real_ids`: real → id; `loaded`: whether it has a program;
    `interrupted`: whether a run began to write and has not ended, as far as the file says.
    """

    bpffs: str = ""
    vips: Mapping[VipKey, Vip] = field(default_factory=dict)
    overlay: Mapping[str, Overlay] = field(default_factory=dict)
    verdicts: Sequence[Verdict] = ()
    real_ids: Mapping[str, int] = field(default_factory=dict)
    loaded: bool = False
    interrupted: bool = False


class StateReader:
    """Reads one balancer's state.json where it is another than before.

    Its VIPs take the longest to read, and most runs, those of verdicts above all, leave them as they are: what is in
    their line is parsed once.
    """

    def __init__(self, instance: str, root: str = STATE_ROOT) -> None:
        self._folder = StateFolder(instance, "", root)
        self._path = os.path.join(self._folder.directory, _NAME)
        self._stamp: t.Any = ()
        self._error: StateError | None = None
        self._line = ""
        self._vips: Mapping[VipKey, Vip] = {}

    def read(self) -> Known | None:
        """What it says, None where that is what it said before. StateError where it is damaged.

        Where there is none, nothing is known.
        """
        stamp = stamp_of(self._path)
        if stamp == self._stamp:
            if self._error is not None:
                raise self._error
            return None
        self._stamp, self._error = stamp, None
        try:
            text = self._folder.read_file(_NAME)
            return Known() if text is None else self._parsed(text)
        except StateError as error:
            self._error = error
            raise

    def _parsed(self, text: str) -> Known:
        lines = text.splitlines()
        at = next((index for index, line in enumerate(lines) if line.startswith(_VIPS)), None)
        line = "" if at is None else lines[at]
        if at is not None and line == self._line:
            lines[at] = f"{_VIPS}[],"
            state = State.from_json("\n".join(lines), self._path)
        else:
            state = State.from_json(text, self._path)
            self._vips, self._line = vips_from_config(state.vips), line
        return Known(
            state.bpffs,
            self._vips,
            overlay_of(state),
            tuple(Verdict(**each) for each in state.verdicts),
            dict(state.real_ids.assigned),
            bool(state.program.tag),
            bool(state.interrupted),
        )


def stamp_of(path: str) -> tuple[int, int, int] | None:
    """What differs once a file is another, or cannot be looked at; None where there is none."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return 0, 0, -(error.errno or 1)
    return status.st_ino, status.st_mtime_ns, status.st_size
