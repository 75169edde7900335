# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in memory for tests of the engine: maps that can be stopped at any write, a state directory, and a reader
that decodes the maps' bytes with nothing of the engine's.
"""

from __future__ import annotations

import functools
import ipaddress
import struct
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.katran.fleet.plugins.module_utils._engine.recovery import recovered
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Clock, Gone, Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.tables import BalancerTableRun
from ansible_collections.katran.fleet.plugins.module_utils._engine.verdicts import VerdictRun
from ansible_collections.katran.fleet.plugins.module_utils._engine.vips import OverlayRun, VipRun
from ansible_collections.katran.fleet.plugins.module_utils._kernel.memory_maps import MemoryMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import StateFile
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import NO_VIP, MapSpec, balancer_maps
from ansible_collections.katran.fleet.plugins.module_utils._model.own_addresses import HostAddresses
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.plugins.module_utils._model.state import State
from ansible_collections.katran.fleet.plugins.module_utils._model.tables import TABLES
from ansible_collections.katran.fleet.plugins.module_utils._model.verdicts import Verdict
from ansible_collections.katran.fleet.plugins.module_utils._model.vip_index import indexed
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils.stored import SETTINGS

Entry = dict[str, t.Any]

# Katran's own bit of each flag, in the order of its balancer_consts.h; tests hold layout.VIP_FLAGS to it.
FLAG_BITS = [
    "hash_no_src_port",
    "no_lru",
    "quic",
    "hash_dst_port_only",
    "source_routing",
    "local",
    "global_lru",
    "hash_src_dst_port",
    "udp_stable_routing",
    "udp_flow_migration",
]
SIZES = {
    "vips": 6,
    "cidr_vips": 3,
    "reals": 10,
    "ring": 13,
    "source_routes": 6,
    "server_ids": 40,
    "flows": 100,
    "global_flows": 100,
    "source_filters": 8,
}
FEATURES = frozenset(
    [
        "source_routing",
        "udp_stable_routing",
        "udp_flow_migration",
        "cidr_vips",
        "global_lru",
        "inline_decap",
        "local_delivery",
    ]
)
NUMBERED = ("vip_map", "vip_lpm_map", "vip_lpm4_map")


@dataclass(frozen=True)
class Shape:
    """A balancer's settings, as far as its maps go."""

    sizes: Mapping[str, int]
    features: frozenset[str] = FEATURES
    encapsulation: str = "ipip"
    decap_any: bool = False

    @classmethod
    def of(cls, **sizes: int) -> Shape:
        return cls({**SIZES, **sizes})


class KilledError(BaseException):
    """What kill -9 is to a process: nothing that the engine could catch with `except Exception`."""


