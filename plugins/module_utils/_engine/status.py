# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a balancer is at this moment: what the command katran shows, and module balancer_info as `status`.

Made to be quick and to work when little else does. It waits for another run only shortly, then reads beside it; and a
damaged state.json leaves what the kernel has.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
import time
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

from .._kernel import bpf
from .._kernel.agent_lock import is_held
from .._kernel.announce_routes import by_place, read_routes
from .._kernel.edges import KernelEdges
from .._kernel.links import read_links
from .._kernel.maps import KernelMaps
from .._kernel.open_map import Map
from .._kernel.pins import Paths, pinned_program
from .._kernel.run_files import RunFiles
from .._kernel.state_files import StateFile
from .._kernel.state_folder import read_bpffs
from .._model import layout
from .._model.announcement import Told
from .._model.errors import EngineError, NetworkError, StateError
from .._model.flow_selection import Selection
from .._model.judging import iso
from .._model.pinned import PinnedMaps
from .._model.ring_count import count_slots
from .._model.state import State
from .._model.status import Live, RealStatus, Ring, VipStatus, differences, real_statuses, vip_statuses
from .._model.status import Place as Announced
from .._model.verdicts import Words, words_of
from .._model.vip_entries import VIP_MAPS, known_metas, real_of
from .._model.vips import Vip, VipKey, vips_from_config
from .._model.watch import Place
from .._program.own_pins import balancer_pins
from .announced import STATES, read_told
from .counters import Counted, counted
from .drain import read_drain
from .flows import open_flow_tables, search
from .look import attached, looking

_NEARLY_FULL = 0.95
_NEEDED = frozenset({"vip_map", "ch_rings", "server_id_stats", "reals", "reals_stats", "stats", "ctl_array"})
"""The maps without which nothing of a balancer can be told."""

_DIGEST = struct.Struct("=I32s")
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.1
R = t.TypeVar("R")
Chosen = Callable[[VipKey, str], bool]


@dataclass(frozen=True)
class TableFill:
    """One table of flows. `cpu`: whose, None where of several; `exact`: whether all entries were counted."""

    table: str
    cpu: int | None
    entries: int
    capacity: int
    exact: bool


