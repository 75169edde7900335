# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an entry of a balancer's history kept of it."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from .._kernel.history_files import HistoryFiles
from .._model.history import Entry
from .._model.state import State
from .._model.table_rows import read_rows
from .._model.tables import BALANCER_TABLES

Rows = Sequence[Mapping[str, t.Any]]


def kept_state(history: HistoryFiles, entry: Entry) -> State | None:
    """The state; None where there was none. StateError where it is damaged."""
    text = history.read_kept(entry, "state.json")
    return None if text is None else State.from_json(text, f"{history.directory}/{entry.number}.state.json")


def kept_rows(history: HistoryFiles, entry: Entry) -> dict[str, Rows]:
    """Table → its rows, of the tables that had a file. StateError where one is damaged."""
    found: dict[str, Rows] = {}
    for name, table in BALANCER_TABLES.items():
        text = history.read_kept(entry, table.file)
        if text is not None:
            found[name] = read_rows(table, text, f"{history.directory}/{entry.number}.{table.file}")
    return found
