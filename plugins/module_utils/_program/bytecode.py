# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs as relocatable bytecode: map references are names.

Loading binds them to whichever maps the caller has (live, scratch, migrated), so one compile serves the self-test, the
attachment, restore at boot and rollback.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from .._kernel import bpf
from .._kernel.privilege import permission_hint
from .._model.errors import ProgramError

PROGRAMS: dict[str, tuple[int, int]] = {
    "balancer": (bpf.PROG_TYPE_XDP, bpf.ATTACH_XDP),
    "decap": (bpf.PROG_TYPE_XDP, bpf.ATTACH_XDP),
    "root": (bpf.PROG_TYPE_XDP, bpf.ATTACH_XDP),
    "packet_counter": (bpf.PROG_TYPE_XDP, bpf.ATTACH_XDP),
    "healthcheck": (bpf.PROG_TYPE_SCHED_CLS, 0),
    "server_id_option": (bpf.PROG_TYPE_SOCK_OPS, 3),
}
"""Program name (its main file is bpf/NAME.bpf.c, its function NAME) → program type, expected attach type."""

_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
_BYTECODE_SCHEMA = 1


@dataclass(frozen=True)
class Bytecode:
    """A compiled program: instructions whose map references are indexes into `maps`."""

    program: str
    instructions: bytes
    maps: tuple[str, ...]
    digest: str
    compile_seconds: float

    def bind(self, fds: Mapping[str, int]) -> bytes:
        """The instructions with each map reference replaced by the file descriptor of the map of that name."""
        code = bytearray(self.instructions)
        for offset in map_references(code):
            name = self.maps[struct.unpack_from("=i", code, offset + 4)[0]]
            struct.pack_into("=i", code, offset + 4, fds[name])
        return bytes(code)

    def to_json(self) -> str:
        """The form kept beside state.json."""
        return json.dumps(
            {
                "schema": _BYTECODE_SCHEMA,
                "program": self.program,
                "maps": self.maps,
                "digest": self.digest,
                "compile_seconds": self.compile_seconds,
                "instructions": base64.b64encode(self.instructions).decode(),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Bytecode:
        """Read the kept form back; ProgramError where it is not one."""
        try:
            data = json.loads(text)
            if data["schema"] != _BYTECODE_SCHEMA:
                raise ProgramError(f"the kept bytecode has schema {data['schema']}, this version reads 1")
            return cls(
                data["program"],
                base64.b64decode(data["instructions"], validate=True),
                tuple(data["maps"]),
                data["digest"],
                data["compile_seconds"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ProgramError(f"the kept bytecode cannot be read: {error}") from error


def map_references(code: bytes | bytearray) -> list[int]:
    """Offsets of the ld_imm64 instructions that hold a map."""
    found = []
    offset = 0
    while offset < len(code):
        if code[offset] == _LD_IMM64:
            if code[offset + 1] >> 4 == _PSEUDO_MAP_FD:
                found.append(offset)
            offset += 16
        else:
            offset += 8
    return found


def load(bytecode: Bytecode, fds: Mapping[str, int]) -> int:
    """Load bytecode against these maps; returns the program's fd. ProgramError carries the verifier's last lines."""
    kind, attach_type = PROGRAMS[bytecode.program]
    missing = [name for name in bytecode.maps if name not in fds]
    if missing:
        raise ProgramError(
            f"program {bytecode.program} uses maps that this balancer does not have: {', '.join(missing)}"
        )
    try:
        return bpf.load_program(bytecode.bind(fds), kind, attach_type, bytecode.program)
    except bpf.VerifierError as error:
        lines = [line for line in error.log.strip().splitlines() if line and not line.startswith("processed ")]
        raise ProgramError(
            f"the kernel's verifier rejects program {bytecode.program}: {' | '.join(lines[-4:])}"
        ) from error
    except OSError as error:
        raise ProgramError(f"program {bytecode.program} cannot be loaded: {permission_hint(error)}") from error
