# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of a balancer as it can be read: by anyone who asks, without a lock, for entries stay as they are."""

from __future__ import annotations

from .._kernel.history_files import HistoryFiles
from .._kernel.state_files import StateFile
from .._kernel.state_folder import read_bpffs
from .._model.errors import StateError
from .._model.history import Entry, Known, Opening, entry_of
from .._model.history_diff import Configuration, configuration_of
from .._model.table_rows import read_rows
from .._model.tables import BALANCER_TABLES
from .kept import Rows, kept_rows, kept_state


class History:
    """That of one balancer."""

    def __init__(self, instance: str) -> None:
        self.file = StateFile(instance, read_bpffs(instance))
        self.files = HistoryFiles(self.file)

    def known(self) -> Known:
        """Number → an entry, or what is wrong with it."""
        return self.files.known()

    def entry(self, number: int) -> Entry:
        """The entry of a number. StateError where there is none, or it is damaged."""
        return entry_of(self.known(), number)

    def opening(self) -> Opening | None:
        """What has begun and not ended."""
        try:
            return self.files.opening()
        except StateError:
            return None

    def configuration(self, number: int) -> Configuration:
        """What an entry has. StateError where that is damaged."""
        entry = self.entry(number)
        return configuration_of(kept_state(self.files, entry), kept_rows(self.files, entry))

    def now(self) -> Configuration:
        """What is applied now."""
        state = self.file.read()
        rows: dict[str, Rows] = {}
        for name, table in BALANCER_TABLES.items():
            text = self.file.read_file(table.file)
            if text is not None:
                rows[name] = read_rows(table, text, f"{self.file.directory}/{table.file}")
        return configuration_of(None if state.lost else state, rows)
