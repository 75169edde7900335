# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host is as a real: what katran status shows there."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import asdict, dataclass, field

from .._kernel import bpf
from .._kernel.links import addresses_of_lo
from .._kernel.pins import Paths
from .._kernel.state_folder import StateFolder, read_bpffs
from .._model import layout
from .._model.decap_record import KERNEL, TC, DecapRecord
from .._model.errors import StateError
from .._model.map_specs import DECAP_COUNTERS, REAL_SOURCES
from .._model.source_plan import source_of
from .._model.watch import Place, places_of_real
from .look import attached, looking
from .server_id_info import server_id_info


@dataclass
class RealHostStatus:
    """One real.

    `way`: by what packets are taken out of their tunnels; `attached`: where that runs, and what is wrong there; `vips`:
    what it serves; `loopback`: those of them that are addresses of lo; `sources`: prefixes of balancers, none: anybody;
    `counters`: packets; `naming`: of server ids in TCP, as in server_id_info; `problems`, `notes`, `sure`: as of a
    balancer.
    """

    instance: str
    way: str = "not there"
    attached: list[dict[str, t.Any]] = field(default_factory=list)
    vips: list[str] = field(default_factory=list)
    loopback: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    server_id: int = 0
    gue_port: int | None = None
    counters: dict[str, int] = field(default_factory=dict)
    naming: dict[str, t.Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sure: bool = True

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def to_data(self) -> dict[str, t.Any]:
        """For programs."""
        return {**asdict(self), "well": self.is_well}


def read_real(instance: str) -> RealHostStatus:
    """Everything that is shown of a real."""
    status = RealHostStatus(instance)
    file = StateFolder(instance, read_bpffs(instance, "decap.json"))
    paths = Paths(file.bpffs, instance, "decap")
    with looking(instance, status.notes) as alone:
        status.sure = alone
        record = DecapRecord()
        try:
            record = file.read_record(DecapRecord, "decap")
        except StateError as error:
            status.notes.append(f"{error}; what the kernel has is shown")
            status.sure = False
        _program(status, record, paths)
        _maps(status, paths)
        with contextlib.suppress(StateError):
            # What of its file is damaged does not concern decapsulation.
            status.naming = server_id_info(instance, file.bpffs)
    there = set(addresses_of_lo())
    status.loopback = [vip for vip in status.vips if vip in there]
    wanted = record.settings.loopback if record.settings else []
    for vip in [each for each in wanted if each not in there]:
        status.problems.append(
            f"vip {vip} is no address of lo, so this host does not answer for it: systemctl restart"
            " katran-restore.service"
        )
    if record.settings is not None:
        status.gue_port = record.settings.gue_port
        for vip in sorted(set(record.settings.vips) - set(status.vips)):
            status.problems.append(f"vip {vip} is missing in decap_vips: what is sent for it is not decapsulated")
    return status


def _program(status: RealHostStatus, record: DecapRecord, paths: Paths) -> None:
    wheres = places_of_real(record.way, record.interfaces, record.tunnels)
    places = [Place(status.instance, "decap", each) for each in wheres]
    status.attached = attached(places, paths)
    status.problems += [each["wrong"] for each in status.attached if each["wrong"]]
    runs = [each for each in status.attached if not each["wrong"]]
    told = ", ".join(
        each["place"].removeprefix("interface ") + (f" ({each['mode']})" if each["mode"] else "") for each in runs
    )
    if told:
        how = {TC: "at tc ingress of", KERNEL: "behind the kernel's tunnels"}.get(record.way, "by XDP on")
        status.way = f"program {record.tag} {how} {told}{f', as {record.why}' if record.why else ''}"
    elif record.settings and not places:
        status.way = "left to others"


def _maps(status: RealHostStatus, paths: Paths) -> None:
    """What the program's maps say. Each that is missing is left out."""

    def entries(name: str) -> list[tuple[bytes, bytes]]:
        with contextlib.suppress(OSError), bpf.open_map(paths.map(name)) as opened:
            return list(opened.items())
        return []

    status.vips = sorted(layout.unpack_address(key, any(key[4:])) for key, _value in entries("decap_vips"))
    status.sources = sorted(source_of(key) for name in REAL_SOURCES for key, _value in entries(name))
    for _key, value in entries("tpr_server_id"):
        status.server_id = layout.parse_u32(value)
    for _key, value in entries("decap_counters"):
        counts = layout.sum_cpus(value, len(DECAP_COUNTERS))
        status.counters = dict(zip(DECAP_COUNTERS, counts, strict=True))
