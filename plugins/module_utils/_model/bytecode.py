# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs as relocatable bytecode: map references are names.

Loading binds them to whichever maps the caller has (live, scratch, migrated), so one compile serves the self-test, the
attachment, restore at boot and rollback.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from .records import Fault, Fields, distinct, number, parse_record, read_fields, seconds, text, word

_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
_INSTRUCTION = 8
_SCHEMA = 1
_ANEW = "move it away, and the next run of its module compiles it anew"


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
                "schema": _SCHEMA,
                "program": self.program,
                "maps": self.maps,
                "digest": self.digest,
                "compile_seconds": self.compile_seconds,
                "instructions": base64.b64encode(self.instructions).decode(),
            }
        )

    @classmethod
    def from_json(cls, source: str, path: str, *programs: str) -> Bytecode:
        """Read the kept form of one of these programs' back; StateError names the file and the field at fault."""
        return parse_record(source, path, lambda value, where: _bytecode(value, where, programs), _ANEW)


def map_references(code: bytes | bytearray) -> list[int]:
    """Offsets of the ld_imm64 instructions that hold a map."""
    found = []
    offset = 0
    while offset < len(code):
        if code[offset] == _LD_IMM64:
            if code[offset + 1] >> 4 == _PSEUDO_MAP_FD:
                found.append(offset)
            offset += 2 * _INSTRUCTION
        else:
            offset += _INSTRUCTION
    return found


def _instructions(value: t.Any, where: str) -> bytes:
    try:
        found = base64.b64decode(text(value, where), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Fault(where, f"it is not base64 ({error})") from error
    if not found or len(found) % _INSTRUCTION:
        raise Fault(where, f"{len(found)} bytes are no whole number of instructions")
    return found


_FIELDS: Fields = {
    "schema": number(_SCHEMA, _SCHEMA),
    "maps": distinct(text),
    "digest": text,
    "compile_seconds": seconds,
    "instructions": _instructions,
}


def _bytecode(value: t.Any, where: str, programs: tuple[str, ...]) -> Bytecode:
    found = read_fields(value, where, {**_FIELDS, "program": word(*programs)})
    code, maps = found["instructions"], found["maps"]
    for offset in map_references(code):
        if offset + 2 * _INSTRUCTION > len(code):
            raise Fault("instructions", "the last one is cut off")
        index = struct.unpack_from("=i", code, offset + 4)[0]
        if not 0 <= index < len(maps):
            raise Fault("instructions", f"one refers to map {index} of {len(maps)}")
    return Bytecode(found["program"], code, tuple(maps), found["digest"], found["compile_seconds"])
