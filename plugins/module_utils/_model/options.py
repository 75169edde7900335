# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that several modules have: their argument specs, and how they are read."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence

from .faults import Faults
from .written import OF_MAC, as_base_60, hidden_in

Spec = dict[str, dict[str, t.Any]]
"""An argument spec, as AnsibleModule takes it."""

COMMON: Spec = {
    "instance": {"type": "str", "default": "default"},
    "bpffs": {"type": "path", "default": "/sys/fs/bpf"},
    "lock_timeout": {"type": "int", "default": 30},
}

SOURCE_DIR: dict[str, t.Any] = {"type": "path", "default": "/usr/lib/katran-fleet/bpf"}

_INSTANCE = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def is_instance(name: str) -> bool:
    """Whether a text can be the name of an instance."""
    return bool(_INSTANCE.fullmatch(name))


def parse_instance(instance: str, bpffs: str) -> None:
    """ConfigError where the instance's name or the bpffs's path cannot be one."""
    faults = Faults()
    if not is_instance(instance):
        faults.add(
            "instance", f"{instance!r} must begin with a lower case letter or digit, then up to 31 of these, _ or -"
        )
    if not bpffs.startswith("/"):
        faults.add("bpffs", f"{bpffs} is not an absolute path")
    faults.check()


def is_interface(name: str) -> bool:
    """Whether the kernel takes a text as the name of an interface."""
    return (
        0 < len(name.encode(errors="replace")) < 16
        and name not in (".", "..")
        and not any(char in "/:\0" or char.isspace() for char in name)
    )


def parse_interfaces(names: Sequence[t.Any], faults: Faults) -> tuple[str, ...]:
    """A list of interface names."""
    for index, name in enumerate(names):
        text = str(name)
        if not is_interface(text):
            faults.add(f"interfaces[{index}]", f"{text!r} is not the name of an interface")
        elif text in map(str, names[:index]):
            faults.add(f"interfaces[{index}]", f"{text} is listed twice")
    return tuple(map(str, names))


def no_interface(name: str) -> str:
    """What is said of an interface that is not there."""
    return f"interface {name} does not exist on this host"


def read_mac(params: Mapping[str, t.Any], name: str, faults: Faults) -> str:
    """A unicast MAC address in colon form, or auto."""
    given = params[name]
    mac = str(given).lower().replace("-", ":")
    told = None if mac == "auto" else hidden_in(mac) or as_base_60(given, OF_MAC)
    if told is None and re.fullmatch("[0-9]{12}", mac):
        told = f"{given} has no colons; write it as 52:54:00:12:34:56, in quotes"
    if told:
        faults.add(name, told)
        return "auto"
    if mac != "auto" and (not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00"):
        faults.add(name, f"{params[name]} is neither auto nor a unicast MAC address")
        return "auto"
    return mac
