# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a balancer's maps this moment, read from outside of it, in fractions of a millisecond."""

from __future__ import annotations

import mmap
import os
import sys
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleetlab import cgroup
from fleetlab.plan import PROJECT, Host, Lab, LabError

_SLOT = 8


def _engine() -> tuple[Any, Any]:
    """The engine's modules of bpf(2) and of layouts."""
    path = str(PROJECT / "collections")
    if path not in sys.path:
        sys.path.append(path)
    from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
    from ansible_collections.katran.fleet.plugins.module_utils._model import layout

    return bpf, layout


def root_of(lab: Lab, host: Host) -> Path:
    """The host's root directory, as its process 1 sees it."""
    for found in sorted(cgroup.host_group(lab, host).glob("**/init.scope/cgroup.procs")):
        for number in found.read_text(encoding="ascii").split():
            root = Path(f"/proc/{number}/root")
            if (root / "sys/fs/bpf").exists():
                return root
    raise LabError(f"host {host.name} has no process 1")


class Rings:
    """The rings of a balancer. `sizes`: of the module's option, as far as they are not its defaults."""

    def __init__(self, lab: Lab, host: Host) -> None:
        self._bpf, self._layout = _engine()
        self._maps = root_of(lab, host) / "sys/fs/bpf/katran/default/maps"
        with self._open("ch_rings") as opened, self._open("server_id_stats") as numbers:
            self.size = opened.info.entries // numbers.info.entries
            self._memory: mmap.mmap = opened.mmap(writable=False)
        self._slots = memoryview(self._memory).cast("Q")

    def _open(self, name: str) -> Any:
        return self._bpf.open_map(os.fspath(self._maps / name))

    def close(self) -> None:
        self._slots.release()
        self._memory.close()

    def numbers(self, port: int, protocol: int = 6) -> list[int]:
        """The numbers of the VIPs of a port."""
        found = []
        with self._open("vip_map") as opened:
            for key, value in opened.items():
                _address, at, kind = self._layout.parse_vip_definition(key)
                if (at, kind) == (port, protocol):
                    found.append(self._layout.parse_vip_meta(value)[1])
        return found

    def ids(self, addresses: Iterable[str]) -> set[int]:
        """The ids of these reals."""
        wanted = {self._layout.pack_address(address) for address in addresses}
        with self._open("reals") as opened:
            return {
                self._layout.parse_u32(key)
                for key, value in opened.items()
                if self._layout.parse_real_definition(value)[0] in wanted
            }

    def has(self, numbers: Iterable[int], ids: set[int]) -> bool:
        """Whether any slot of these VIPs' rings leads to one of these reals."""
        for number in numbers:
            ring = self._slots[number * self.size : (number + 1) * self.size].tobytes()
            if not ids.isdisjoint(array("Q", ring)):
                return True
        return False

    def count(self, number: int, ids: set[int]) -> int:
        """How many slots of a VIP's ring lead to these reals."""
        ring = array("Q", self._slots[number * self.size : (number + 1) * self.size].tobytes())
        return sum(ring.count(each) for each in ids)


@contextmanager
def rings_of(lab: Lab) -> Iterator[dict[str, Rings]]:
    """Balancer → its rings."""
    found = {host.name: Rings(lab, host) for host in lab.with_role("balancer")}
    try:
        yield found
    finally:
        for each in found.values():
            each.close()
