# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at of every host, whatever its role."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from ..._kernel import fitness
from ..._kernel.lock import LOCK_ROOT
from ..._kernel.state_folder import STATE_ROOT
from ..._model.doctor.finding import Finding
from ..._model.doctor.host import Clock, Disk, of_clock, of_compiler, of_disk, of_kernel
from ..._model.options import SOURCE_DIR
from ..._program.proof import prove_host
from .examiner import Examiner, Visit

_COMPILER = ("bcc", "pyroute2", "netaddr")
_HEADER = "/usr/include/linux/types.h"
SOURCES: str = SOURCE_DIR["default"]
"""The programs' sources, of which the smallest is compiled, loaded and run."""


def examiners(visit: Visit) -> list[Examiner]:
    """Those of any host."""
    return [
        Examiner("the kernel", lambda: of_kernel(fitness.kernel_release(), fitness.has_jit(), fitness.lockdown())),
        Examiner("the compiler", lambda: _compiler(visit.proves), unlocked=True),
        Examiner("the clock", lambda: _clock(visit)),
        Examiner("the disk", lambda: of_disk(_disk(STATE_ROOT)), unlocked=True),
    ]


def _compiler(proves: bool) -> Iterable[Finding]:
    """Whether what compiles is there. A compile itself takes a second of a core, which a busy host may lack."""
    missing = [f"Python module {name}" for name in fitness.missing_packages(_COMPILER)]
    if not fitness.has_library("bcc"):
        missing.append("libbcc")
    if not os.path.exists(_HEADER):
        missing.append(f"{_HEADER} (package linux-libc-dev)")
    yield from of_compiler(missing)
    if proves and not missing and os.path.isdir(SOURCES):
        yield from (Finding(unfit.name, "", unfit.cause, unfit.remedy) for unfit in prove_host(SOURCES))


def _clock(visit: Visit) -> Iterable[Finding]:
    folders = [os.path.join(root, visit.request.instance) for root in (STATE_ROOT, LOCK_ROOT)]
    files = [entry.path for folder in folders if os.path.isdir(folder) for entry in os.scandir(folder)]
    clock = Clock(time.time(), fitness.is_synchronised(), fitness.is_container(), fitness.newest(files))
    visit.seen["clock"] = {"at": clock.now, "synchronised": clock.synchronised, "container": clock.container}
    return of_clock(clock)


def _disk(folder: str) -> Disk:
    """Where there is no folder yet, it is about the disk that it would be on."""
    there = folder
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    seen = os.statvfs(there)
    read_only = bool(seen.f_flag & os.ST_RDONLY)
    # Some file systems make inodes as they need them, and count none.
    return Disk(folder, read_only, seen.f_bfree * seen.f_frsize, seen.f_ffree > 0 or seen.f_files == 0)
