# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module history_info."""

from __future__ import annotations

import typing as t

from .._kernel.history_files import HistoryFiles
from .._kernel.state_folder import StateFolder
from .._model.fleet_revert import told_of
from .._model.history import Entry
from .module import guarded, module_of


def run_history_info() -> None:
    """The whole of module history_info."""
    module = module_of({})

    def work() -> dict[str, t.Any]:
        known = HistoryFiles(StateFolder(module.params["instance"], module.params["bpffs"])).known()
        entries = [told_of(each) for each in known.values() if isinstance(each, Entry)]
        return {
            "changed": False,
            "entries": entries,
            "damaged": [each for each in known.values() if not isinstance(each, Entry)],
        }

    guarded(module, work)
