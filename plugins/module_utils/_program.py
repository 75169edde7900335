# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs: compile with bcc, load, attach to interfaces, compare and replace.

A compiled program is relocatable bytecode: its map references are names. Loading binds them to
whichever maps the caller has (live, scratch, migrated), so one compile serves the self-test, the
attachment, restore at boot and rollback.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import errno
import hashlib
import ipaddress
import json
import os
import stat
import struct
import time
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.katran.fleet.plugins.module_utils._kernel import (
    ATTACH_XDP,
    PROG_TYPE_SCHED_CLS,
    PROG_TYPE_SOCK_OPS,
    PROG_TYPE_XDP,
    VerifierError,
    load_program,
)
from ansible_collections.katran.fleet.plugins.module_utils._layout import Shape

PROGRAMS: dict[str, tuple[int, int]] = {
    "balancer": (PROG_TYPE_XDP, ATTACH_XDP),
    "decap": (PROG_TYPE_XDP, ATTACH_XDP),
    "root": (PROG_TYPE_XDP, ATTACH_XDP),
    "packet_counter": (PROG_TYPE_XDP, ATTACH_XDP),
    "healthcheck": (PROG_TYPE_SCHED_CLS, 0),
    "server_id_option": (PROG_TYPE_SOCK_OPS, 3),
}
"""Program name (its main file is bpf/NAME.bpf.c, its function NAME) → program type, expected attach type."""

XDP_SKB_MODE, XDP_DRV_MODE, XDP_REPLACE = 2, 4, 16
MODES = {"native": XDP_DRV_MODE, "generic": XDP_SKB_MODE}
_ATTACHED = {1: "native", 2: "generic", 3: "offload", 4: "multi"}

_LD_IMM64 = 0x18
_PSEUDO_MAP_FD = 1
_BYTECODE_SCHEMA = 1


class ProgramError(Exception):
    """A program cannot be compiled, loaded or attached; the text is one sentence for the operator."""


class ModeError(ProgramError):
    """An interface cannot run programs in the mode that was asked for; `reason` is the kernel's."""

    def __init__(self, interface: str, mode: str, reason: str) -> None:
        super().__init__(f"interface {interface} does not support XDP mode {mode}: {reason}")
        self.reason = reason


class ProgramSettings(Shape, t.Protocol):
    """The settings of a balancer that are compiled into it."""

    @property
    def gue_port(self) -> int: ...
    @property
    def copy_tos(self) -> bool: ...
    @property
    def max_frame(self) -> int: ...
    @property
    def max_new_flows(self) -> int: ...
    @property
    def udp_timeout(self) -> int: ...
    @property
    def source_prefix_ipv4(self) -> str: ...
    @property
    def source_prefix_ipv6(self) -> str: ...


def balancer_macros(settings: ProgramSettings) -> dict[str, int]:
    """The integer macros of bpf/include/settings.h for these settings."""
    ipv4 = int(ipaddress.ip_network(settings.source_prefix_ipv4).network_address)
    ipv6 = ipaddress.ip_network(settings.source_prefix_ipv6).network_address.packed
    words = struct.unpack(">4I", ipv6)
    macros = {
        "MAX_VIPS": settings.sizes["vips"],
        "MAX_REALS": settings.sizes["reals"],
        "RING_SIZE": settings.sizes["ring"],
        "MAX_FRAME": settings.max_frame,
        "MAX_NEW_FLOWS": settings.max_new_flows,
        "UDP_TIMEOUT": settings.udp_timeout,
        "ENCAP_GUE": int(settings.encapsulation == "gue"),
        "GUE_PORT": settings.gue_port,
        "COPY_TOS": int(settings.copy_tos),
        "DECAP_ANY": int(settings.decap_any),
        "SOURCE_PREFIX_IPV4": ipv4 >> 16,
        "SOURCE_PREFIX_IPV6_0": words[0],
        "SOURCE_PREFIX_IPV6_1": words[1],
        "SOURCE_PREFIX_IPV6_2": words[2],
    }
    return macros | {f"FEATURE_{feature.upper()}": 1 for feature in settings.features}


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
        for offset in _map_references(code):
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


def _map_references(code: bytes | bytearray) -> list[int]:
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


def source_files(source_dir: str) -> list[str]:
    """Every file of the sources, relative, sorted: what the digest covers."""
    found = []
    for folder, _folders, files in os.walk(source_dir):
        found += [
            os.path.relpath(os.path.join(folder, name), source_dir) for name in files if name.endswith((".c", ".h"))
        ]
    return sorted(found)


def source_digest(source_dir: str, program: str, macros: Mapping[str, int]) -> str:
    """SHA-256 over sources, settings and compiler: a program is compiled anew when this changes."""
    if not os.path.isfile(os.path.join(source_dir, f"{program}.bpf.c")):
        raise ProgramError(f"the source {source_dir}/{program}.bpf.c is missing")
    digest = hashlib.sha256()
    for name in source_files(source_dir):
        with open(os.path.join(source_dir, name), "rb") as source:
            content = source.read()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    digest.update(json.dumps([program, compiler_version(), sorted(macros.items())]).encode())
    return digest.hexdigest()


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
    for offset in _map_references(code):
        name = tables[struct.unpack_from("=i", code, offset + 4)[0]]
        if name not in names:
            names.append(name)
        struct.pack_into("=i", code, offset + 4, names.index(name))
    return json.dumps({"maps": names, "instructions": base64.b64encode(bytes(code)).decode()}).encode()


