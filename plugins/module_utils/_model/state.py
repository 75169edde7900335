# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel cannot say back about a balancer: the content of state.json."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field, fields

from .errors import StateError
from .ids import Ids

SCHEMA = 1


def _real_ids() -> Ids:
    return Ids(1)


def _vip_numbers() -> Ids:
    return Ids(0)


@dataclass
class State:
    """Everything of one balancer that its maps cannot say back.

    `settings`: the options of module balancer. `vips`, `overlay`: the last applied configuration, in config's own
    form; resources that may be large have a file of their own. `references`: resource → the reals it refers to.
    `rings`: VIP → [digest of the ring's inputs, digest of its slots in the map]. `program`: what is loaded, and where.
    `learned`: the names of all VIPs that ever learned flows; `learning`: of those that a run was about to make visible.
    `interrupted`: the resources whose run began to write and has not ended.
    `recovered`: the file was lost and is made of what the kernel showed, until all VIPs are told.
    """

    instance: str
    bpffs: str
    settings: dict[str, t.Any] = field(default_factory=dict)
    program: dict[str, t.Any] = field(default_factory=dict)
    vips: list[dict[str, t.Any]] = field(default_factory=list)
    overlay: list[dict[str, t.Any]] = field(default_factory=list)
    references: dict[str, list[str]] = field(default_factory=dict)
    real_ids: Ids = field(default_factory=_real_ids)
    vip_numbers: Ids = field(default_factory=_vip_numbers)
    rings: dict[str, list[str]] = field(default_factory=dict)
    learned: list[str] = field(default_factory=list)
    learning: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    recovered: bool = False
    lost: bool = field(default=False, compare=False)

    def to_json(self, vips: str | None = None) -> str:
        """The file's text: one line per top-level key, so that it can be read and diffed.

        `vips`: the text of the VIPs where the caller has it; of all, they take the longest to write down.
        """
        lines = [f'"schema": {SCHEMA}']
        for name in (item.name for item in fields(self) if item.name != "lost"):
            value = getattr(self, name)
            text = vips if name == "vips" and vips is not None else json.dumps(value, default=vars)
            lines.append(f'"{name}": {text}')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def begun(self, resource: str) -> list[str]:
        """`interrupted` while a resource's run writes."""
        return sorted({*self.interrupted, resource})

    def ended(self, resource: str) -> list[str]:
        """`interrupted` once it has."""
        return [name for name in self.interrupted if name != resource]

    def is_sure_of(self, resource: str) -> bool:
        """Whether what a resource's own maps have beside this was somebody else's doing."""
        return not self.lost and resource not in self.interrupted

    @property
    def is_sure(self) -> bool:
        """Whether that holds for the reals, which all resources share."""
        return not (self.lost or self.interrupted)

    @classmethod
    def from_json(cls, text: str, path: str) -> State:
        """Read the file's text; StateError says why it is none."""
        try:
            data = json.loads(text)
            schema = data.pop("schema")
            if schema != SCHEMA:
                raise StateError(f"{path} has schema {schema}, but this version of katran.fleet reads schema {SCHEMA}")
            for name in ("real_ids", "vip_numbers"):
                data[name] = Ids(**data[name])
            known = {item.name for item in fields(cls)}
            return cls(**{key: value for key, value in data.items() if key in known})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(path, error) from error


def damaged(path: str, error: Exception) -> StateError:
    """What to say of a file that cannot be one of ours."""
    return StateError(f"{path} is damaged ({error}): move it away, and the next run adopts what the kernel has")
