# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Can this host run our programs at all? The smallest of them is compiled, loaded, and counts one frame.

It touches nothing but maps of its own, which end with this process: neither an interface nor a pin.
"""

from __future__ import annotations

import errno
import os
import typing as t
from contextlib import ExitStack

from .._kernel import bpf, fitness
from .._kernel.cpus import possible_cpus
from .._model import layout
from .._model.errors import ProgramError
from .._model.map_specs import ARRAY, PERCPU_ARRAY
from . import compiler
from .bytecode import load
from .sources import load_sources

PROGRAM = "packet_counter"
_PASS = 2
_FRAME = bytes.fromhex("020000000001020000000002") + b"\x08\x00" + bytes(46)


class Unfit(t.NamedTuple):
    """Why the host cannot. `name`: kernel_unfit or bcc_unfit; `cause` and `remedy`: a sentence each."""

    name: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"this host cannot run the balancer's programs: {self.cause}; {self.remedy}"


def prove_host(source_dir: str) -> list[Unfit]:
    """Why this host cannot run our programs; [] where it can. It takes less than a second, and root."""
    try:
        bytecode = compiler.compile_program(load_sources(source_dir), PROGRAM, {})
    except ProgramError as error:
        remedy = "install python3-bpfcc and linux-libc-dev, and deploy again"
        return [Unfit("bcc_unfit", f"bcc does not compile the smallest program: {error}", remedy)]
    try:
        with ExitStack() as stack:
            maps = {}
            for name, kind, size in (("ctl_array", ARRAY, 4), ("cntrs_array", PERCPU_ARRAY, 8)):
                maps[name] = stack.enter_context(bpf.Map(bpf.create_map(kind, 4, size, 1, 0, name)))
            maps["ctl_array"].update(layout.u32(0), layout.u32(1))
            program = load(bytecode, {name: opened.fd for name, opened in maps.items()})
            stack.callback(os.close, program)
            value = bpf.test_run(program, _FRAME).value
            counted = maps["cntrs_array"].lookup(layout.u32(0)) or bytes(8 * possible_cpus())
            frames = layout.sum_cpus(counted, 1)[0]
    except ProgramError as error:
        return [_kernel_unfit(str(error))]
    except OSError as error:
        return [_kernel_unfit(f"the kernel refuses an operation of bpf(2): {_reason(error)}")]
    if (value, frames) != (_PASS, 1):
        return [_kernel_unfit(f"the smallest program answered {value} to one frame, not {_PASS}, and counted {frames}")]
    return []


def _reason(error: OSError) -> str:
    if error.errno == errno.ENOSYS:
        return "it is built without CONFIG_BPF_SYSCALL"
    return error.strerror or str(error)


def _kernel_unfit(cause: str) -> Unfit:
    found = f"Linux {fitness.kernel_release()}: {cause}"
    mode = fitness.lockdown()
    if mode == "confidentiality":
        return Unfit("kernel_unfit", f"{found} (kernel lockdown is {mode})", "boot without lockdown=confidentiality")
    remedy = "it takes Linux 6.1 or later with BPF, root's capabilities, and no LSM or container that forbids bpf(2)"
    return Unfit("kernel_unfit", found, remedy)


def require_host(source_dir: str) -> None:
    """ProgramError says why this host cannot run our programs."""
    for unfit in prove_host(source_dir):
        raise ProgramError(str(unfit))
