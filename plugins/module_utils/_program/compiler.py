# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiling with bcc."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import struct
import time
from collections.abc import Mapping

from .._model.bytecode import Bytecode, map_references
from .._model.errors import ProgramError
from .sources import source_digest


def compile_program(source_dir: str, program: str, macros: Mapping[str, int]) -> Bytecode:
    """Compile bpf/PROGRAM.bpf.c with bcc in a process of its own; ProgramError carries the compiler's first error.

    A child process keeps LLVM's 180 MB and its messages out of this one, and makes it yield the CPU to packets.
    """
    digest = source_digest(source_dir, program, macros)
    started = time.monotonic()
    # In memory: a full disk is no reason not to compile.
    with os.fdopen(os.memfd_create("log"), "w+b") as log, os.fdopen(os.memfd_create("result"), "w+b") as result:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                os.nice(10)
                result.write(_compile(source_dir, program, macros))
                result.flush()
                status = 0
            except Exception as error:  # noqa: BLE001  # a child must not go on in the parent's code
                os.write(2, f"\nerror: {error}\n".encode())
            finally:
                os._exit(status)
        _pid, status = os.waitpid(child, 0)
        result.seek(0)
        log.seek(0)
        messages = log.read().decode(errors="replace")
        if status:
            raise ProgramError(f"bpf/{program}.bpf.c does not compile: {_first_error(messages)}")
        data = json.loads(result.read())
    return Bytecode(
        program,
        base64.b64decode(data["instructions"]),
        tuple(data["maps"]),
        digest,
        round(time.monotonic() - started, 3),
    )


def _first_error(messages: str) -> str:
    lines = [line.strip() for line in messages.splitlines() if "error:" in line]
    first = lines[0] if lines else (messages.strip().splitlines() or ["the compiler died"])[-1]
    if "file not found" in first:
        return f"{first}; the kernel's headers are missing on this host (Debian and Ubuntu: package linux-libc-dev)"
    return first


def _compile(source_dir: str, program: str, macros: Mapping[str, int]) -> bytes:
    """The child's part: instructions and map names as JSON."""
    os.environ["BCC_KERNEL_SOURCE"] = os.path.join(source_dir, "kernel")
    import bcc  # pylint: disable=import-outside-toplevel

    triplet = f"/usr/include/{os.uname().machine}-linux-gnu"
    flags = [f"-D{name}={value}" for name, value in sorted(macros.items())]
    flags += ["-D__LINUX_BPF_H__", "-Wno-macro-redefined", "-I", source_dir, "-I", os.path.join(source_dir, "include")]
    flags += ["-isystem", "/usr/include", "-isystem", triplet]
    bcc.lib.bpf_table_name.restype = ctypes.c_char_p
    bcc.lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    module = bcc.BPF(src_file=os.fsencode(os.path.join(source_dir, f"{program}.bpf.c")), cflags=flags)
    code = bytearray(module.dump_func(program.encode()))
    tables = {
        bcc.lib.bpf_table_fd(module.module, name): name.decode()
        for name in (
            bcc.lib.bpf_table_name(module.module, index) for index in range(bcc.lib.bpf_num_tables(module.module))
        )
    }
    names: list[str] = []
    for offset in map_references(code):
        name = tables[struct.unpack_from("=i", code, offset + 4)[0]]
        if name not in names:
            names.append(name)
        struct.pack_into("=i", code, offset + 4, names.index(name))
    return json.dumps({"maps": names, "instructions": base64.b64encode(bytes(code)).decode()}).encode()
