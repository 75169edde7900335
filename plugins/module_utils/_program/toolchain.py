# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From sources to bytecode, behind one protocol."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from .._model.bytecode import Bytecode
from . import compiler
from .sources import Sources, load_sources, source_digest


class Toolchain(t.Protocol):
    """What makes bytecode. Every failure is ProgramError with one sentence."""

    def digest(self, source_dir: str, program: str, macros: Mapping[str, int], /) -> str:
        """The digest of what a compile would take: sources, macros, compiler."""

    def compile(self, source_dir: str, program: str, macros: Mapping[str, int], /) -> Bytecode:
        """Compile a program."""


class HostToolchain:
    """That of the host: bcc, and sources that only root may have written.

    `planned`: file of the sources → SHA-256, in a review of a host where another task is yet to write them.
    """

    def __init__(self, planned: Mapping[str, str] | None = None) -> None:
        self._planned = planned
        self._read: dict[str, Sources] = {}

    def digest(self, source_dir: str, program: str, macros: Mapping[str, int]) -> str:
        """The digest of what a compile would take."""
        if self._planned is not None:
            return source_digest(source_dir, program, macros, self._planned)
        self._read[source_dir] = load_sources(source_dir)
        return source_digest(self._read[source_dir], program, macros)

    def compile(self, source_dir: str, program: str, macros: Mapping[str, int]) -> Bytecode:
        """Compile a program, from what its digest was made of where that was asked for."""
        return compiler.compile_program(self._read.get(source_dir) or load_sources(source_dir), program, macros)
