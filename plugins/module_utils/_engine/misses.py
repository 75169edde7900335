# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Misses of one VIP: packets for which the connection tables knew no real, by the real that they then got.

vip_miss_stats names the VIP that the program counts such packets of. Whoever asks writes it there for a while and takes
it away; of one who was killed it stays, which costs a new flow some compares and nothing else: the next to ask, or
clear(), takes it away.
"""

from __future__ import annotations

import struct
import time
import typing as t
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from .._kernel.alone import alone
from .._kernel.lock import locked
from .._kernel.maps import KernelMaps
from .._kernel.open_map import Map
from .._kernel.pins import Paths, pinned_program
from .._kernel.privilege import map_failure
from .._model import layout
from .._model.errors import EngineError, StateError
from .._model.vips import VipKey
from .._program.requirements import require_capabilities
from .capture import chosen_vip, vip_metas
from .flows import loaded, real_names
from .request import Request

TRACED, MISSES = "vip_miss_stats", "lru_miss_stats"


@dataclass
class Missed:
    """Misses of a VIP in so many seconds, by real; `packets`: all packets of the VIP meanwhile."""

    vip: str
    seconds: float = 0.0
    packets: int = 0
    misses: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All misses."""
        return sum(self.misses.values())


def definition(vip: VipKey) -> bytes:
    """The vip_definition that stands for a VIP: a CIDR VIP by its network address."""
    return layout.vip_definition(vip.packed, vip.port, layout.PROTOCOLS[vip.protocol])


def counted(misses: Map) -> dict[int, int]:
    """Real id → misses since the balancer was made, over all CPUs; of u32 counters, which may have begun anew."""
    found = {}
    for key, value in misses.items():
        total = sum(struct.unpack(f"={len(value) // 4}I", value)[::2])
        if total:
            found[layout.parse_u32(key)] = total
    return found


def clear(maps: KernelMaps) -> bool:
    """Trace no VIP; whether one was traced."""
    traced = maps.map(TRACED)
    before = traced.lookup(layout.u32(0))
    if not any(before or b""):
        return False
    traced.update(layout.u32(0), bytes(traced.info.value_size))
    return True


def trace_misses(request: Request, name: str, seconds: float) -> Missed:
    """Count the misses of a VIP for so many seconds. Every failure is one sentence; ^C ends it early."""
    require_capabilities()
    warnings: list[str] = []
    try:
        with ExitStack() as stack:
            stack.enter_context(alone(request.instance, "trace"))
            # Others may change the balancer while this goes on: it is locked only to find the way in.
            with locked(request.instance, False, request.lock_timeout), loaded(request, warnings) as maps:
                if maps is None:
                    raise EngineError(f"balancer {request.instance} is not loaded on this host")
                metas = vip_metas(maps)
                vip = chosen_vip(name, metas, request.instance)
                reals = real_names(maps)
                wanted = {each: maps.map(each).info.id for each in (TRACED, MISSES, "stats")}
                open_maps = stack.enter_context(KernelMaps("", wanted))
            number, paths = metas[vip][1], Paths(request.bpffs, request.instance, "balancer")
            return _count(open_maps, vip, number, reals, _Wait(seconds, lambda: _moved(paths, wanted, vip, number)))
    except StateError as error:
        raise EngineError(str(error)) from error
    except OSError as error:
        raise EngineError(f"misses cannot be traced: {map_failure(error)}") from error


class _Wait(t.NamedTuple):
    """How long to count, and why there is nothing to count any more, "" where there is."""

    seconds: float
    moved: Callable[[], str]

    def over(self, vip: VipKey) -> None:
        """Return when it is over. EngineError where what is counted goes before."""
        end = time.monotonic() + self.seconds
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 1))
            why = self.moved()
            if why:
                raise EngineError(f"misses of VIP {vip} cannot be told: {why}")


def _moved(paths: Paths, counting: t.Mapping[str, int], vip: VipKey, number: int) -> str:
    program = pinned_program(paths.program)
    if program is None or not set(counting.values()) <= set(program.map_ids):
        return "the balancer got another program, with other maps, meanwhile"
    with KernelMaps(paths.maps) as there:
        found = vip_metas(there).get(vip)
    return "" if found and found[1] == number else "it is gone"


def _count(maps: KernelMaps, vip: VipKey, number: int, reals: t.Mapping[int, str], wait: _Wait) -> Missed:
    told, begun = Missed(str(vip)), time.monotonic()
    packets, before = _packets(maps, number), counted(maps.map(MISSES))
    try:
        maps.map(TRACED).update(layout.u32(0), definition(vip))
        with suppress(KeyboardInterrupt):
            wait.over(vip)
    finally:
        clear(maps)
    told.seconds = round(time.monotonic() - begun, 3)
    told.packets = _packets(maps, number) - packets
    for real, total in sorted(counted(maps.map(MISSES)).items()):
        if total != before.get(real, 0):
            told.misses[reals.get(real, f"id {real}")] = total - before.get(real, 0)
    return told


def _packets(maps: KernelMaps, number: int) -> int:
    return layout.sum_cpus(maps.map("stats").lookup(layout.u32(number)) or b"", 2)[0]