@dataclass
class BalancerStatus:
    """One balancer.

    `program`: id, tag, encapsulation, features, gateway_mac; `attached`: where it is to run, in which mode, and what is
    wrong there; `agent`: running, stopped, or none; `drained`: whose word that is; `tables`: of flows; `counters`: of
    the whole balancer; `problems`: sentences of what is wrong; `notes`: of what is to be known of this picture; `sure`:
    whether it is all there.
    """

    instance: str
    bpffs: str
    loaded: bool = False
    program: dict[str, t.Any] = field(default_factory=dict)
    attached: list[dict[str, t.Any]] = field(default_factory=list)
    agent: str = "none"
    drained: dict[str, t.Any] | None = None
    tables: list[TableFill] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    vips: list[VipStatus] = field(default_factory=list)
    reals: list[RealStatus] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sure: bool = True

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.problems or self.differences or self.drained) and all(vip.is_well for vip in self.vips)

    def to_data(self) -> dict[str, t.Any]:
        """For programs."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "tables": [asdict(each) for each in self.tables],
            "vips": [each.to_data() for each in self.vips],
            "reals": [asdict(each) for each in self.reals],
            "well": self.is_well,
        }


class Look:
    """One balancer while it is looked at. Its maps are open for the length of a with block."""

    def __init__(self, instance: str, bpffs: str | None = None) -> None:
        self.file = StateFile(instance, bpffs or read_bpffs(instance))
        self.paths = Paths(self.file.bpffs, instance, "balancer")
        self.status = BalancerStatus(instance, self.file.bpffs)
        self.state = State(instance, self.file.bpffs, lost=True)
        self.vips: dict[VipKey, Vip] = {}
        self.words = Words()
        self.pins = PinnedMaps()
        self.maps: KernelMaps | None = None
        self.alone = True
        self._stack = ExitStack()

    def __enter__(self) -> t.Self:
        status = self.status
        self.alone = self._stack.enter_context(looking(status.instance, status.notes))
        rings = _Digests(self.paths)
        self._stack.callback(rings.close)
        self._rings = rings
        try:
            self.state = self.file.read()
            if self.state.lost:
                status.notes.append(f"{self.file.path} is missing: what the kernel has is shown, without weights")
        except StateError as error:
            status.notes.append(f"{error}; what the kernel has is shown, without weights and without what was said")
        status.sure = self.alone and not self.state.lost
        self.vips, self.words = vips_from_config(self.state.vips), words_of(self.state)
        if bpf.is_bpffs(self.paths.bpffs):
            self.pins = balancer_pins(KernelEdges(), self.paths, self.state.program)
        missing = sorted(_NEEDED - self.pins.maps.keys())
        if not missing:
            maps = KernelMaps(self.paths.maps, self.pins.lost, hidden=self.pins.strays)
            self.maps = self._stack.enter_context(maps)
            status.loaded = True
        elif len(missing) < len(_NEEDED):
            status.problems.append(f"map {missing[0]} is not pinned in {self.paths.maps}, and no program tells of it")
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def live(self, counting: Chosen | None = None, every: bool = False) -> tuple[Live, Counted]:
        """What the kernel has. Slots of rings are counted where `counting` chooses a VIP, or in `every` one."""
        if self.maps is None:
            return Live(), Counted()
        maps, names = self.maps, self.maps.names()
        vips = known_metas({name: maps.entries(name) for name in VIP_MAPS if name in names})
        reals = {
            layout.parse_u32(key): real_of(*layout.parse_real_definition(value))
            for key, value in maps.entries("reals").items()
        }
        counts = counted(maps)
        digests = self._rings.of(self.pins, maps.ring_size(), [number for _flags, number in vips.values()])
        rings = {}
        for key, (_flags, number) in vips.items():
            if number >= maps.capacity("server_id_stats"):
                continue
            written = self.state.rings.get(str(key))
            edited = written is not None and self.alone and not self._rings.is_as(number, written[1], digests)
            chosen = every or written is None or edited or (counting is not None and self._chooses(counting, key))
            rings[number] = Ring(
                maps.ring_size(),
                digests[number] == self._rings.empty,
                edited,
                self._rings.slots(number, digests[number]) if chosen else None,
            )
        return Live(vips, rings, reals, counts.vips, counts.reals, names), counts

    def of_rings(self, live: Live, work: Callable[[memoryview], R]) -> dict[VipKey, R]:
        """VIP → what is made of its live ring. Rings that are the same are read once. To be asked after `live`."""
        numbers = {key: number for key, (_flags, number) in live.vips.items() if number in live.rings}
        return dict(zip(numbers, self._rings.made(numbers.values(), work), strict=True))

    def _chooses(self, chosen: Chosen, key: VipKey) -> bool:
        vip = self.vips.get(key)
        return vip is None or any(chosen(key, real.address) for real in vip.reals)


class _Digests:
    """The rings of a balancer, digested by a process of its own while this one reads the record.

    A thread would wait 5 ms for the interpreter's lock after each ring.
    """

    def __init__(self, paths: Paths) -> None:
        self.empty = ""
        self._map: Map | None = None
        self._memory: mmap.mmap | None = None
        self._size = 0
        self._found: dict[int, str] = {}
        self._counted: dict[str, dict[int, int]] = {}
        self._process: tuple[int, int] | None = None
        # What is pinned there may be anything: then it is found out later, and begun anew.
        with contextlib.suppress(OSError, struct.error, ZeroDivisionError), bpf.open_map(paths.map("vip_map")) as vips:
            with bpf.open_map(paths.map("server_id_stats")) as numbers:
                most = numbers.info.entries
            there = [layout.parse_vip_meta(value)[1] for _key, value in vips.items()]
            self._open(bpf.open_map(paths.map("ch_rings")), most)
            self._begin(sorted({each for each in there if each < most}))

    def _open(self, rings: Map, most: int) -> None:
        self._map, self._size = rings, rings.info.entries // most * layout.SLOT
        self.empty = hashlib.sha256(bytes(self._size)).hexdigest()

    def _ring(self, number: int) -> memoryview:
        if self._memory is None and self._map is not None:
            self._memory = self._map.mmap(writable=False)
        return memoryview(self._memory or b"")[number * self._size : (number + 1) * self._size]

    def _digest(self, number: int) -> bytes:
        with self._ring(number) as ring:
            return hashlib.sha256(ring).digest()

    def _begin(self, numbers: list[int]) -> None:
        """Start the process."""
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            # Whatever happens here, this is no second process of who looks.
            try:
                os.close(reading)
                for number in numbers:
                    os.write(writing, _DIGEST.pack(number, self._digest(number)))
            finally:
                os._exit(0)  # pylint: disable=protected-access
        os.close(writing)
        self._process = pid, reading

    def _join(self) -> None:
        """Take what the process found."""
        if self._process is None:
            return
        pid, reading = self._process
        self._process = None
        with open(reading, "rb") as source:
            told = source.read()
        os.waitpid(pid, 0)
        whole = told[: len(told) // _DIGEST.size * _DIGEST.size]
        self._found = {number: digest.hex() for number, digest in _DIGEST.iter_unpack(whole)}

    def of(self, pins: PinnedMaps, slots_each: int, numbers: list[int]) -> dict[int, str]:
        """VIP number → digest of its slots. `pins`: which map is the program's own."""
        self._join()
        same = self._map is not None and self._map.info.id == pins.maps["ch_rings"].id
        if not same or self._size != slots_each * layout.SLOT:
            self.close()
            self._found.clear()
            with bpf.map_by_id(pins.maps["server_id_stats"].id) as per_vip:
                self._open(bpf.map_by_id(pins.maps["ch_rings"].id), per_vip.info.entries)
        most = (self._map.info.entries * layout.SLOT // self._size) if self._map else 0
        for number in numbers:
            if number < most and number not in self._found:
                self._found[number] = self._digest(number).hex()
        return self._found

    def is_as(self, number: int, written: str, digests: Mapping[int, str]) -> bool:
        """Whether a ring has this digest, "" of an empty one."""
        return digests[number] == (written or self.empty)

    def slots(self, number: int, digest: str) -> dict[int, int]:
        """Real id → slots of a ring. VIPs of the same reals and weights have the same, which is counted once."""
        if digest not in self._counted:
            with self._ring(number) as ring:
                self._counted[digest] = count_slots(bytes(ring))
        return self._counted[digest]

    def made(self, numbers: Iterable[int], work: Callable[[memoryview], R]) -> Iterator[R]:
        """What is made of the rings of these VIPs, in their order. Asked after `of`."""
        known: dict[str, R] = {}
        for number in numbers:
            digest = self._found[number]
            if digest not in known:
                with self._ring(number) as ring:
                    known[digest] = work(ring)
            yield known[digest]

    def close(self) -> None:
        """Let go of the map."""
        self._join()
        if self._memory is not None:
            self._memory.close()
        if self._map is not None:
            self._map.close()
        self._map = self._memory = None


# Whole looks


def _steady(instance: str, look: Callable[[], R]) -> R:
    """Look again where something went away meanwhile, as another run's change may have it.

    EngineError where it does so each time.
    """
    attempts = 0
    while True:
        try:
            return look()
        except (FileNotFoundError, KeyError, ValueError, struct.error) as error:
            attempts += 1
            if attempts == _ATTEMPTS:
                raise EngineError(
                    f"balancer {instance} cannot be read, as its maps or pins change or are not its own: {error!r}"
                ) from error
            time.sleep(_PAUSE_SECONDS)


def read_status(instance: str, bpffs: str | None = None) -> BalancerStatus:
    """Everything that `katran status` shows of a balancer. `bpffs`: None where its record names it."""
    return _steady(instance, lambda: _status_of(instance, bpffs))


def _status_of(instance: str, bpffs: str | None) -> BalancerStatus:
    with Look(instance, bpffs) as look:
        live, counts = look.live()
        status = look.status
        status.vips = _vip_statuses(look, live)
        status.counters = dict(counts.named)
        if look.maps is not None:
            if look.alone:
                status.differences += look.pins.warnings(look.paths.maps, "balancer")
                status.differences += differences(look.state, look.vips, live, look.maps.entries("reals"))
            status.tables = fills(look.maps)
            _tables(status)
        return status


def read_whole(
    instance: str, bpffs: str | None, also: Callable[[Look, Live, BalancerStatus], R]
) -> tuple[BalancerStatus, R]:
    """VIPs with all their reals, reals, counters and tables, in one look.

    `also`: is called with the look while its maps are open, and what it makes of it is returned beside.
    """
    return _steady(instance, lambda: _whole_of(instance, bpffs, also))


def _whole_of(
    instance: str, bpffs: str | None, also: Callable[[Look, Live, BalancerStatus], R]
) -> tuple[BalancerStatus, R]:
    with Look(instance, bpffs) as look:
        live, counts = look.live(every=True)
        status = look.status
        status.vips = _vip_statuses(look, live, lambda _key, _real: True)
        status.reals = real_statuses(look.vips, look.words, live)
        status.counters = dict(counts.named)
        if look.maps is not None:
            status.tables = fills(look.maps)
        return status, also(look, live, status)


def read_vips(instance: str, chosen: Chosen | None = None) -> BalancerStatus:
    """VIPs with their reals: those (VIP, real) that are chosen, or all."""
    return _steady(instance, lambda: _vips_of(instance, chosen))


def _vips_of(instance: str, chosen: Chosen | None) -> BalancerStatus:
    wanted = chosen or (lambda _key, _real: True)
    with Look(instance) as look:
        live, _counts = look.live(wanted)
        look.status.vips = _vip_statuses(look, live, wanted)
        return look.status


def read_reals(instance: str, flows: bool = True) -> BalancerStatus:
    """Every real. `flows`: count the entries of connection tables that lead to each."""
    return _steady(instance, lambda: _reals_of(instance, flows))


def _reals_of(instance: str, flows: bool) -> BalancerStatus:
    with Look(instance) as look:
        live, _counts = look.live()
        per_real = None
        if look.maps is not None and flows:
            per_real = {each["id"]: each["flows"] for each in search(look.maps, Selection(), 0, {}).reals}
        look.status.reals = real_statuses(look.vips, look.words, live, per_real)
        return look.status


def names_of(instances: Iterable[str]) -> tuple[list[VipKey], list[str]]:
    """The VIPs and the reals of balancers as they were applied, for who misspelt one."""
    vips, reals = [], list[str]()
    for instance in instances:
        with Look(instance) as look:
            vips += sorted(look.vips)
            reals += sorted({real.address for vip in look.vips.values() for real in vip.reals})
    return vips, reals


def fills(maps: KernelMaps) -> list[TableFill]:
    """How full each table of flows is, of large ones about: see Map.fill."""
    found = []
    with ExitStack() as stack:
        for table in open_flow_tables(maps, stack):
            entries, exact = table.map.fill()
            found.append(TableFill(table.name, table.cpu, entries, table.map.info.entries, exact))
    return found


# Parts of a look


def _vip_statuses(look: Look, live: Live, chosen: Chosen | None = None) -> list[VipStatus]:
    """The VIPs; and what else decides whether packets come to them, noted in the status."""
    places = _announcements(look)
    _program(look)
    nowhere = "" if any(not each["wrong"] for each in look.status.attached) else "its program runs nowhere"
    return vip_statuses(look.vips, look.words, live, places, nowhere, chosen)


def _announcements(look: Look) -> dict[str, Announced]:
    """Place → what is announced there; and the agent and a person's drain, noted in the status."""
    status, files = look.status, RunFiles(look.status.instance)
    told = Told()
    routes: dict[str, int] = {}
    try:
        told = read_told(files)
        routes = by_place(read_routes(told.table))
    except (StateError, NetworkError) as error:
        status.notes.append(str(error))
        status.sure = False
    drain = read_drain(look.file)
    status.drained = drain._asdict() if drain is not None else None
    if is_held(files.folder):
        status.agent = "running"
    elif os.path.exists(files.ready) or os.path.exists(files.checks):
        status.agent = "stopped"
        status.problems.append(
            "the agent does not run: checks and announcements stay as it left them (systemctl status katran-agent)"
        )
    elif any(vip.check is not None for vip in look.vips.values()):
        status.agent = "stopped"
        status.problems.append("VIPs have checks, but the agent does not run (systemctl status katran-agent)")
    return {
        place: Announced(STATES[ready.metric], ready.reasons, routes.get(place, 0), iso(ready.since))
        for place, ready in told.places.items()
    }


def _program(look: Look) -> None:
    """The program, where it is to run, and what is wrong there."""
    status, state = look.status, look.state
    if look.maps is None:
        status.problems.append(
            f"balancer {status.instance} is not loaded: systemctl restart katran-restore.service brings it back, and so"
            " does a deploy"
        )
    info = pinned_program(look.paths.program)
    mac = look.maps.map("ctl_array").lookup(layout.u32(layout.CTL_GATEWAY_MAC)) if look.maps else None
    status.program = {
        "id": info.id if info else None,
        "tag": info.tag if info else None,
        "encapsulation": state.settings.get("encapsulation"),
        "features": list(state.settings.get("features", ())),
        "gateway_mac": layout.parse_mac(mac) if mac and any(mac) else None,
    }
    if look.maps is not None and status.program["gateway_mac"] is None:
        status.problems.append("the gateway's MAC is not known: packets go nowhere")
    elif state.program.gateway_mac and mac != layout.mac_bytes(state.program.gateway_mac):
        status.differences.append(
            f"ctl_array: the gateway's MAC is {status.program['gateway_mac']}, not {state.program.gateway_mac}"
        )
    if info and state.program.tag and info.tag != state.program.tag and state.program.next is None:
        status.problems.append(f"the program pinned at {look.paths.program} is not the one on record")
    places: list[Place] = [Place(status.instance, "balancer", each) for each in state.program.interfaces]
    if state.program.slot is not None:
        places.append(Place(status.instance, "balancer", state.program.slot))
    if not places and state.lost and info is not None:
        # Nobody knows where it is to run: where it does is shown.
        links = read_links().values()
        places = [Place(status.instance, "balancer", e.name) for e in links if e.xdp and e.xdp.program_id == info.id]
    status.attached = attached(places, look.paths)
    status.problems += [each["wrong"] for each in status.attached if each["wrong"]]
    if look.maps is not None and not places:
        status.problems.append("its program is loaded, and to run on no interface")


def _tables(status: BalancerStatus) -> None:
    """What is wrong with tables of flows."""
    full = [each for each in status.tables if each.entries >= each.capacity * _NEARLY_FULL and each.capacity > 1]
    names = sorted({each.table for each in full if not each.table.startswith("fallback")})
    for name in names:
        status.notes.append(f"{name} is full: the oldest flows make room for new ones (sizes of module balancer)")
