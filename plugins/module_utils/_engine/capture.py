# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Capture: copies of a VIP's packets as they come and as they leave, for a while.

The program copies only while a time in its control map lies ahead. This process moves it on by LEASE every RENEWAL
seconds, and takes it away at its end; of a process that is killed or starved nothing is left after LEASE.
"""

from __future__ import annotations

import struct
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from .._kernel.alone import alone
from .._kernel.lock import locked
from .._kernel.maps import KernelMaps
from .._kernel.perf_rings import PerfRings
from .._kernel.pins import Paths, pinned_program
from .._kernel.privilege import map_failure, permission_hint
from .._model import layout
from .._model.addresses import read_address
from .._model.captured import Client, Frame, Pairs, capture_filter, parse_event
from .._model.errors import EngineError, StateError
from .._model.vip_entries import VIP_MAPS, known_metas
from .._model.vips import VipKey
from .._model.which import read_which
from .._program.requirements import require_capabilities
from .flows import loaded, real_names
from .request import Request

LEASE = 3.0
"""Seconds after which a program copies nothing more unless it is told again."""

RENEWAL = 0.5
_LAST = 0.02
RING_BYTES = 1 << 21
"""Of each CPU's ring: some 1,300 whole frames of 1,514 bytes."""

MAPS = ("event_pipe", "capture_filter")
NO_FEATURE = (
    "the program of balancer {} cannot be captured: it is compiled without feature introspection; add it to"
    " katran_extra_features and deploy (no packet is lost)"
)


Take = Callable[[Frame, t.Union[int, None]], bool]
"""Gets a frame and the number of its packet, None where its first half was lost; says whether to go on."""


@dataclass(frozen=True)
class Wanted:
    """What to capture: of which VIP, client and real; packets, seconds and bytes of a frame at most."""

    vip: str
    client: str | None = None
    real: str | None = None
    packets: int = 100
    seconds: float = 60.0
    snaplen: int = 65_535


@dataclass
class Captured:
    """How a capture went. `lost`: frames for which the rings had no room; `why`: what ended it."""

    vip: str
    packets: int = 0
    frames: int = 0
    lost: int = 0
    why: str = ""
    seconds: float = 0.0
    reals: dict[int, str] = field(default_factory=dict)


def vip_metas(maps: KernelMaps) -> dict[VipKey, tuple[int, int]]:
    """Each VIP that the kernel has → (its flags, its number)."""
    return known_metas({name: maps.entries(name) for name in VIP_MAPS if name in maps.names()})


def chosen_vip(name: str, there: Mapping[VipKey, t.Any], instance: str) -> VipKey:
    """The one VIP that is meant, a prefix also by an address in it. EngineError where there is none, or several."""
    which = read_which(name)
    # Who names one whole does not mean the prefix around it.
    found = sorted(key for key in there if which.name and which.name.means(key))
    found = found or sorted(key for key in there if which.means_vip(key))
    if not found:
        raise EngineError(f"vip: balancer {instance} has no VIP {name}")
    if len(found) > 1:
        raise EngineError(f"vip: {name} may be {', '.join(map(str, found[:8]))}: name one")
    return found[0]


