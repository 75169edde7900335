# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that tests compile but once: in a process, and among all that have the folder KATRAN_COMPILED in common.

scripts/workers makes that folder anew for each run. Whoever finds nothing there compiles for himself: nobody waits.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler
from ansible_collections.katran.fleet.plugins.module_utils._program.sources import Sources, source_digest

FOLDER = "KATRAN_COMPILED"
_compile_program = compiler.compile_program
_rename = os.rename
"""Of tests that count a run's calls, this one is none."""


@dataclass(frozen=True)
class _ByDigest:
    """Sources that are the same as others whose digest is."""

    source: str | Sources = field(compare=False)


@functools.cache
def _compiled(digest: str, source: _ByDigest, program: str, macros: tuple[tuple[str, int], ...]) -> Bytecode:
    place = os.environ.get(FOLDER)
    if place is None:
        return _compile_program(source.source, program, dict(macros))
    kept = Path(place, digest)
    with suppress(OSError):
        return Bytecode.from_json(kept.read_text(encoding="ascii"), str(kept), program)
    made = _compile_program(source.source, program, dict(macros))
    # Where a test has the disk full or hidden, it goes without.
    with suppress(OSError), tempfile.NamedTemporaryFile("w", dir=place, delete=False) as file:
        file.write(made.to_json())
        file.flush()
        _rename(file.name, kept)
    return made


def compile_program(source: str | Sources, program: str, macros: Mapping[str, int]) -> Bytecode:
    """What stands for the compiler's function of the same name."""
    digest = source_digest(source, program, macros)
    return _compiled(digest, _ByDigest(source), program, tuple(sorted(macros.items())))
