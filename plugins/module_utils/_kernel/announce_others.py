# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in the table of announcements, or leads into it, and is not ours."""

from __future__ import annotations

import struct
import typing as t

from .._model.announcement import PROTOCOL
from .._model.errors import NetworkError
from .announce_routes import FAMILIES, routes_of
from .rtnetlink import dump, number_of, read_attributes

_NEWRULE, _GETRULE, _FRA_TABLE = 32, 34, 15
_RULE = struct.Struct("=8BI")
_OTHERS = 100
"""As many routes of others are counted: whoever has more there knows it."""


class Others(t.NamedTuple):
    """Routes that are not ours: how many, or `more` than that; of which protocols."""

    number: int
    more: bool
    protocols: tuple[int, ...]


def others_in(table: int, ours: int) -> Others:
    """The routes of others in a table, of which no more are looked at than it takes to say so. `ours`: how many.

    NetworkError where the kernel does not tell them.
    """
    most = ours + _OTHERS
    found = [body[5] for body, _found in routes_of(table, 0, most) if body[5] != PROTOCOL]
    return Others(min(len(found), _OTHERS), len(found) > _OTHERS, tuple(sorted(set(found))))


def rules_into(table: int) -> int:
    """How many rules of this host lead into a table. NetworkError where the kernel does not tell them."""
    found = 0
    for family in FAMILIES:
        try:
            bodies = dump(_GETRULE, _NEWRULE, _RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
        except OSError as error:
            raise NetworkError(f"the rules of routing cannot be read: {error.strerror}") from error
        for body in bodies:
            if body[0] == family and number_of(read_attributes(body[_RULE.size :]), _FRA_TABLE, body[4]) == table:
                found += 1
    return found
