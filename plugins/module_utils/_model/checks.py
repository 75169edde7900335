# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a VIP says of its checks and of its announcement, in its own form; reading it is checks_input's."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

CHECK_TYPES = ("tcp", "tls", "http", "https", "udp", "dns", "external")
ON_DOWN = ("purge", "keep")
LAST_RESORT = ("keep", "withdraw")


@dataclass(frozen=True)
class Probe:
    """What is asked of a real, and how often.

    `address`, `port`: where the probe goes, through the tunnel to the real; "" and 0: the VIP's own. `headers`: (name,
    value) sent with the request. `status`: codes that mean active; `drain_status`: codes that mean draining. `body`: a
    text that the answer has. `host`: Host and server name. `verify`: whether a certificate has to be trusted.
    `payload`, `expect`: bytes of udp, as hexadecimal digits; "" expects any answer. `query`, `record`: name and type
    asked of dns. Times in seconds.
    """

    type: str
    address: str = ""
    port: int = 0
    host: str = ""
    path: str = "/"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    status: tuple[int, ...] = (200,)
    drain_status: tuple[int, ...] = (503,)
    body: str = ""
    verify: bool = False
    payload: str = ""
    expect: str = ""
    query: str = ""
    record: str = "A"
    interval: float = 1.0
    timeout: float = 0.5
    fast_interval: float = 0.2
    fall: int = 4
    rise: int = 3


@dataclass(frozen=True)
class Check:
    """A VIP's check.

    `min_healthy`: per cent of the VIP's active weight that verdicts leave; `slow_start`: seconds in which the weight of
    a real that recovered grows; `on_down`: purge or keep the flows to a real that is down.
    """

    probe: Probe
    min_healthy: int = 50
    slow_start: float = 0.0
    on_down: str = "purge"

    def to_config(self) -> dict[str, t.Any]:
        """In config's own form: what is not the built-in default, and the type."""
        found: dict[str, t.Any] = {"type": self.probe.type}
        for part, plain in ((self.probe, Probe(self.probe.type)), (self, Check(Probe(self.probe.type)))):
            for item in fields(part):
                value = getattr(part, item.name)
                if item.name not in ("probe", "type") and value != getattr(plain, item.name):
                    found[item.name] = own_form(item.name, value)
        return found

    @classmethod
    def from_config(cls, config: Mapping[str, t.Any]) -> Check:
        """From its own form in state.json, which was validated when it was read."""
        probe = {name: _kept(name, value) for name, value in config.items() if name in _OF_PROBE}
        return cls(Probe(**probe), **{name: value for name, value in config.items() if name in _OF_CHECK})


@dataclass(frozen=True)
class Announce:
    """How a VIP is announced.

    `min_healthy`: as many reals have to be in; `communities`: of BGP; `last_resort`: what becomes of the announcement
    where reals' health alone speaks against it.
    """

    enabled: bool = True
    min_healthy: int = 1
    communities: tuple[str, ...] = ()
    last_resort: str = "keep"

    def to_config(self) -> dict[str, t.Any]:
        """In config's own form."""
        return {**asdict(self), "communities": list(self.communities)}

    @classmethod
    def from_config(cls, config: Mapping[str, t.Any]) -> Announce:
        """From its own form in state.json, which was validated when it was read."""
        own = {name: config[name] for name in _OF_ANNOUNCE if name in config}
        return cls(**{**own, "communities": tuple(config.get("communities", ()))})


_OF_PROBE = frozenset(item.name for item in fields(Probe))
_OF_CHECK = frozenset(item.name for item in fields(Check)) - {"probe"}
_OF_ANNOUNCE = tuple(item.name for item in fields(Announce))


def own_form(name: str, value: t.Any) -> t.Any:
    """A field's value as config has it."""
    if name == "headers":
        return dict(value)
    if name in ("status", "drain_status"):
        return in_ranges(value)
    if name in ("payload", "expect"):
        # Without it, digits would be read as a text.
        return f"hex:{value}" if value else ""
    return list(value) if isinstance(value, tuple) else value


def _kept(name: str, value: t.Any) -> t.Any:
    if name == "headers":
        return tuple(sorted(value.items()))
    if name in ("status", "drain_status"):
        return tuple(code for each in value for code in _codes(each))
    return value.removeprefix("hex:") if name in ("payload", "expect") else value


def _codes(each: int | str) -> Iterable[int]:
    first, _dash, last = str(each).partition("-")
    return range(int(first), int(last or first) + 1)


def in_ranges(codes: Sequence[int]) -> list[int | str]:
    """Sorted codes, of which three or more in a row are written as their first and last: 200-204."""
    found: list[int | str] = []
    row: list[int] = []
    for code in (*codes, 0):
        if row and code != row[-1] + 1:
            found += row if len(row) < _ROW else [f"{row[0]}-{row[-1]}"]
            row = []
        row.append(code)
    return found


_ROW = 3


class Target(t.NamedTuple):
    """What is probed: a service at a real, once, however many VIPs ask for it. `address`, `port`: the service's."""

    real: str
    address: str
    port: int
    probe: Probe
