# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What program server_id_option of a host can tell, read and never written."""

from __future__ import annotations

import contextlib
import typing as t

from .._kernel import bpf
from .._kernel.open_map import KindError
from .._kernel.pins import Paths, pinned_program
from .._kernel.state_folder import StateFolder
from .._model import layout
from .._model.server_id_record import COUNTED, COUNTERS, OWN, PROGRAM, ServerIdRecord


def server_id_info(instance: str, bpffs: str) -> dict[str, t.Any]:
    """What the program is told and what it counted since it was first loaded. Empty where there is none.

    `units`: those where it is to be; `id`, `fallback_id`: as its map has them; `counters`: set, read, missing, wrong
    (docs/server-ids.md). StateError where its file is damaged.
    """
    record = StateFolder(instance, bpffs).read_record(ServerIdRecord, PROGRAM)
    paths = Paths(bpffs, instance, PROGRAM)
    info = pinned_program(paths.program)
    if info is None:
        return {}
    found: dict[str, t.Any] = {"units": record.wanted, "program": {"id": info.id, "tag": info.tag}}
    with contextlib.suppress(FileNotFoundError, KindError):
        with bpf.open_map(paths.map(OWN)) as own:
            ids = [layout.parse_u32(own.lookup(layout.u32(at)) or bytes(4)) for at in range(2)]
        with bpf.open_map(paths.map(COUNTERS)) as counted:
            value = counted.lookup(layout.u32(0)) or bytes(counted.stride)
        found |= {"id": ids[0], "fallback_id": ids[1]}
        found["counters"] = dict(zip(COUNTED, layout.sum_cpus(value, len(COUNTED)), strict=True))
    return found
