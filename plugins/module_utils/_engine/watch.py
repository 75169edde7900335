# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command katran-watch: tell the journal when a program no longer runs where it was put. It changes nothing.

Every look compares what the kernel has with what the last run left. A notification about an interface is no more than a
reason to look at once; what comes without one is seen a few seconds later.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
import typing as t
from collections.abc import Iterator

from .._kernel.cgroups import group_path, programs_in
from .._kernel.lock import locked
from .._kernel.pins import Paths, pinned_program
from .._kernel.real_edges import running_at_ingress
from .._kernel.root_array import slots
from .._kernel.state_files import StateFile
from .._kernel.state_folder import BPFFS_FILES, STATE_ROOT, instances, read_bpffs
from .._kernel.systemctl import read_properties
from .._kernel.xdp import Interfaces
from .._model.decap_record import DecapRecord
from .._model.errors import FleetError, LockedError
from .._model.root_settings import RootRecord
from .._model.server_id_record import ServerIdRecord
from .._model.snapshot import RootArray
from .._model.watch import IN_UNITS, UNSEEN, Ingress, Place, judge, news, places_of_real

LOOK_SECONDS = 3.0
_SETTLE_SECONDS = 0.2
"""Notifications come in bursts: one look for all."""

_ASK_LOOKS = 10
"""Of a unit that has no group, systemd is asked once in so many looks: that takes a process."""

_LINKS = 1
"""The group of rtnetlink that tells of interfaces, as a mask."""

FILES = {"balancer": "state.json", "decap": "decap.json", "root": "root.json", IN_UNITS: "server_id_option.json"}
_WARNING, _NOTICE = "<4>", "<5>"


class Units:
    """The control groups of units, which last as long as their processes."""

    def __init__(self) -> None:
        self._groups: dict[str, tuple[str, t.Any]] = {}
        self._waits: dict[str, int] = {}

    def programs_of(self, unit: str) -> tuple[int, ...] | None:
        """The ids of the programs in a unit's group; None where it has none, or only since the last look.

        A service gets its programs just after its group.
        """
        path, number = self._groups.get(unit, ("", None))
        there = _number(path)
        if path and there == number:
            return programs_in(path)[0]
        self._waits[unit] = self._waits.get(unit, 0) - 1
        if path or self._waits[unit] < 0:
            self._waits[unit] = _ASK_LOOKS
            path = group_path(read_properties([unit], "ControlGroup")[unit].get("ControlGroup", ""))
            self._groups[unit] = path, _number(path)
        return None


