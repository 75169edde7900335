# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Loading bytecode."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .._kernel import bpf
from .._kernel.privilege import permission_hint
from .._model.bytecode import Bytecode
from .._model.errors import ProgramError

Loader = Callable[[bytes, int, int, str], int]
"""Code with map references bound, program type, expected attach type, name → fd."""

PROGRAMS: dict[str, tuple[int, int]] = {
    "balancer": (bpf.PROG_TYPE_XDP, bpf.ATTACH_XDP),
    "decap": (bpf.PROG_TYPE_XDP, bpf.ATTACH_XDP),
    "decap_tc": (bpf.PROG_TYPE_SCHED_CLS, 0),
    "decap_tunnel": (bpf.PROG_TYPE_SCHED_CLS, 0),
    "root": (bpf.PROG_TYPE_XDP, bpf.ATTACH_XDP),
    "packet_counter": (bpf.PROG_TYPE_XDP, bpf.ATTACH_XDP),
    "healthcheck": (bpf.PROG_TYPE_SCHED_CLS, 0),
    "server_id_option": (bpf.PROG_TYPE_SOCK_OPS, bpf.ATTACH_SOCK_OPS),
}
"""Program (its function is called so, its main file is sources.main_file) → program type, expected attach type."""


def load(bytecode: Bytecode, fds: Mapping[str, int], load_program: Loader = bpf.load_program) -> int:
    """Load bytecode against these maps; returns the program's fd. ProgramError carries the verifier's last lines."""
    kind, attach_type = PROGRAMS[bytecode.program]
    missing = [name for name in bytecode.maps if name not in fds]
    if missing:
        raise ProgramError(
            f"program {bytecode.program} uses maps that this balancer does not have: {', '.join(missing)}"
        )
    try:
        return load_program(bytecode.bind(fds), kind, attach_type, bytecode.program)
    except bpf.VerifierError as error:
        lines = [line for line in error.log.strip().splitlines() if line and not line.startswith("processed ")]
        raise ProgramError(
            f"the kernel's verifier rejects program {bytecode.program}: {' | '.join(lines[-4:])}"
        ) from error
    except OSError as error:
        raise ProgramError(f"program {bytecode.program} cannot be loaded: {permission_hint(error)}") from error
