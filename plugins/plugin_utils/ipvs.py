# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What IPVS balances, as its kernel or keepalived.conf say it, and what of that has no equivalent. Pure: no I/O."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass, field

from ansible_collections.katran.fleet.plugins.module_utils._model.faults import some
from ansible_collections.katran.fleet.plugins.module_utils._model.written import visible

MAX_TEXT = 16 << 20
"""As many bytes of text are read of one source; more is none of a balancer's configuration."""

_LONGEST = 120


class Place(t.NamedTuple):
    """Where something stands: name of a file, and a line from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Key(t.NamedTuple):
    """What a service is named by: canonical address, port (0: any) and protocol, or a mark of firewalls (not 0)."""

    address: str
    port: int
    protocol: str
    mark: int = 0

    def __str__(self) -> str:
        if self.mark:
            return f"fwmark {self.mark}"
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}/{self.protocol}"


def read_mark(text: str) -> int:
    """A mark of firewalls, 1 to 2^32 - 1 in decimal; 0 where a text is none."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 11 else 0
    return number if number < 1 << 32 else 0


class Server(t.NamedTuple):
    """One real of a service. `method`: NAT, DR or TUN; `check`: the options of a check, empty where there is none."""

    address: str
    port: int
    weight: int
    place: Place
    method: str = ""
    check: Mapping[str, t.Any] = {}

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if ":" not in self.address else f"[{self.address}]:{self.port}"


@dataclass
class Service:
    """One virtual service.

    `flags`: of its scheduler, and `ops`; `persistence`: seconds, 0 where there is none; `quorum`: of weight;
    `sorry`: the address of the server that stands in where no other does; `tunnel`: ipip or gue, and `tunnel_port`.
    """

    key: Key
    place: Place
    scheduler: str = "wlc"
    flags: list[str] = field(default_factory=list)
    persistence: int = 0
    quorum: int = 1
    sorry: str = ""
    tunnel: str = ""
    tunnel_port: int = 0
    servers: list[Server] = field(default_factory=list)


class Remark(t.NamedTuple):
    """Something that became nothing, or something else: what it was, what that means, and what to do."""

    subject: str
    meaning: str
    remedy: str


class Remarks:
    """What is told of what was read, each thing once with all its places."""

    def __init__(self) -> None:
        # In the order in which they came, each once.
        self._places: dict[Remark, dict[str, None]] = {}

    def add(self, place: Place | str, subject: str, meaning: str, remedy: str = "") -> None:
        """Tell something. `subject`: as it stands there, whatever characters it has."""
        shown = visible(subject)
        cut = f"{shown[:_LONGEST]}…" if len(shown) > _LONGEST else shown
        self._places.setdefault(Remark(cut, meaning, remedy), {})[str(place)] = None

    @property
    def told(self) -> list[dict[str, t.Any]]:
        """Each thing with its places, meaning and remedy, for programs."""
        return [{"places": list(places), **remark._asdict()} for remark, places in self._places.items()]

    @property
    def sentences(self) -> list[str]:
        """Each thing in a sentence that begins with its places, for people."""
        return [
            f"{some(list(places), 4)}: {remark.subject}: {remark.meaning}"
            + (f"; {remark.remedy}" if remark.remedy else "")
            for remark, places in self._places.items()
        ]
