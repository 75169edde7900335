# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiling with bcc.

bcc looks for headers in the working directory before it looks in ours, and in places that the environment names. So it
works on a copy of the very bytes that were checked and digested, in an empty directory, with an environment of its own;
and what it read is compared with what it was given.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import struct
import time
from collections.abc import Collection, Iterable, Mapping

from .._model.bytecode import Bytecode, map_references
from .._model.errors import ProgramError
from .private_folder import private_folder
from .sources import Sources, load_sources, main_file, require_trusted_file, source_digest

_SOURCES, _WORK = "sources", "work"
"""The folders of a compiler: the copy of the sources, and the directory in which it runs, where nothing is."""

_NICE = 5

_OWN_HEADERS = "/virtual/"
"""Where bcc shows clang the headers that it has in memory."""


def compile_program(source: str | Sources, program: str, macros: Mapping[str, int]) -> Bytecode:
    """Compile a program with bcc in a process of its own; ProgramError carries the compiler's first error.

    A child process keeps LLVM's 180 MB and its messages out of this one, and makes it yield the CPU to packets.
    `source`: the sources that were checked; or, for tests, a directory of whosever.
    """
    sources = load_sources(source, root_alone=False) if isinstance(source, str) else source
    digest = source_digest(sources, program, macros)
    started = time.monotonic()
    copied = {f"{_SOURCES}/{name}": content for name, content in sources.files.items()}
    # Its output in memory: a full disk is no reason not to compile.
    with (
        private_folder(copied) as folder,
        os.fdopen(os.memfd_create("log"), "w+b") as log,
        os.fdopen(os.memfd_create("result"), "w+b") as result,
        os.fdopen(os.memfd_create("headers"), "w+b") as headers,
    ):
        os.mkdir(os.path.join(folder, _WORK), mode=0o700)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                _yield_to_packets()
                _shut_in(folder)
                found = f"/proc/self/fd/{headers.fileno()}"
                result.write(_compile(os.path.join(folder, _SOURCES), program, macros, found))
                result.flush()
                status = 0
            except Exception as error:  # noqa: BLE001  # a child must not go on in the parent's code
                os.write(2, f"\nerror: {error}\n".encode())
            finally:
                os._exit(status)
        _pid, status = os.waitpid(child, 0)
        result.seek(0)
        log.seek(0)
        messages = log.read().decode(errors="replace").replace(f"{folder}/{_SOURCES}", sources.directory)
        if status:
            raise ProgramError(f"bpf/{main_file(program)} does not compile: {_first_error(messages)}")
        headers.seek(0)
        _require_known(map(os.fsdecode, headers.read().splitlines()), os.path.join(folder, _SOURCES), sources.files)
        data = json.loads(result.read())
    return Bytecode(
        program,
        base64.b64decode(data["instructions"]),
        tuple(data["maps"]),
        digest,
        round(time.monotonic() - started, 3),
    )


def _yield_to_packets() -> None:
    """The child's part: come after whatever else the host does, above all after its network threads.

    Where sessions are groups of their own (sched_autogroup), `nice` counts within a session alone, and the group has a
    nice value too: so the child makes a session of itself.
    """
    os.nice(_NICE)
    os.setsid()
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as group:
        group.write(str(_NICE))


def _shut_in(folder: str) -> None:
    """The child's part: nothing around it tells the compiler where to look."""
    os.chdir(os.path.join(folder, _WORK))
    os.environ.clear()
    os.environ.update(
        {
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C",
            "HOME": os.getcwd(),
            "TMPDIR": os.getcwd(),
            "BCC_KERNEL_SOURCE": os.path.join(folder, _SOURCES, "kernel"),
        }
    )


def _require_known(headers: Iterable[str], copy: str, files: Collection[str]) -> None:
    """ProgramError where a header was compiled in that is neither one of the sources nor root's alone."""
    kernel = os.path.join(copy, "kernel")
    for header in sorted(set(headers)):
        # bcc works in the kernel's folder.
        path = os.path.normpath(os.path.join(kernel, header))
        if os.path.relpath(path, copy) in files:
            continue
        try:
            require_trusted_file(path)
        except FileNotFoundError as error:
            if not path.startswith(_OWN_HEADERS):
                raise ProgramError(f"{path} was compiled in and is not there: it is none of the sources") from error
        except OSError as error:
            raise ProgramError(f"{path} was compiled in and cannot be looked at: {error.strerror}") from error


def _first_error(messages: str) -> str:
    lines = [line.strip() for line in messages.splitlines() if "error:" in line]
    first = lines[0] if lines else (messages.strip().splitlines() or ["the compiler died"])[-1]
    if "file not found" in first:
        return f"{first}; the kernel's headers are missing on this host (Debian and Ubuntu: package linux-libc-dev)"
    return first


def _compile(source_dir: str, program: str, macros: Mapping[str, int], headers: str) -> bytes:
    """The child's part: instructions and map names as JSON. `headers`: the file to which to add every header read."""
    import bcc  # pylint: disable=import-outside-toplevel

    triplet = f"/usr/include/{os.uname().machine}-linux-gnu"
    flags = [f"-D{name}={value}" for name, value in sorted(macros.items())]
    flags += ["-D__LINUX_BPF_H__", "-Wno-macro-redefined", "-I", source_dir, "-I", os.path.join(source_dir, "include")]
    flags += ["-isystem", "/usr/include", "-isystem", triplet]
    flags += ["-Xclang", "-header-include-file", "-Xclang", headers]
    bcc.lib.bpf_table_name.restype = ctypes.c_char_p
    bcc.lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    module = bcc.BPF(src_file=os.fsencode(os.path.join(source_dir, main_file(program))), cflags=flags)
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