def load(bytecode: Bytecode, fds: Mapping[str, int]) -> int:
    """Load bytecode against these maps; returns the program's fd. ProgramError carries the verifier's last lines."""
    kind, attach_type = PROGRAMS[bytecode.program]
    missing = [name for name in bytecode.maps if name not in fds]
    if missing:
        raise ProgramError(
            f"program {bytecode.program} uses maps that this balancer does not have: {', '.join(missing)}"
        )
    try:
        return load_program(bytecode.bind(fds), kind, attach_type, bytecode.program)
    except VerifierError as error:
        lines = [line for line in error.log.strip().splitlines() if line and not line.startswith("processed ")]
        raise ProgramError(
            f"the kernel's verifier rejects program {bytecode.program}: {' | '.join(lines[-4:])}"
        ) from error
    except OSError as error:
        raise ProgramError(f"program {bytecode.program} cannot be loaded: {permission_hint(error)}") from error


def permission_hint(error: OSError) -> str:
    """What the errno of a refused bpf(2) or netlink call means to an operator."""
    if error.errno == errno.EPERM:
        return (
            "not permitted: it takes root or the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON,"
            " no kernel lockdown and no LSM denial"
        )
    return error.strerror or str(error)


@dataclass(frozen=True)
class Attachment:
    """The XDP program on an interface: its kernel-wide id and mode native, generic, offload or multi."""

    interface: str
    index: int
    program_id: int
    mode: str


class Interfaces:
    """XDP attachments over netlink."""

    def __init__(self) -> None:
        try:
            from pyroute2 import IPRoute  # pylint: disable=import-outside-toplevel
            from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # pylint: disable=import-outside-toplevel
        except ImportError as error:
            raise ProgramError(
                "the Python module pyroute2 is missing on this host (Debian and Ubuntu: package python3-pyroute2)"
            ) from error
        # pyroute2 0.7.2 (Debian 12) encodes the flags as a big-endian u16, which the kernel answers with ERANGE.
        ifinfmsg.xdp.xdp_flags.fields = [("value", "I")]
        # With the kernel's own words for a refusal.
        self._route = IPRoute(ext_ack=True)

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._route.close()

    def index(self, interface: str) -> int:
        """The interface's number; ProgramError where there is none of that name."""
        found = self._route.link_lookup(ifname=interface)
        if not found:
            raise ProgramError(f"interface {interface} does not exist on this host")
        return t.cast(int, found[0])

    def attached(self, interface: str) -> Attachment | None:
        """The XDP program on the interface, None where there is none."""
        index = self.index(interface)
        return self._attachment(self._route.get_links(index)[0])

    def every_attached(self) -> list[Attachment]:
        """The XDP programs on all interfaces."""
        return [found for found in map(self._attachment, self._route.get_links()) if found is not None]

    @staticmethod
    def _attachment(link: t.Any) -> Attachment | None:
        xdp = link.get_attr("IFLA_XDP")
        program_id = xdp.get_attr("IFLA_XDP_PROG_ID") if xdp else None
        if not program_id:
            return None
        mode = xdp.get_attr("IFLA_XDP_ATTACHED")
        names = {None: 0, "xdp": 1, "xdpgeneric": 2, "xdpoffload": 3, "xdpmulti": 4}
        text = _ATTACHED.get(names.get(mode, mode), str(mode))
        return Attachment(link.get_attr("IFLA_IFNAME"), link["index"], program_id, text)

    def replace(self, interface: str, fd: int, mode: str, expected_fd: int | None) -> None:
        """Attach a program (fd -1: detach) if the interface still has the expected one (None: none at all).

        Atomic in the kernel. ProgramError says that somebody else changed the attachment, or why it is refused.
        """
        expected = -1 if expected_fd is None else expected_fd
        attributes = [
            ("IFLA_XDP_FD", fd),
            ("IFLA_XDP_EXPECTED_FD", expected),
            ("IFLA_XDP_FLAGS", MODES[mode] | XDP_REPLACE),
        ]
        try:
            self._route.link("set", index=self.index(interface), xdp={"attrs": attributes})
        except Exception as error:
            code = getattr(error, "code", None)
            reason = str(error.args[1] if len(error.args) > 1 else error)
            if code == errno.EBUSY:
                raise ProgramError(
                    f"the XDP program on interface {interface} is held by a BPF link: {reason}"
                ) from error
            if code == errno.EEXIST:
                raise ProgramError(
                    f"the XDP program on interface {interface} changed meanwhile: somebody else attached one ({reason})"
                ) from error
            if code == errno.EPERM:
                raise ProgramError(f"interface {interface}: {permission_hint(OSError(code, ''))}") from error
            if code is not None and fd >= 0:
                raise ModeError(interface, mode, reason) from error
            raise ProgramError(f"interface {interface}: the XDP program cannot be changed: {reason}") from error
