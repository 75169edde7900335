# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this host's kernel, compiler and clock are fit: what they say of themselves."""

from __future__ import annotations

import contextlib
import ctypes
import glob
import importlib.util
import os
from collections.abc import Iterable

_UNSYNCHRONISED = 0x0040
"""STA_UNSYNC of adjtimex(2)."""

_TIMEX_BYTES, _STATUS = 512, 40
"""More than struct timex has; where its status is on 64-bit machines, behind five members of 8 bytes."""

_CONTAINER = "/run/systemd/container"
_JIT = "/proc/sys/net/core/bpf_jit_enable"
_LOCKDOWN = "/sys/kernel/security/lockdown"


def kernel_release() -> str:
    """Such as 6.1.0-18-amd64."""
    return os.uname().release


def has_jit() -> bool:
    """Whether programs are translated; where the kernel does not say, they are."""
    return _read(_JIT).strip() != "0"


def lockdown() -> str:
    """none, integrity or confidentiality; "" where the kernel does not say."""
    _before, _open, rest = _read(_LOCKDOWN).partition("[")
    return rest.partition("]")[0]


def missing_packages(modules: Iterable[str]) -> list[str]:
    """Those of these Python modules that this interpreter does not find."""
    found = {name: importlib.util.find_spec(name) for name in modules}
    # A folder without anything in it is a module too, though of no file.
    return [name for name, spec in found.items() if spec is None or spec.origin is None]


def has_library(name: str) -> bool:
    """Whether a shared library of that name is where Debian puts them."""
    return any(glob.glob(f"{folder}/lib{name}.so*") for folder in ("/usr/lib/*-linux-gnu", "/usr/lib", "/usr/lib64"))


def is_container() -> bool:
    """Whether the clock, like the kernel, is the machine's that this host is on."""
    return os.path.exists(_CONTAINER)


def is_synchronised() -> bool:
    """Whether something keeps the clock right, by the kernel's own word."""
    held = ctypes.create_string_buffer(_TIMEX_BYTES)
    ctypes.CDLL(None).adjtimex(held)
    return not int.from_bytes(held.raw[_STATUS : _STATUS + 4], "little") & _UNSYNCHRONISED


def newest(paths: Iterable[str]) -> tuple[float, str]:
    """(when, which) of these files was written last, in seconds since the epoch; (0, "") where there is none."""
    found = (0.0, "")
    for path in paths:
        with contextlib.suppress(OSError):
            found = max(found, (os.stat(path).st_mtime, path))
    return found


def _read(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="ascii") as source:
        return source.read()
    return ""
