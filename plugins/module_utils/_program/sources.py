# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of the programs: their digest, and who may have written them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping

from .._model.errors import ProgramError


def source_files(source_dir: str) -> list[str]:
    """Every file of the sources, relative, sorted: what the digest covers."""
    found = []
    for folder, _folders, files in os.walk(source_dir):
        found += [
            os.path.relpath(os.path.join(folder, name), source_dir) for name in files if name.endswith((".c", ".h"))
        ]
    return sorted(found)


def source_digest(
    source_dir: str, program: str, macros: Mapping[str, int], planned: Mapping[str, str] | None = None
) -> str:
    """SHA-256 over sources, settings and compiler: a program is compiled anew when this changes.

    `planned`: file of the sources → SHA-256, where they are yet to become what they will be compiled from.
    """
    sources = read_sources(source_dir) if planned is None else planned
    if f"{program}.bpf.c" not in sources:
        raise ProgramError(f"the source {source_dir}/{program}.bpf.c is missing")
    about = [sorted(sources.items()), program, compiler_version(), sorted(macros.items())]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def read_sources(source_dir: str) -> dict[str, str]:
    """File of the sources → SHA-256 of its content."""
    found = {}
    for name in source_files(source_dir):
        with open(os.path.join(source_dir, name), "rb") as source:
            found[name] = hashlib.sha256(source.read()).hexdigest()
    return found


def compiler_version() -> str:
    """The version of the installed bcc, without loading it (loading costs 0.3 s and 60 MB)."""
    with contextlib.suppress(ImportError):
        from importlib.util import find_spec  # pylint: disable=import-outside-toplevel

        spec = find_spec("bcc")
        if spec is not None and spec.origin is not None:
            version = os.path.join(os.path.dirname(spec.origin), "version.py")
            with open(version, encoding="utf-8") as source:
                return source.read().split("=")[-1].strip(" '\"\n")
    raise ProgramError("the Python module bcc is missing on this host (Debian and Ubuntu: package python3-bpfcc)")


def require_safe_sources(source_dir: str) -> None:
    """Refuse sources that somebody else than root could change: they become kernel code.

    That is who may write a file, or a directory in which it could be replaced.
    """
    try:
        top = os.path.realpath(source_dir, strict=True)
        paths = [top, *(folder for folder, _folders, _files in os.walk(top))]
        paths += [os.path.join(top, name) for name in source_files(top)]
        for path in paths:
            _require_root_alone(path, os.stat(path))
        while top != "/":
            top = os.path.dirname(top)
            status = os.stat(top)
            # In a directory like /tmp nobody replaces what is another's.
            if not status.st_mode & stat.S_ISVTX or status.st_uid != 0:
                _require_root_alone(top, status)
    except OSError as error:
        raise ProgramError(f"source_dir {source_dir} cannot be read: {error.strerror}") from error


def _require_root_alone(path: str, status: os.stat_result) -> None:
    if status.st_uid != 0 or status.st_mode & 0o022:
        raise ProgramError(f"{path} must be owned by root and not writable by others: it is compiled into the kernel")