@dataclass
class Fuse:
    """Lets so many writes happen, then kills; calls `watch` after each."""

    left: int | None = None
    steps: int = 0
    watch: Callable[[], None] | None = None

    def before(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise KilledError
            self.left -= 1
        self.steps += 1

    def after(self) -> None:
        if self.watch is not None:
            self.watch()


class FusedMaps(MemoryMaps):
    """Maps in memory where every entry, every ring slot and every counter is a write of its own."""

    def __init__(self, shape: Shape, fuse: Fuse, specs: Iterable[MapSpec] | None = None) -> None:
        super().__init__(shape, specs)
        self.fuse = fuse
        self.counters: dict[str, dict[int, int]] = {}

    def put(self, name: str, entries: Sequence[tuple[bytes, bytes]]) -> None:
        for entry in entries:
            self.fuse.before()
            super().put(name, [entry])
            self.fuse.after()

    def delete(self, name: str, keys: Sequence[bytes]) -> None:
        for key in keys:
            self.fuse.before()
            super().delete(name, [key])
            self.fuse.after()

    def ring(self, number: int) -> memoryview:
        # The kernel's array of rings ends with the last VIP's.
        return super().ring(number) if number < self.capacity("server_id_stats") else memoryview(b"")

    def put_ring(self, number: int, slots: bytes, changed: int) -> None:
        live, new = self.ring(number), slots
        differing = [at for at in range(0, len(new), 8) if live[at : at + 8] != new[at : at + 8]]
        # An operation announces its slots exactly: `operations` is the sum of what it announces.
        assert len(differing) == changed
        for at in differing:
            self.fuse.before()
            live[at : at + 8] = new[at : at + 8]
            self._written("ch_rings", 1)
            self.fuse.after()

    def put_down_set(self, key: bytes, ids: frozenset[int]) -> None:
        self.fuse.before()
        super().put_down_set(key, ids)
        self.fuse.after()

    def delete_down_set(self, key: bytes) -> None:
        self.fuse.before()
        super().delete_down_set(key)
        self.fuse.after()

    def purge_flows(self, ids: frozenset[int]) -> int:
        self.fuse.before()
        return super().purge_flows(ids)

    def zero_counters(self, name: str, indexes: Iterable[int]) -> None:
        for index in indexes:
            self.fuse.before()
            self.counters.get(name, {}).pop(index, None)


class MemoryFile(StateFile):
    """A state directory in memory: the texts are the real ones, and a process may die before and after each rename."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__("blue", "/sys/fs/bpf", "/nowhere")
        self.fuse = fuse
        self.files: dict[str, str] = {}

    def read(self) -> State:
        text = self.files.get("state.json")
        return State(self.instance, self.bpffs, lost=True) if text is None else State.from_json(text, self.path)

    def read_file(self, name: str) -> str | None:
        return self._remembered.get(name, self.files.get(name))

    def write_file(self, name: str, text: str) -> None:
        self.fuse.before()
        self.files[name] = text

    def sweep(self) -> None:
        """There are no temporary files."""

    def reopened(self) -> MemoryFile:
        """The same files for another process."""
        other = MemoryFile(self.fuse)
        other.files = self.files
        return other


@dataclass
class Host:
    """One balancer in memory, with its settings on file as module balancer leaves them."""

    shape: Shape = field(default_factory=Shape.of)
    fuse: Fuse = field(default_factory=Fuse)
    more: Sequence[MapSpec] = ()
    """Maps that its program has beside a balancer's."""
    addresses: HostAddresses = field(default_factory=HostAddresses)
    purged: list[tuple[str, frozenset[int]]] = field(default_factory=list)
    """(VIP, ids of reals) whose flows were purged for what checks said."""

    def __post_init__(self) -> None:
        self.maps = FusedMaps(self.shape, self.fuse, [*balancer_maps(self.shape).values(), *self.more])
        self.file = MemoryFile(self.fuse)
        settings = {
            **SETTINGS,
            "sizes": dict(self.shape.sizes),
            "features": sorted(self.shape.features),
            "encapsulation": self.shape.encapsulation,
        }
        self.file.write(State("blue", "/sys/fs/bpf", settings=settings))
        self.fuse.steps = 0

    def run(
        self,
        resource: str,
        config: Sequence[Entry] | None,
        state: str = "overridden",
        allow_empty: bool = True,
        check: bool = False,
        **asked: t.Any,
    ) -> Result:
        """One run of the resource's module, as apply_locked does it but for the lock and the kernel."""
        request = Request("blue", "/sys/fs/bpf", 1, check)
        self.file = self.file.reopened()
        known, clock = recovered(self.file, self.file.read(), self.maps), Clock()
        if resource == "vips":
            run: t.Any = VipRun(request, self.maps, self.file, known, clock, lambda: self.addresses)
        elif resource == "reals":
            run = OverlayRun(request, self.maps, self.file, known, clock)
        elif resource == "verdicts":
            run = VerdictRun(request, self.maps, self.file, known, clock)
            run.told = [Verdict(**entry) for entry in config or ()]
            config = None
        else:
            run = BalancerTableRun(TABLES[resource], request, self.maps, self.file, known, clock)
        if isinstance(run, VipRun):
            run.purge = self.purge
        return t.cast(Result, run.run(Asked(config, state, allow_empty, **asked)))

    def purge(self, gone: Iterable[Gone], check: bool) -> dict[str, int]:
        """Note whose flows are to go; it is one write, and says that each had one."""
        gone = list(gone)
        if not check:
            self.fuse.before()
            self.purged += [(str(vip), ids or frozenset()) for vip, ids in gone]
        return {"lru_mapping": len(gone)}

    def check(
        self, resource: str, config: Sequence[Entry] | None, state: str = "overridden", allow_empty: bool = True
    ) -> Result:
        """The same in check mode."""
        return self.run(resource, config, state, allow_empty, check=True)

    def killed(self, after: int, resource: str, config: Sequence[Entry] | None, state: str = "overridden") -> bool:
        """One run that is killed after so many writes; False where it ended before."""
        self.fuse.left = after
        try:
            self.run(resource, config, state)
        except KilledError:
            return True
        finally:
            self.fuse.left = None
        return False

    def everything(self) -> t.Any:
        """All maps and files, for comparison."""
        return self.maps.snapshot(), dict(self.file.files)

    @property
    def state(self) -> State:
        return self.file.read()

    def actual(self) -> Actual:
        return decode(self.maps)


@dataclass
class Actual:
    """What the maps say, decoded.

    `vips`: VIP (as text) → (flags, number, slots as real addresses or None, down reals). `reals`: id → (address,
    local). `tables`: map → key → real's address (decap_dst: flags).
    """

    vips: dict[str, tuple[frozenset[str], int, tuple[str | None, ...], frozenset[str]]]
    reals: dict[int, tuple[str, bool]]
    addresses: frozenset[str]
    cidr_keys: dict[int, bytes]
    rings: dict[int, tuple[int, ...]]
    tables: dict[str, dict[str, t.Any]]


def _text(packed: bytes, ipv6: bool) -> str:
    return str(ipaddress.ip_address(bytes(packed[: 16 if ipv6 else 4])))


def _slots(ring: memoryview | bytes) -> tuple[int, ...]:
    data = bytes(ring)
    assert not any(any(data[at + 4 : at + 8]) for at in range(0, len(data), 8)), "padding of a slot is not zero"
    return tuple(struct.unpack_from("=I", data, at)[0] for at in range(0, len(data), 8))


def _endpoint(address: str, port: int, protocol: int) -> str:
    return f"{f'[{address}]' if ':' in address else address}:{port}/{ {6: 'tcp', 17: 'udp'}[protocol] }"


def _vip_key(name: str, key: bytes) -> tuple[str, bytes, int, int]:
    """(address or prefix, 16 packed bytes, port, protocol)."""
    if name == "vip_map":
        packed, port, protocol, pad = key[:16], *struct.unpack(">HBB", key[16:])
        assert pad == 0
        return _text(packed, any(packed[4:])), packed, port, protocol
    length = struct.unpack_from("=I", key)[0] - 32
    port, protocol, pad = struct.unpack_from(">HBB", key, 4)
    assert pad == 0
    ipv6 = name == "vip_lpm_map"
    assert len(key) == (24 if ipv6 else 12)
    return f"{_text(key[8:], ipv6)}/{length}", key[8:].ljust(16, b"\0"), port, protocol


def _prefix(key: bytes, ipv6: bool) -> str:
    return f"{_text(key[4:], ipv6)}/{struct.unpack_from('=I', key)[0]}"


def decode(maps: MemoryMaps) -> Actual:
    """Read everything with struct and ipaddress alone."""
    reals = {}
    for key, value in maps.entries("reals").items():
        assert value[17:] == b"\0\0\0"
        reals[struct.unpack("=I", key)[0]] = (_text(value, bool(value[16] & 1)), bool(value[16] & 2))

    def name_of(real: int) -> str | None:
        return None if real == 0 else reals[real][0] if real in reals else f"absent {real}"

    down = maps.down_sets() if "vip_to_down_reals_map" in maps.names() else {}
    vips, rings, seen = {}, {}, set()
    for name in NUMBERED:
        for key, value in maps.entries(name).items() if name in maps.names() else ():
            address, packed, port, protocol = _vip_key(name, key)
            flags, number = struct.unpack("=II", value)
            seen.add(number)
            definition = struct.pack(">16sHBx", packed, port, protocol)
            vips[_endpoint(address, port, protocol)] = (
                frozenset(flag for bit, flag in enumerate(FLAG_BITS) if flags >> bit & 1),
                number,
                tuple(name_of(real) for real in _slots(maps.ring(number))),
                frozenset(str(name_of(real)) for real in down.get(definition, ())),
            )
    assert len(seen) == len(vips), "two VIPs with one number"
    for number in range(maps.capacity("server_id_stats")):
        slots = _slots(maps.ring(number))
        if any(slots):
            rings[number] = slots
    addresses = {_text(key, any(key[4:])) for key in maps.entries("vip_addresses")}
    for name in ("vip_address_lpm4", "vip_address_lpm6"):
        if name in maps.names():
            addresses |= {_prefix(key, name.endswith("6")) for key in maps.entries(name)}
    tables: dict[str, dict[str, t.Any]] = {}
    for name in ("lpm_src_v4", "lpm_src_v6"):
        if name in maps.names():
            tables[name] = {
                _prefix(key, name.endswith("6")): name_of(struct.unpack("=I", value)[0])
                for key, value in maps.entries(name).items()
            }
    tables["server_id_map"] = {
        str(struct.unpack("=I", key)[0]): name_of(struct.unpack("=I", value)[0])
        for key, value in maps.entries("server_id_map").items()
    }
    if "decap_dst" in maps.names():
        tables["decap_dst"] = {
            _text(key, any(key[4:])): struct.unpack("=I", value)[0] for key, value in maps.entries("decap_dst").items()
        }
    keys = maps.entries("cidr_vip_keys") if "cidr_vip_keys" in maps.names() else {}
    return Actual(
        vips,
        reals,
        frozenset(addresses),
        {struct.unpack("=I", key)[0]: value for key, value in keys.items()},
        rings,
        tables,
    )


@functools.lru_cache(maxsize=1 << 14)
def _ring(members: tuple[tuple[str, int], ...], size: int, kind: str) -> tuple[str, ...]:
    return tuple(members[index][0] for index in build_ring(members, size, kind))


def key_of(vip: Entry) -> str:
    return _endpoint(vip["address"], vip["port"], {"tcp": 6, "udp": 17}[vip["protocol"]])


def active(vip: Entry, overlay: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """(address, weight) of a full config entry's reals that take new flows, in the order that ties are broken in."""
    return tuple(
        sorted(
            (real["address"], real["weight"])
            for real in vip["reals"]
            if real["weight"] and overlay.get(real["address"], real["state"]) == "active"
        )
    )


def down_of(vip: Entry, overlay: Mapping[str, str]) -> frozenset[str]:
    """What the VIP's down set should hold."""
    if "udp_flow_migration" not in vip["flags"]:
        return frozenset()
    down = {real["address"] for real in vip["reals"] if overlay.get(real["address"], real["state"]) == "down"}
    return frozenset(down | set(vip["down_reals"]))


def referred(vips: Iterable[Entry]) -> dict[str, bool]:
    """Every real of full config entries → whether it is local."""
    found: dict[str, bool] = {}
    for vip in vips:
        for real in vip["reals"]:
            found[real["address"]] = found.get(real["address"], False) or real["local"]
        for address in vip["down_reals"]:
            found.setdefault(address, False)
    return found


def assert_vips(
    host: Host, vips: Sequence[Entry], overlay: Mapping[str, str] | None = None, others: Iterable[str] = ()
) -> None:
    """The maps say exactly what these full config entries say."""
    overlay = overlay or {}
    actual = host.actual()
    size = host.shape.sizes["ring"]
    wanted = {}
    for vip in vips:
        members = active(vip, overlay)
        ring: tuple[str | None, ...] = _ring(members, size, vip["hash"]) if members else (None,) * size
        wanted[key_of(vip)] = (frozenset(vip["flags"]), ring, down_of(vip, overlay))
    assert {key: (flags, ring, down) for key, (flags, _number, ring, down) in actual.vips.items()} == wanted
    refs = referred(vips)
    for address in others:
        refs.setdefault(address, False)
    assert dict(actual.reals.values()) == refs
    assert len(actual.reals) == len(refs), "a real under two ids"
    assert 0 not in actual.reals
    assert actual.addresses == {vip["address"] for vip in vips}
    if "cidr_vip_keys" in host.maps.names():
        assert set(actual.cidr_keys) == {number for key, (_f, number, _r, _d) in actual.vips.items() if "/" in key[:-4]}
    learn_nothing = {number for flags, number, _r, _d in actual.vips.values() if "hash_dst_port_only" in flags}
    assert {struct.unpack("=I", key)[0] for key in host.maps.entries("vip_learned")} <= learn_nothing
    # No ring but a VIP's, and no set but a VIP's.
    assert set(actual.rings) <= {number for _flags, number, _ring_, _down in actual.vips.values()}
    assert len(host.maps.down_sets()) == sum(bool(down_of(vip, overlay)) for vip in vips)


def assert_tables(host: Host, world: Mapping[str, Sequence[Entry]]) -> None:
    """The tables hold exactly these config entries."""
    tables = host.actual().tables
    routes = {entry["prefix"]: entry["real"] for entry in world["source_routes"]}
    assert {**tables["lpm_src_v4"], **tables["lpm_src_v6"]} == routes
    assert not any(":" in prefix for prefix in tables["lpm_src_v4"])
    assert tables["server_id_map"] == {str(entry["id"]): entry["real"] for entry in world["server_ids"]}
    assert tables["decap_dst"] == {
        entry["address"]: 2 if entry["egress"] else 0 for entry in world["decap_destinations"]
    }


def assert_safe(maps: MemoryMaps, allowed: Mapping[str, frozenset[str]]) -> None:
    """No slot leads to an absent real, a VIP's slots lead to reals that it has or had, and an index knows all VIPs.

    `allowed`: VIP → the addresses of those.
    """
    actual = decode(maps)
    for number, slots in actual.rings.items():
        absent = {real for real in slots if real and real not in actual.reals}
        assert not absent, f"ring {number} leads to absent reals {absent}"
    for key, (_flags, number, ring, _down) in actual.vips.items():
        strange = {address for address in ring if address is not None} - allowed.get(key, frozenset())
        assert not strange, f"vip {key} (number {number}) leads to {strange}"
    index = maps.index()
    if index is not None:
        vips, slots = maps.entries("vip_map"), maps.capacity("vip_index")
        assert {key: indexed(index, key, slots) for key in vips} == vips
        found = {slot[:20] for slot in index.values() if slot[:20] != NO_VIP}
        assert found == {*vips, *(address + b"\0\0\0\xff" for address in maps.entries("vip_addresses"))}
    for name in ("lpm_src_v4", "lpm_src_v6", "server_id_map"):
        for key, address in actual.tables.get(name, {}).items():
            assert not (address or "absent").startswith("absent"), f"{name} {key} leads to {address}"
