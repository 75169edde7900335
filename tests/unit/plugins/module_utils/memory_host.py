# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in memory for tests of programs: bpffs, maps and programs that live while somebody has them, interfaces, and a
toolchain. A run on it can be killed before anything that it changes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.katran.fleet.plugins.module_utils._kernel.open_map import KindError, Map
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode, map_references
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ModeError, ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._model.host_addresses import HostAddress
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import (
    ARRAY,
    ARRAY_OF_MAPS,
    HASH_OF_MAPS,
    MMAPABLE,
    NUMA_NODE,
    PERCPU_ARRAY,
    PROG_ARRAY,
    MapSpec,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.snapshot import (
    CLSACT,
    PYROUTE2,
    Attachment,
    EgressPlace,
    Filter,
    GatewayAnswer,
    MapInfo,
    ProgramInfo,
    RootArray,
)
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.memory_kernel import Fuse, MemoryFile

CPUS = 2
BPFFS = "/sys/fs/bpf"
_ARRAYS = (ARRAY, PERCPU_ARRAY)


class Memory(bytearray):
    """The values of an mmapable array back to back, each padded to eight bytes: what it maps, too."""

    fuse: Fuse

    def __getitem__(self, place: t.Any) -> t.Any:
        found = super().__getitem__(place)
        return bytes(found) if isinstance(found, bytearray) else found

    def __setitem__(self, place: t.Any, value: t.Any) -> None:
        self.fuse.before()
        super().__setitem__(place, value)
        self.fuse.after()

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """What is written is there already."""


def _padded(size: int) -> int:
    return (size + 7) // 8 * 8


@dataclass
class StoredMap:
    """A map of the kernel's. `inner_flags`: those that its inner maps must have; `memory`: of an array that has one."""

    info: MapInfo
    entries: dict[bytes, bytes] = field(default_factory=dict)
    inner_flags: int | None = None
    memory: Memory | None = None

    def contents(self) -> dict[bytes, bytes]:
        """Every entry; of an array, those that were written and, in memory, those that are not zero."""
        if self.memory is None:
            return dict(self.entries)
        step, size = _padded(self.info.value_size), self.info.value_size
        found = {index: self.memory[index * step : index * step + size] for index in range(self.info.entries)}
        return {struct.pack("=I", index): value for index, value in found.items() if any(value)}

    @property
    def stride(self) -> int:
        size = self.info.value_size
        return _padded(size) * CPUS if self.info.type == PERCPU_ARRAY else size


@dataclass
class StoredProgram:
    """A program of the kernel's; `binary`: what it was made of."""

    info: ProgramInfo
    binary: bytes


class MemoryMap:
    """An open map."""

    def __init__(self, host: MemoryHost, map_id: int, fd: int) -> None:
        self._host, self._stored, self.fd = host, host.maps[map_id], fd

    @property
    def info(self) -> MapInfo:
        return self._stored.info

    @property
    def stride(self) -> int:
        return self._stored.stride

    def _indexes(self) -> Iterator[bytes]:
        return (struct.pack("=I", index) for index in range(self.info.entries))

    def _place(self, key: bytes) -> slice:
        at = struct.unpack("=I", key)[0] * _padded(self.info.value_size)
        return slice(at, at + self.info.value_size)

    def lookup(self, key: bytes) -> bytes | None:
        memory = self._stored.memory
        if memory is not None and struct.unpack("=I", key)[0] < self.info.entries:
            return bytes(memory[self._place(key)])
        found = self._stored.entries.get(key)
        if found is None and self.info.type in _ARRAYS and struct.unpack("=I", key)[0] < self.info.entries:
            return bytes(self.stride)
        return found

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        self._host.fuse.before()
        self._write(key, value, flags)
        self._host.fuse.after()

    def _write(self, key: bytes, value: bytes, flags: int = 0) -> None:
        info = self.info
        if info.type in (ARRAY_OF_MAPS, HASH_OF_MAPS, PROG_ARRAY):
            # Given a descriptor, the kernel keeps the object; read, it tells the object's id.
            number = self._host.fds[struct.unpack("=I", value)[0]][1]
            value = struct.pack("=I", number)
            if self._stored.inner_flags is not None:
                assert self._host.maps[number].info.flags == self._stored.inner_flags, info.name
        assert len(key) == info.key_size, (info.name, key)
        assert len(value) == (self.stride if info.type == PERCPU_ARRAY else info.value_size), (info.name, value)
        if info.type in (*_ARRAYS, ARRAY_OF_MAPS, PROG_ARRAY):
            if struct.unpack("=I", key)[0] >= info.entries:
                raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        elif key not in self._stored.entries and len(self._stored.entries) >= info.entries:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        if self._stored.memory is not None:
            bytearray.__setitem__(self._stored.memory, self._place(key), value)
        elif flags != 1 or key not in self._stored.entries:
            self._stored.entries[key] = value

    def delete(self, key: bytes) -> bool:
        self._host.fuse.before()
        found = self._stored.entries.pop(key, None) is not None
        self._host.fuse.after()
        return found

    def each_key(self) -> Iterator[bytes]:
        return (key for key, _value in self.items())

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        if self.info.type in _ARRAYS:
            yield from ((key, self.lookup(key) or b"") for key in self._indexes())
        else:
            yield from sorted(self._stored.entries.items())

    def batches(self) -> Iterator[tuple[bytes, bytes, int]]:
        found = list(self.items())
        if found:
            yield b"".join(key for key, _value in found), b"".join(value for _key, value in found), len(found)

    def update_many(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        for key, value in entries:
            self.update(key, value)

    def insert_many(self, entries: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in entries:
            self.update(key, value, 1)

    def delete_many(self, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.delete(key)

    def mmap(self, writable: bool) -> Memory:
        del writable
        assert self._stored.memory is not None, f"{self.info.name} cannot be mapped"
        return self._stored.memory

    def close(self) -> None:
        self._host.fds.pop(self.fd, None)

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class HostFile(MemoryFile):
    """The state directory of an instance on that host."""

    def __init__(self, host: MemoryHost, instance: str = "blue") -> None:
        super().__init__(host.fuse)
        self.instance = instance
        self.directory = f"/nowhere/{instance}"
        self.path = f"{self.directory}/state.json"
        self.files = host.files.setdefault(instance, {})

    def exists(self) -> bool:
        return bool(self.files)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.files:
                self.fuse.before()
                del self.files[name]

    def rename(self, name: str, target: str) -> None:
        if name in self.files:
            self.fuse.before()
            self.files[target] = self.files.pop(name)

    def forget(self, name: str) -> None:
        if name in self.files:
            self.fuse.before()
            del self.files[name]

    def remove_if_empty(self) -> None:
        """A directory without files is none."""


class MemoryHost:
    """The host: Edges, and what a test does to it."""

    def __init__(self, interfaces: Iterable[str] = ("eth0", "eth1")) -> None:
        self.fuse = Fuse()
        self.files: dict[str, dict[str, str]] = {}
        self.maps: dict[int, StoredMap] = {}
        self.programs: dict[int, StoredProgram] = {}
        self.pins: dict[str, tuple[str, int]] = {}
        self.folders: set[str] = set()
        self.fds: dict[int, tuple[str, int]] = {}
        self.interfaces = list(interfaces)
        self.attached: dict[str, tuple[str, int]] = {}
        self.no_native: set[str] = set()
        self.addresses: set[str] = {"127.0.0.1", "::1"}
        self.loud: set[str] = set()
        self.others: list[HostAddress] = []
        self.qdiscs: dict[str, str] = {}
        self.filters: dict[str, list[Filter]] = {}
        self.ingress: set[str] = set()
        self.inward: dict[str, list[Filter]] = {}
        """Filters on what comes in, as `filters` are on what leaves."""
        self.gateway = "02:00:00:00:00:09"
        self.own = {"IPv4": "192.0.2.7", "IPv6": "2001:db8::7"}
        self.mounted = True
        self.has_pyroute2 = True
        self.locks: set[str] = set()
        self.receive = list(range(CPUS))
        self.nodes = 1
        self.mtus: dict[str, int] = {}
        self._numbers = 100

    def _next(self) -> int:
        """A number that no object and no descriptor has had."""
        self._numbers += 1
        return self._numbers

    # bpffs

    def is_bpffs(self, path: str) -> bool:
        return self.mounted and path.startswith(BPFFS)

    def has_interface(self, name: str) -> bool:
        return name in self.interfaces

    def listed(self, folder: str) -> list[str]:
        places = (*self.pins, *self.folders)
        return sorted({os.path.basename(path) for path in places if os.path.dirname(path) == folder})

    def make_folders(self, folders: Iterable[str]) -> None:
        for folder in folders:
            if folder not in self.folders:
                self.fuse.before()
                self.folders.add(folder)

    def remove_folders(self, folders: Iterable[str]) -> None:
        for folder in folders:
            if folder in self.folders and not self.listed(folder):
                self.fuse.before()
                self.folders.discard(folder)

    def pin(self, fd: int, path: str) -> None:
        assert os.path.dirname(path) in self.folders, path
        self.fuse.before()
        if path in self.pins:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        self.pins[path] = self.fds[fd]
        self.fuse.after()

    def unpin(self, paths: Iterable[str]) -> None:
        for path in paths:
            if path in self.pins:
                self.fuse.before()
                del self.pins[path]
                self.fuse.after()

    def rename(self, path: str, target: str) -> None:
        self.fuse.before()
        self.pins[target] = self.pins.pop(path)
        self.fuse.after()

    # maps

    def _new_map(self, spec: MapSpec, entries: int, flags: int = 0) -> int:
        number = self._next()
        info = MapInfo(spec.type, number, spec.key_size, spec.value_size, entries, spec.flags | flags, spec.name[:15])
        stored = self.maps[number] = StoredMap(info)
        if info.flags & MMAPABLE:
            stored.memory = Memory(_padded(info.value_size) * entries)
            stored.memory.fuse = self.fuse
        return number

    def _open(self, kind: str, number: int) -> int:
        fd = self._next()
        self.fds[fd] = (kind, number)
        return fd

    def create_map(self, spec: MapSpec, sizes: Mapping[str, int], path: str, inner_flags: int = 0) -> MemoryMap:
        number = self._new_map(spec, spec.entries(sizes))
        if spec.inner is not None:
            self.maps[number].inner_flags = spec.inner.flags | inner_flags
        opened = MemoryMap(self, number, self._open("map", number))
        self.pin(opened.fd, path)
        return opened

    def create_table(self, spec: MapSpec, entries: int, node: int | None) -> MemoryMap:
        number = self._new_map(spec, entries, 0 if node is None else NUMA_NODE)
        return MemoryMap(self, number, self._open("map", number))

    def wait_for_packets(self) -> None:
        """There are none."""

    def open_map_by_id(self, map_id: int) -> MemoryMap:
        if ("map", map_id) not in self.alive():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return MemoryMap(self, map_id, self._open("map", map_id))

    def memory(self, opened: Map) -> int:
        return opened.info.entries * (opened.info.key_size + opened.stride)

    def open_map(self, path: str) -> MemoryMap:
        kind, number = self._pinned(path)
        if kind != "map":
            raise KindError(path, f"a {kind}")
        return MemoryMap(self, number, self._open("map", number))

    def _pinned(self, path: str) -> tuple[str, int]:
        if path not in self.pins:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self.pins[path]

    # programs

    def open_program(self, path: str) -> int:
        kind, number = self._pinned(path)
        if kind != "program":
            raise KindError(path, f"a {kind}")
        return self._open("program", number)

    def open_program_by_id(self, program_id: int) -> int:
        if ("program", program_id) not in self.alive():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._open("program", program_id)

    def program_info(self, fd: int) -> ProgramInfo:
        return self.programs[self.fds[fd][1]].info

    def load(self, code: bytes, kind: int, attach_type: int, name: str) -> int:
        del attach_type
        self.fuse.before()
        used = [self.fds[struct.unpack_from("=i", code, at + 4)[0]][1] for at in map_references(code)]
        blank = bytearray(code)
        for at in map_references(code):
            blank[at + 4 : at + 8] = bytes(4)
        number = self._next()
        tag = hashlib.sha256(blank).hexdigest()[:16]
        info = ProgramInfo(kind, number, tag, len(code) // 8, 1, tuple(used), name)
        self.programs[number] = StoredProgram(info, bytes(blank))
        self.fuse.after()
        return self._open("program", number)

    def close(self, fd: int) -> None:
        del self.fds[fd]

    def alive(self) -> set[tuple[str, int]]:
        """What the kernel still has: what is pinned, open, attached, or used by what is."""
        found: set[tuple[str, int]] = set()
        todo = [*self.pins.values(), *self.fds.values()]
        todo += [("program", number) for _mode, number in self.attached.values()]
        todo += [("program", each.program_id) for filters in self.filters.values() for each in filters]
        todo += [("program", each.program_id) for filters in self.inward.values() for each in filters]
        while todo:
            item = todo.pop()
            if item in found:
                continue
            found.add(item)
            kind, number = item
            if kind == "program":
                todo += [("map", each) for each in self.programs[number].info.map_ids]
            elif self.maps[number].info.type in (ARRAY_OF_MAPS, HASH_OF_MAPS, PROG_ARRAY):
                inner = "program" if self.maps[number].info.type == PROG_ARRAY else "map"
                todo += [(inner, struct.unpack("=I", each)[0]) for each in self.maps[number].entries.values()]
        return found

    # interfaces

    def attachments(self) -> list[Attachment]:
        self._need_pyroute2()
        return [
            Attachment(name, self.interfaces.index(name) + 2, number, mode)
            for name, (mode, number) in sorted(self.attached.items())
        ]

    def _need_pyroute2(self) -> None:
        if not self.has_pyroute2:
            raise ProgramError(PYROUTE2.sentence)

    def replace(self, interface: str, fd: int, mode: str, expected: int | None) -> None:
        self._need_pyroute2()
        self.fuse.before()
        there = self.attached.get(interface)
        wanted = None if expected is None else self.fds[expected][1]
        if (there[1] if there else None) != wanted:
            raise ProgramError(
                f"the XDP program on interface {interface} changed meanwhile: somebody else attached one"
            )
        if there is not None and there[0] != mode:
            raise ProgramError(f"interface {interface}: programs of one mode at a time")
        if fd >= 0 and mode == "native" and interface in self.no_native:
            raise ModeError(interface, mode, "the driver has no native mode")
        if fd < 0:
            self.attached.pop(interface, None)
        else:
            self.attached[interface] = (mode, self.fds[fd][1])
        self.fuse.after()

    def slots(self, path: str) -> dict[int, int]:
        if path not in self.pins:
            raise ProgramError(f"root_array: nothing is pinned at {path}: run module katran.fleet.xdp_root first")
        stored = self.maps[self.pins[path][1]]
        return {struct.unpack("=I", key)[0]: struct.unpack("=I", each)[0] for key, each in stored.entries.items()}

    def put_program(self, slot: RootArray, fd: int) -> None:
        with self.open_map(slot.path) as array:
            array.update(struct.pack("=I", slot.position), struct.pack("=I", fd))

    def clear_slot(self, slot: RootArray) -> None:
        with self.open_map(slot.path) as array:
            array.delete(struct.pack("=I", slot.position))

    def host_addresses(self) -> list[HostAddress]:
        self._need_pyroute2()
        mine = [
            HostAddress.of("lo", text, 128 if ":" in text else 32, quiet=text not in self.loud)
            for text in self.addresses
        ]
        return [*mine, *self.others]

    def change_loopback(self, add: Sequence[str], remove: Sequence[str], settle: Sequence[str]) -> None:
        self._need_pyroute2()
        for address in add:
            self.fuse.before()
            assert address not in self.addresses, f"{address} is there already: the kernel refuses it"
            self.addresses.add(address)
            self.fuse.after()
        for address in settle:
            self.fuse.before()
            assert address in self.addresses
            self.loud.discard(address)
            self.fuse.after()
        for address in remove:
            self.fuse.before()
            self.addresses.remove(address)
            self.loud.discard(address)
            self.fuse.after()

    def ways_out(self, interfaces: Iterable[str]) -> dict[str, EgressPlace]:
        self._need_pyroute2()
        return {name: self._way_out(name) for name in interfaces if name in self.interfaces}

    def _way_out(self, name: str) -> EgressPlace:
        index = self.interfaces.index(name) + 2
        filters = tuple(sorted(self.filters.get(name, ())))
        entries = frozenset((each.priority, handle) for each in filters for handle in (0, each.handle))
        mac = f"02:00:00:00:01:{index:02x}"
        inward = name in self.ingress or bool(self.inward.get(name))
        return EgressPlace(index, mac, self.qdiscs.get(name), filters, entries, inward)

    def add_qdisc(self, interface: str, index: int) -> None:
        self.fuse.before()
        assert interface not in self.qdiscs, index
        self.qdiscs[interface] = CLSACT
        self.fuse.after()

    def remove_qdisc(self, interface: str, index: int) -> None:
        self.fuse.before()
        assert interface not in self.ingress, index
        assert not self.filters.get(interface), "the filters of somebody else would go"
        del self.qdiscs[interface]
        self.fuse.after()

    def put_filter(self, interface: str, index: int, place: Filter | None, fd: int) -> None:
        self.fuse.before()
        there = self.filters.setdefault(interface, [])
        program = self.fds[fd][1]
        if place is None:
            first = min((each.priority for each in there), default=50_000) - 1
            there.append(Filter(first, index, program, "katran_healthcheck"))
        else:
            there[there.index(place)] = place._replace(program_id=program)
        self.fuse.after()

    def remove_filter(self, interface: str, index: int, place: Filter) -> None:
        del index
        self.fuse.before()
        self.filters[interface].remove(place)
        self.fuse.after()

    def ways_in(self, interfaces: Iterable[str]) -> dict[str, EgressPlace]:
        self._need_pyroute2()
        found = {}
        for name in interfaces:
            if name in self.interfaces:
                filters = tuple(sorted(self.inward.get(name, ())))
                entries = frozenset((each.priority, handle) for each in filters for handle in (0, each.handle))
                index = self.interfaces.index(name) + 2
                found[name] = EgressPlace(
                    index, None, self.qdiscs.get(name), filters, entries, bool(self.filters.get(name))
                )
        return found

    add_ingress_qdisc = add_qdisc

    def remove_ingress_qdisc(self, interface: str, index: int) -> None:
        assert not self.inward.get(interface), "the filters of somebody else would go"
        self.remove_qdisc(interface, index)

    def put_ingress(self, interface: str, index: int, place: Filter | None, fd: int) -> None:
        self.fuse.before()
        assert interface in self.qdiscs, index
        there = self.inward.setdefault(interface, [])
        program = self.fds[fd][1]
        if place is None:
            first = min((each.priority for each in there), default=50_000) - 1
            there.append(Filter(first, index, program, "katran_decap"))
        else:
            there[there.index(place)] = place._replace(program_id=program)
        self.fuse.after()

    def remove_ingress(self, interface: str, index: int, place: Filter) -> None:
        del index
        self.fuse.before()
        self.inward[interface].remove(place)
        self.fuse.after()

    def ask_gateway(self, interfaces: Sequence[str], confirm: bool, wait: bool) -> GatewayAnswer:
        del confirm, wait
        self._need_pyroute2()
        sentence = "" if self.gateway else "gateway_mac auto: no IPv4 default route; give the MAC as gateway_mac"
        return GatewayAnswer(tuple(interfaces), (), self.gateway, sentence)

    def own_address(self, family: str, interfaces: Sequence[str]) -> str | None:
        del interfaces
        self._need_pyroute2()
        return self.own[family] or None

    def mtu(self, interface: str) -> int | None:
        return self.mtus.get(interface, 1500) if interface in self.interfaces else None

    # processors

    def possible_cpus(self) -> int:
        return CPUS

    def forwarding_cpus(self, interfaces: Sequence[str]) -> list[int]:
        del interfaces
        return list(self.receive)

    def numa_nodes(self) -> list[int]:
        return list(range(self.nodes))

    def numa_node(self, cpu: int) -> int:
        return cpu % self.nodes

    def remove_lock(self, instance: str) -> None:
        self.locks.discard(instance)

    # what a test does

    def died(self) -> None:
        """The process is gone, with all that it had open."""
        self.fds.clear()

    def wipe_bpffs(self) -> None:
        """The bpffs was unmounted and mounted anew."""
        self.pins.clear()
        self.folders.clear()

    def attach_foreign(self, interface: str, mode: str = "native") -> int:
        """Another's program on an interface; its id."""
        number = self._next()
        info = ProgramInfo(6, number, "f0reign", 2, 2, (), "foreign")
        self.programs[number] = StoredProgram(info, b"foreign")
        self.attached[interface] = (mode, number)
        return number

    def pin_twin(self, path: str) -> None:
        """Somebody pinned an empty map of the same shape in a map's place."""
        there = self.maps[self.pins[path][1]]
        number = self._next()
        stored = self.maps[number] = StoredMap(replace(there.info, id=number), {}, there.inner_flags)
        if there.memory is not None:
            stored.memory = Memory(len(there.memory))
            stored.memory.fuse = self.fuse
        self.pins[path] = ("map", number)

    def pin_foreign(self, path: str) -> None:
        """Somebody pinned a program of theirs under a path."""
        number = self._next()
        self.programs[number] = StoredProgram(ProgramInfo(6, number, "f0reign", 2, 2, (), "foreign"), b"foreign")
        self.pins[path] = ("program", number)

    def filter_foreign(self, interface: str, priority: int = 49_000) -> None:
        """Another's filter on what leaves an interface."""
        number = self._next()
        self.programs[number] = StoredProgram(ProgramInfo(3, number, "f0reign", 2, 2, (), "foreign"), b"foreign")
        self.qdiscs.setdefault(interface, CLSACT)
        self.filters.setdefault(interface, []).append(Filter(priority, 1, number, "foreign"))

    def entries(self, path: str) -> dict[bytes, bytes]:
        """What a pinned map has; of an array, what is not zero."""
        stored = self.maps[self.pins[path][1]]
        return {key: value for key, value in stored.contents().items() if any(value) or stored.info.type not in _ARRAYS}

    def everything(self) -> t.Any:
        """All that a run could change, for comparison."""
        live = self.alive()
        return (
            {instance: dict(files) for instance, files in self.files.items() if files},
            {number: stored.contents() for number, stored in self.maps.items() if ("map", number) in live},
            {number for kind, number in live if kind == "program"},
            dict(self.pins),
            set(self.folders),
            dict(self.attached),
            dict(self.qdiscs),
            {name: sorted(filters) for name, filters in self.filters.items() if filters},
            {name: sorted(filters) for name, filters in self.inward.items() if filters},
            set(self.addresses),
            set(self.loud),
        )


@dataclass
class MemoryToolchain:
    """Compiles a program into code that loads each of its maps. Another `version` of the sources is another program.

    `maps`: program → its maps, or what tells them of the macros.
    """

    maps: Mapping[str, Sequence[str] | Callable[[Mapping[str, int]], Sequence[str]]]
    version: int = 1
    has_bcc: bool = True
    compiled: int = 0

    def digest(self, source_dir: str, program: str, macros: Mapping[str, int]) -> str:
        if not self.has_bcc:
            raise ProgramError(
                "the Python module bcc is missing on this host (Debian and Ubuntu: package python3-bpfcc)"
            )
        made_of = repr((source_dir, program, self.version, sorted(macros.items())))
        return hashlib.sha256(made_of.encode()).hexdigest()

    def compile(self, source_dir: str, program: str, macros: Mapping[str, int]) -> Bytecode:
        self.compiled += 1
        digest = self.digest(source_dir, program, macros)
        code = b"\xb7\0\0\0" + bytes.fromhex(digest[:8])
        found = self.maps[program]
        maps = tuple(found(macros) if callable(found) else found)
        for index in range(len(maps)):
            code += b"\x18\x11\0\0" + struct.pack("=i", index) + bytes(8)
        return Bytecode(program, code + b"\x95" + bytes(7), maps, digest, 0.1)

    def prove(self, bytecode: Bytecode, settings: object) -> dict[str, t.Any]:
        del bytecode, settings
        return {"packets": 1, "seconds": 0.0}

    def require_host(self, source_dir: str) -> None:
        if not self.has_bcc:
            raise ProgramError(f"bcc does not compile what is in {source_dir}")
