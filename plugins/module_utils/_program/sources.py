# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of the programs: read once, their digest, and who may have written them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .._model.errors import ProgramError

_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_COMPILED = (".c", ".h")
_MAIN = {"decap_tc": "decap", "decap_tunnel": "decap"}
"""Program → the one whose main file has it too."""


def main_file(program: str) -> str:
    """The name of a program's main file among the sources."""
    return f"{_MAIN.get(program, program)}.bpf.c"


@dataclass(frozen=True)
class Sources:
    """The sources as they were read: what is digested is what is compiled.

    `directory`: where they were, without links. `files`: relative name → content, of all that the digest covers.
    """

    directory: str
    files: Mapping[str, bytes]

    def digests(self) -> dict[str, str]:
        """File → SHA-256 of its content."""
        return {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}


def load_sources(source_dir: str, root_alone: bool = True) -> Sources:
    """Read the sources. ProgramError where they cannot be read, or somebody else than root could change them.

    Links lead to the directory at most, and once: from there on, every directory and file is looked at and read through
    one descriptor. `root_alone`: False takes them whoever wrote them, for tests in a clone.
    """
    files: dict[str, bytes] = {}
    try:
        top = os.path.realpath(source_dir, strict=True)
        with _opened_directory(top, root_alone) as directory:
            _read_folder(directory, top, "", root_alone, files)
    except OSError as error:
        raise ProgramError(f"source_dir {source_dir} cannot be read: {_reason(error)}") from error
    return Sources(top, files)


def _reason(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ESTALE):
        return f"{error.strerror} (was it replaced meanwhile?)"
    return error.strerror or str(error)


@contextlib.contextmanager
def _opened_directory(path: str, root_alone: bool) -> Iterator[int]:
    """A directory by its path without links; who could put another in its place, is refused."""
    descriptor = os.open("/", _LOOK | os.O_DIRECTORY)
    try:
        there = "/"
        for part in path.split("/"):
            if not part:
                continue
            if root_alone:
                _require_fixed(there, os.fstat(descriptor))
            following = os.open(part, _LOOK | os.O_DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor, there = following, os.path.join(there, part)
        yield descriptor
    finally:
        os.close(descriptor)


def _read_folder(directory: int, path: str, prefix: str, root_alone: bool, files: dict[str, bytes]) -> None:
    if root_alone:
        _require_root_alone(path, os.fstat(directory))
    for name in sorted(os.listdir(directory)):
        full, relative = os.path.join(path, name), prefix + name
        kind = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if stat.S_ISLNK(kind):
            raise ProgramError(f"{full} is a symbolic link: sources must be files, as they become kernel code")
        if stat.S_ISDIR(kind):
            folder = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=directory)
            try:
                _read_folder(folder, full, f"{relative}/", root_alone, files)
            finally:
                os.close(folder)
        elif name.endswith(_COMPILED):
            # A pipe that takes the file's place meanwhile must not be waited for.
            with os.fdopen(os.open(name, _LOOK | os.O_NONBLOCK, dir_fd=directory), "rb") as source:
                status = os.fstat(source.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise ProgramError(f"{full} is not a file: sources must be, as they become kernel code")
                if root_alone:
                    _require_root_alone(full, status)
                files[relative] = source.read()


def source_digest(
    source: str | Sources, program: str, macros: Mapping[str, int], planned: Mapping[str, str] | None = None
) -> str:
    """SHA-256 over sources, settings and compiler: a program is compiled anew when this changes.

    `planned`: file of the sources → SHA-256, where they are yet to become what they will be compiled from.
    """
    directory = source if isinstance(source, str) else source.directory
    if planned is None:
        planned = read_sources(source) if isinstance(source, str) else source.digests()
    if main_file(program) not in planned:
        raise ProgramError(f"the source {directory}/{main_file(program)} is missing")
    about = [sorted(planned.items()), program, compiler_version(), sorted(macros.items())]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def read_sources(source_dir: str) -> dict[str, str]:
    """File of the sources → SHA-256 of its content, whoever wrote it."""
    return load_sources(source_dir, root_alone=False).digests()


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


def require_trusted_file(path: str) -> None:
    """ProgramError where somebody else than root could change a file by its path, or put another in its place.

    OSError where it cannot be looked at.
    """
    top = os.path.realpath(path, strict=True)
    with _opened_directory(os.path.dirname(top), True) as directory:
        _require_fixed(os.path.dirname(top), os.fstat(directory))
        _require_root_alone(top, os.stat(os.path.basename(top), dir_fd=directory, follow_symlinks=False))


def _require_fixed(path: str, status: os.stat_result) -> None:
    """Somebody else must not be able to replace what root has in a directory."""
    # In a directory like /tmp nobody but its owner replaces what is another's.
    if not status.st_mode & stat.S_ISVTX or status.st_uid != 0:
        _require_root_alone(path, status)


def _require_root_alone(path: str, status: os.stat_result) -> None:
    if status.st_uid != 0 or status.st_mode & 0o022:
        raise ProgramError(f"{path} must be owned by root and not writable by others: it is compiled into the kernel")
