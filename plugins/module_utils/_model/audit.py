# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asked for a run, as the controller says: for the journal and the history of applied configurations."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

VARIABLE = "KATRAN_AUDIT"
"""The environment variable by which plays say it: JSON with run, user and revision."""

_LONGEST = 4096
"""Characters of the whole variable."""

_MOST = {"run": 64, "user": 64, "revision": 128}
_RUN = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*", re.ASCII)


@dataclass(frozen=True)
class Audit:
    """Who asked: the run's id, the controller's user, the inventory's revision; "" where it is not known.

    `fault`: what is wrong with what was said, in a sentence.
    """

    run: str = ""
    user: str = ""
    revision: str = ""
    fault: str = ""

    @property
    def by(self) -> str:
        """In words, for a sentence."""
        found = [f"by {self.user}"] if self.user else []
        found += [f"run {self.run}"] if self.run else []
        found += [f"revision {self.revision}"] if self.revision else []
        return ", ".join(found)


def harmless(value: str, most: int) -> str:
    """A text of at most so many characters, without what a terminal or a log would obey: each such is a ?."""
    return "".join(char if char.isprintable() else "?" for char in value[: most + 1])[:most]


def is_run(value: str) -> bool:
    """Whether this can be the id of a run."""
    return len(value) <= _MOST["run"] and bool(_RUN.fullmatch(value))


def parse_audit(source: str | None) -> Audit:
    """What the variable says. It is never believed further than that: what is wrong with it is left out and told."""
    if not source:
        return Audit()
    if len(source) > _LONGEST:
        return Audit(fault=f"{VARIABLE} is ignored: it has {len(source)} characters, and at most {_LONGEST} are read")
    try:
        said: t.Any = json.loads(source)
    except (ValueError, RecursionError):
        return Audit(fault=f"{VARIABLE} is ignored: it is no JSON")
    if not isinstance(said, dict):
        return Audit(fault=f"{VARIABLE} is ignored: it is no mapping of run, user and revision")
    faults, found = [], {}
    for name, most in _MOST.items():
        value = said.get(name, "")
        if not isinstance(value, str):
            faults.append(f"{name} is not a text")
        elif name == "run" and value and not is_run(value):
            faults.append("run is not an id of letters, digits, '.', '_' and '-'")
        else:
            found[name] = harmless(value.strip(), most)
    fault = f"{VARIABLE}: left out is what cannot be: {'; '.join(faults)}" if faults else ""
    return Audit(**found, fault=fault)
