# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maps that refuse to be written."""

from __future__ import annotations

import errno
import typing as t
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.recovery import recovered
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Clock, Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.vips import VipRun
from ansible_collections.katran.fleet.plugins.module_utils._kernel.memory_maps import MemoryMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._engine.counted_runs import ABC
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Shape


class Refusing(MemoryMaps):
    """Maps of which one refuses to be written."""

    def __init__(self, shape: Shape, name: str, code: int) -> None:
        super().__init__(shape)
        self.name = name
        self.code = code

    def put(self, name: str, entries: t.Any) -> None:
        if name == self.name:
            raise OSError(self.code, "refused")
        super().put(name, entries)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.E2BIG, "map vip_map: it is full (E2BIG): raise the size of the balancer that limits it"),
        (errno.ENOSPC, "map vip_map: it is full (ENOSPC): raise the size of the balancer that limits it"),
        (
            errno.EPERM,
            "map vip_map: the kernel does not permit it (EPERM): CAP_BPF is missing, or a lockdown or LSM forbids it",
        ),
        (errno.EBUSY, "map vip_map: the kernel is busy (EBUSY)"),
        (errno.ENOMEM, "map vip_map: the kernel has no memory left (ENOMEM)"),
        (errno.EINVAL, "map vip_map: the kernel refused (refused)"),
    ],
)
def test_a_map_that_refuses_is_named(tmp_path: Path, code: int, sentence: str) -> None:
    shape = Shape.of()
    file = StateFile("blue", "/sys/fs/bpf", str(tmp_path))
    request = Request("blue", "/sys/fs/bpf", 1, False)
    maps = Refusing(shape, "vip_map", code)

    def run() -> Result:
        state = recovered(file, file.read(), maps)
        return VipRun(request, maps, file, state, Clock()).run(Asked([ABC], "overridden"))

    with pytest.raises(EngineError) as refused:
        run()
    assert str(refused.value) == f"{sentence}; the next run goes on from here"
    maps.name = ""
    assert run().operations == {"vip_index": 1, "vip_map": 1}
    assert not run().changed
