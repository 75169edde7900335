# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables as the last runs left them, and what a program must be able to do for them."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping

from .._kernel.state_folder import StateFolder
from .._model.features import vip_features
from .._model.limits import Limits
from .._model.resource import Row
from .._model.state import State
from .._model.table import Table
from .._model.table_rows import read_rows
from .._model.tables import BALANCER_TABLES
from .._model.vips import vips_from_config
from .._model.vips_input import idle_vips

AnyTable = Table[t.Any, t.Any]
Entries = Mapping[str, Mapping[bytes, bytes]]
"""Map → its entries."""


def known_table(table: AnyTable, file: StateFolder, state: State | None, actual: Entries) -> dict[t.Any, t.Any]:
    """A table's entries as the last run left them; where its file was lost, as the kernel has them.

    `state`: of the balancer whose table it is. StateError where the file is damaged.
    """
    text = file.read_file(table.file)
    if text is not None:
        return dict(table.items(read_rows(table, text, f"{file.directory}/{table.file}")))
    if state is not None and table.name not in state.references:
        return {}
    return dict(table.item(row) for row in table.rows_in(actual))


def _kept_rows(file: StateFolder, state: State, table: AnyTable) -> list[Row]:
    """A table's rows as far as its file has them."""
    return [table.row(item) for item in known_table(table, file, state, {"reals": {}}).values()]


def idle_resources(file: StateFolder, state: State, limits: Limits) -> list[str]:
    """What was applied to a program that could do more than one of these limits."""
    found = idle_vips(vips_from_config(state.vips).values(), limits)
    for table in BALANCER_TABLES.values():
        if table.feature is not None and not limits.has(table.feature):
            rows = _kept_rows(file, state, table)
            if rows:
                found.append(table.idle(len(rows)))
    return found


def features_in_use(file: StateFolder, state: State, resources: Collection[str]) -> frozenset[str]:
    """The features that what is applied of these resources can use."""
    found = vip_features(state.vips if "vips" in resources else ())
    for name, table in BALANCER_TABLES.items():
        if name in resources:
            found |= table.may_use(_kept_rows(file, state, table))
    return frozenset(found)