def _number(path: str) -> int | None:
    """The number of a group, which another one at the same place has not; None where there is none."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


class Watch:
    """What was judged of each place, the ids of programs that were ours there, and the files as they were last read."""

    def __init__(self) -> None:
        self.judged: dict[Place, str] = {}
        self._ours: dict[Place, int] = {}
        self._read: dict[str, tuple[t.Any, list[Place]]] = {}
        self._bpffs: dict[tuple[str, str], tuple[t.Any, str]] = {}
        self._links = Interfaces()
        self._units = Units()

    def __enter__(self) -> t.Self:
        self._links.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._links.__exit__(*exc)

    def look(self) -> list[str]:
        """Compare everything; one line for each change since the last look, as the journal takes them."""
        attached = {each.interface: each.program_id for each in self._links.every_attached()}
        after: dict[Place, str] = {}
        for instance in instances():
            for program in FILES:
                after.update(self._judge_program(instance, program, attached))
        lines = [(_WARNING if wrong else _NOTICE) + line for wrong, line in news(self.judged, after)]
        self.judged = after
        return lines

    def bpffs(self, instance: str, first: str = "state.json") -> str:
        """The bpffs that an instance's state names; the files are read once, until one of them is another."""
        folder = os.path.join(STATE_ROOT, instance)
        stamps = [_stamp(os.path.join(folder, name)) for name in BPFFS_FILES]
        known = self._bpffs.get((instance, first))
        if known is None or known[0] != stamps:
            known = self._bpffs[instance, first] = stamps, read_bpffs(instance, first)
        return known[1]

    def _judge_program(self, instance: str, program: str, attached: dict[str, int]) -> Iterator[tuple[Place, str]]:
        file = StateFile(instance, self.bpffs(instance, FILES[program]))
        nowhere = Place(instance, program, UNSEEN)
        try:
            stamp = _stamp(os.path.join(file.directory, FILES[program]))
            if stamp is None:
                return
            with locked(instance, False, 0):
                places = self._places(file, program, stamp)
                pins = [pinned_program(path) for path in Paths(file.bpffs, instance, program).names()]
                pinned = {info.id for info in pins if info is not None}
                for place in places:
                    yield place, self._judge(place, attached, pinned)
        except LockedError:
            # A run is changing just that: what was so before holds until it ends.
            yield from ((place, old) for place, old in self.judged.items() if place[:2] == nowhere[:2])
        except (FleetError, OSError) as error:
            yield nowhere, f"{nowhere.title} cannot be watched: {error}"
            yield from self._without_files(instance, program, attached)

    def _judge(self, place: Place, attached: dict[str, int], pinned: set[int]) -> str:
        exists, running = True, None
        if place.program == IN_UNITS:
            there = self._units.programs_of(str(place.where))
            if there is None:
                # It does not run, or has just begun to.
                return ""
            running = next((each for each in there if each in pinned or each == self._ours.get(place)), None)
        elif isinstance(place.where, RootArray):
            running = slots(place.where.path).get(place.where.position)
        elif isinstance(place.where, Ingress):
            exists, running = running_at_ingress(place.where.interface, pinned)
        else:
            try:
                socket.if_nametoindex(place.where)
                running = attached.get(place.where)
            except OSError:
                exists = False
        wrong = judge(place, exists, running, pinned, self._ours.get(place))
        if not wrong and running is not None:
            self._ours[place] = running
        return wrong

    def _without_files(self, instance: str, program: str, attached: dict[str, int]) -> Iterator[tuple[Place, str]]:
        """Each place as it was judged last, but for a program that was taken off, which shows without its files."""
        for place, old in self.judged.items():
            if place[:2] == (instance, program) and place.where != UNSEEN:
                gone = program != IN_UNITS and isinstance(place.where, str) and place.where not in attached
                yield place, self._judge(place, attached, set()) if gone else old

    def _places(self, file: StateFile, program: str, stamp: t.Any) -> list[Place]:
        """Where a program is to run. A large state is parsed once, until it is another."""
        path = os.path.join(file.directory, FILES[program])
        if path not in self._read or self._read[path][0] != stamp:
            wheres: list[str | RootArray | Ingress]
            if program == "balancer":
                record = file.read().program
                wheres = [*record.interfaces, *([record.slot] if record.slot else [])]
            elif program == "decap":
                real = file.read_record(DecapRecord, program)
                wheres = [*places_of_real(real.way, real.interfaces, real.tunnels)]
            elif program == IN_UNITS:
                wheres = [*file.read_record(ServerIdRecord, program).wanted]
            else:
                wheres = [*file.read_record(RootRecord, program).interfaces]
            self._read[path] = stamp, [Place(file.instance, program, where) for where in wheres]
        return self._read[path][1]


def _stamp(path: str) -> t.Any:
    """What differs once a file is another; None where there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def main() -> int:
    """Watch until the process is ended."""
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
    with Watch() as watch, socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE) as told:
        told.bind((0, _LINKS))
        while True:
            try:
                lines = watch.look()
            except (FleetError, OSError) as error:
                lines = [f"{_WARNING}katran-watch cannot look: {error}"]
            for line in lines:
                sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            if select.select([told], [], [], LOOK_SECONDS)[0]:
                time.sleep(_SETTLE_SECONDS)
                _drain(told)


def _drain(told: socket.socket) -> None:
    """Forget what was told: the next look sees it, also what did not fit into the buffer."""
    while True:
        try:
            told.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            continue
