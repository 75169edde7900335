# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of every resource, whatever its entries are: names, options, and what it takes of the program."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

from .entries import Asked
from .features import FEATURES
from .options import Spec
from .shape import Options

Row = Mapping[str, t.Any]
"""An entry of a resource in config's own form."""

BALANCER = "balancer"
"""The program that most resources are of."""

STATES = ("merged", "replaced", "overridden", "deleted")
PURGE: Options = {"purge_flows": {"type": "bool", "default": False}}
UNREADY: Options = {"unready_reals": {"type": "list", "elements": "str", "default": []}}
PLANNED: Options = {
    "planned": {
        "type": "dict",
        "options": {
            "features": {"type": "list", "elements": "str", "choices": list(FEATURES), "default": []},
            "sizes": {"type": "dict", "default": {}},
            "applied": {"type": "list", "elements": "str", "default": []},
        },
    }
}


class Resource:
    """A description of a resource; what reads it need not know which one it is.

    `noun`: what an entry is called in sentences. `options`: the argument spec of an entry of `config`.
    `module_options`: that of its module, beside what all have. `program`: whose maps hold it. `has_variables`: whether
    an inventory says it by variables katran_NAME and katran_NAME__TEAM.
    """

    name: t.ClassVar[str]
    noun: t.ClassVar[str]
    options: t.ClassVar[Options]
    module_options: t.ClassVar[Options] = {}
    program: t.ClassVar[str] = BALANCER
    has_variables: t.ClassVar[bool] = True

    def spec(self) -> Spec:
        """The argument spec of its module, beside what every module has."""
        spec: Options = {
            "config": {"type": "list", "elements": "dict", "options": self.options},
            "state": {"type": "str", "choices": list(STATES), "default": "merged"},
            "allow_empty": {"type": "bool", "default": False},
            **self.module_options,
            **(PLANNED if self.program == BALANCER else {}),
        }
        return {name: dict(option) for name, option in spec.items()}

    def title(self, row: Row) -> str:
        """What `changes` and a diff call an entry."""
        raise NotImplementedError

    def check(self, asked: Asked) -> None:
        """ConfigError lists what is wrong with entries, by themselves and together, before any host is asked."""
        raise NotImplementedError

    def needs(self, rows: Iterable[Row], vips: Iterable[Row]) -> set[str]:
        """The features that these entries use beside these VIPs; neither need be valid."""
        raise NotImplementedError
