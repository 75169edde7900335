# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of systemd's units that have control groups, and the drop-in that puts a program into a service's."""

from __future__ import annotations

import re
import typing as t

from .records import Fault, shown, text

LIBRARY_COMMAND = "/usr/bin/python3 -I /usr/lib/katran-fleet/katran-server-id"
KINDS = ("service", "slice", "scope")
"""The kinds of units that processes run in."""

_LONGEST = 255
_NAME = re.compile(r"(-|[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\@-]*)\.([a-z]+)", re.ASCII)


def unit_fault(name: str) -> str:
    """What is wrong with the name of a unit in which a program is to run; "" where nothing is."""
    found = _NAME.fullmatch(name)
    if found is None and re.fullmatch(r"[A-Za-z0-9:_@-]+", name, re.ASCII):
        return f"{name} is not the name of a unit: say {name}.service"
    if found is None or len(name) > _LONGEST:
        return f"{name!r} is not the name of a unit"
    stem, kind = found.groups()
    if kind not in KINDS:
        return f"{name} is a unit in which no process runs: give a {', '.join(KINDS[:-1])} or {KINDS[-1]}"
    if stem.endswith("@"):
        slice_ = f"system-{stem[:-1]}.slice"
        return f"{name} is a template: give its instances, as {stem}1.{kind}, or the slice {slice_}"
    if stem == "-" and kind != "slice":
        return f"{name!r} is not the name of a unit"
    return ""


def unit(value: t.Any, where: str) -> str:
    """A unit's name in a file."""
    if unit_fault(text(value, where)):
        raise Fault(where, f"{shown(value)} is not the name of a unit")
    return t.cast("str", value)


def is_service(name: str) -> bool:
    """Whether systemd runs commands before the unit starts: in others nothing is started by itself."""
    return name.endswith(".service")


def drop_in_name(instance: str) -> str:
    """The file of an instance in a unit's folder of drop-ins."""
    return f"katran-server-id-{instance}.conf"


def drop_in_text(instance: str) -> str:
    """The drop-in: each start gives a service another group, and it is to have the program before it listens.

    A service whose connections bear no id is better than none: where the command fails, the service starts.
    """
    return (
        "# Written by katran.fleet, module server_id_option: every run has it so.\n"
        "[Service]\n"
        f"ExecStartPre=-+{LIBRARY_COMMAND} {instance}\n"
    )
