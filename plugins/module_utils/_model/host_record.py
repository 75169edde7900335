# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's settings are to be at boot, and what they were before they were ours: the content of host.json."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field

from .errors import StateError
from .host_plan import RealHost

SCHEMA = 1


@dataclass(frozen=True)
class HostRecord:
    """`real`: the settings of the last run. `before`: parameter or interface → its value before the first run."""

    real: RealHost | None = None
    before: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The file's text."""
        real = None
        if self.real is not None:
            vips = None if self.real.vips is None else list(self.real.vips)
            real = {"interfaces": list(self.real.interfaces), "mtu": self.real.mtu, "mss": self.real.mss, "vips": vips}
        return json.dumps({"schema": SCHEMA, "real": real, "before": self.before}, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, path: str) -> HostRecord:
        """Read the file's text; StateError names the file and what is wrong."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise _damaged(path, f"it is no JSON ({error})") from error
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise _damaged(path, f"schema: it is not {SCHEMA}")
        before = data.get("before")
        if not isinstance(before, dict) or not all(isinstance(value, str) for value in before.values()):
            raise _damaged(path, "before: it is no mapping of texts")
        return cls(None if data.get("real") is None else _read_real(data["real"], path), before)


def _read_real(real: t.Any, path: str) -> RealHost:
    if not isinstance(real, dict):
        raise _damaged(path, "real: it is no mapping")
    for name in ("interfaces", "vips"):
        value = real.get(name)
        if value is None and name == "vips":
            continue
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _damaged(path, f"real.{name}: it is no list of texts")
    for name in ("mtu", "mss"):
        value = real.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 65535:
            raise _damaged(path, f"real.{name}: it is not in 0 to 65535")
    vips = None if real.get("vips") is None else tuple(real["vips"])
    return RealHost(tuple(real["interfaces"]), real["mtu"], real["mss"], vips)


def _damaged(path: str, fault: str) -> StateError:
    return StateError(f"{path} is damaged: {fault}; move it away, and the next run compares the host anew")