class Capture:
    """One capture. Nothing is copied before run() begins, and nothing after it ends, whatever ends it."""

    def __init__(self, request: Request, wanted: Wanted, maps: KernelMaps) -> None:
        self._wanted = wanted
        self._paths = Paths(request.bpffs, request.instance, "balancer")
        if not self._is_copying(maps):
            raise EngineError(NO_FEATURE.format(request.instance))
        metas = vip_metas(maps)
        self.vip = chosen_vip(wanted.vip, metas, request.instance)
        flags, self._number = metas[self.vip]
        client = Client.read(wanted.client) if wanted.client else None
        if client and client.prefix.address.ipv6 != self.vip.ipv6:
            raise EngineError(f"client: {wanted.client} is not of the family of VIP {self.vip}")
        if client and client.port and flags & layout.VIP_FLAGS["hash_no_src_port"]:
            raise EngineError(f"client: VIP {self.vip} knows no ports of clients (hash_no_src_port): leave it out")
        self.told = Captured(str(self.vip), reals=real_names(maps))
        self._filter = capture_filter(self._number, self._real(), client, wanted.snaplen, wanted.packets)
        # Opened by their ids, so that they stay those of the program of this moment.
        self._maps = KernelMaps(self._paths.maps, {name: maps.map(name).info.id for name in (*MAPS, "ctl_array")})

    def _real(self) -> int:
        if self._wanted.real is None:
            return 0
        wanted = read_address(self._wanted.real)
        for number, address in self.told.reals.items():
            if wanted and address == wanted.text:
                return number
        raise EngineError(f"real: the balancer has no real {self._wanted.real}")

    def close(self) -> None:
        """Forget the maps."""
        self._maps.close()

    def _copy_until(self, nanoseconds: int) -> None:
        key = layout.u32(layout.CTL_CAPTURE_UNTIL)
        self._maps.map("ctl_array").update(key, struct.pack("=Q", nanoseconds))

    def run(self, take: Take) -> Captured:
        """Capture. `take` gets each frame and its packet's number, and says whether to go on."""
        begun = time.monotonic()
        try:
            with PerfRings(self._maps.map("event_pipe"), RING_BYTES) as rings:
                self._maps.map("capture_filter").update(layout.u32(0), self._filter)
                try:
                    self._collect(rings, take, begun)
                finally:
                    self._copy_until(0)
        except BrokenPipeError:
            # Whoever reads has seen enough.
            raise
        except OSError as error:
            what = permission_hint(error) if error.errno in (1, 13) else map_failure(error)
            raise EngineError(f"packets cannot be captured: {what}") from error
        self.told.seconds = round(time.monotonic() - begun, 3)
        return self.told

    def _collect(self, rings: PerfRings, take: Take, begun: float) -> None:
        pairs, renewed, told = Pairs(), 0.0, self.told
        end = begun + self._wanted.seconds
        try:
            while not told.why:
                now = time.monotonic()
                if now >= end:
                    told.why = f"{self._wanted.seconds:g} s are over"
                elif pairs.packets >= self._wanted.packets:
                    told.why = f"{self._wanted.packets} packets were captured"
                elif now - renewed >= RENEWAL:
                    told.why = self._moved() if renewed else ""
                    self._copy_until(int(min(now + LEASE, end) * 1e9))
                    renewed = now
                if told.why:
                    # What a CPU is about is seen to its end.
                    self._copy_until(0)
                    time.sleep(_LAST)
                else:
                    rings.wait(min(RENEWAL, max(end - now, 0)))
                if not self._drain(rings, pairs, take):
                    told.why = "the file is as large as it may be"
        except KeyboardInterrupt:
            told.why = "it was interrupted"

    def _drain(self, rings: PerfRings, pairs: Pairs, take: Take) -> bool:
        """Hand on what is there. Whether to go on."""
        told = self.told
        for frame in sorted(_frames(rings), key=lambda each: (each.at, each.out)):
            number = pairs.number(frame)
            if number is not None and number > self._wanted.packets:
                continue
            if not take(frame, number):
                return False
            told.frames += 1
            told.packets = min(pairs.packets, self._wanted.packets)
        told.lost = rings.lost
        return True

    def _is_copying(self, maps: KernelMaps) -> bool:
        """Whether the program of this moment has these maps: they stay pinned for one that had them before."""
        program = pinned_program(self._paths.program)
        if program is None or not set(MAPS) <= maps.names():
            return False
        return all(maps.map(name).info.id in program.map_ids for name in MAPS)

    def _moved(self) -> str:
        """Why there is nothing to come any more, "" where there is."""
        if not self._is_copying(self._maps):
            return "the balancer got another program meanwhile"
        with KernelMaps(self._paths.maps) as there:
            found = vip_metas(there).get(self.vip)
        return "" if found and found[1] == self._number else f"VIP {self.vip} is gone"


def _frames(rings: PerfRings) -> Iterator[Frame]:
    for cpu, raw in rings.read():
        frame = parse_event(cpu, raw)
        if frame is not None:
            yield frame


def capture(request: Request, wanted: Wanted, begin: Callable[[Captured], Take]) -> Captured:
    """Copies of packets in the order of their times, until there are enough. Every failure is one sentence.

    `begin` is called once all is ready, and says who takes the frames.
    """
    require_capabilities()
    warnings: list[str] = []
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(request.instance, "capture"))
            # Others may change the balancer while this goes on: it is locked only to find the way in.
            with locked(request.instance, False, request.lock_timeout), loaded(request, warnings) as maps:
                if maps is None:
                    raise EngineError(f"balancer {request.instance} is not loaded on this host")
                prepared = Capture(request, wanted, maps)
        except StateError as error:
            raise EngineError(str(error)) from error
        stack.callback(prepared.close)
        return prepared.run(begin(prepared.told))
