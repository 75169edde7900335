# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel parameters and interfaces' MTU, as files of /proc and /sys."""

from __future__ import annotations

import os

from .._model.errors import HostError

_PARAMETERS = "/proc/sys"
_INTERFACES = "/sys/class/net"


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii") as source:
            return source.read().strip()
    except OSError:
        return None


def _write(path: str, value: str, what: str) -> None:
    try:
        with open(path, "w", encoding="ascii") as target:
            target.write(value)
    except OSError as error:
        raise HostError(f"{what} cannot be set to {value}: {error.strerror}") from error


def read_sysctl(name: str) -> str | None:
    """A kernel parameter by its path below /proc/sys; None where there is none."""
    return _read(os.path.join(_PARAMETERS, name))


def write_sysctl(name: str, value: str) -> None:
    """Set a kernel parameter. HostError where the kernel does not take it."""
    _write(os.path.join(_PARAMETERS, name), value, name)


def read_mtu(interface: str) -> int | None:
    """An interface's MTU in bytes; None where there is no such interface."""
    text = _read(os.path.join(_INTERFACES, interface, "mtu"))
    return None if text is None else int(text)


def write_mtu(interface: str, mtu: str) -> None:
    """Set an interface's MTU in bytes. HostError where it does not take it."""
    _write(os.path.join(_INTERFACES, interface, "mtu"), mtu, f"the MTU of {interface}")
