# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks and announcements as state.json has them: whether they can be what a run wrote."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from .check_values import ANNOUNCE_VALUES, CHECK_VALUES, Read
from .checks import CHECK_TYPES, own_form
from .records import Fault, below, mapping, shown, word


def _read_each(value: t.Any, where: str, readers: Mapping[str, Read]) -> dict[str, t.Any]:
    """A mapping of which each known option has a value; fields of other names are a later version's."""
    for name, item in mapping(value, where).items():
        if name in readers:
            try:
                found = own_form(name, readers[name](item))
            except ValueError as error:
                raise Fault(below(where, name), str(error)) from error
            if found != item:
                raise Fault(below(where, name), f"{shown(item)} is not written as {shown(found)}")
    return t.cast("dict[str, t.Any]", value)


def stored_check(value: t.Any, where: str) -> dict[str, t.Any]:
    """A check in its own form: what is not the built-in default, and the type."""
    if "type" not in mapping(value, where):
        raise Fault(below(where, "type"), "is missing")
    word(*CHECK_TYPES)(value["type"], below(where, "type"))
    return _read_each(value, where, CHECK_VALUES)


def stored_announce(value: t.Any, where: str) -> dict[str, t.Any]:
    """An announcement in its own form."""
    return _read_each(value, where, ANNOUNCE_VALUES)
