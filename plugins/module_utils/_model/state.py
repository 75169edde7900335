# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel cannot say back about a balancer: the content of state.json."""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict, dataclass, field, fields, replace

from .errors import ConfigError, StateError
from .ids import Ids
from .map_specs import DEFAULT_SIZES
from .records import (
    Fault,
    Fields,
    Optional,
    Reader,
    address,
    damaged,
    distinct,
    flag,
    interface,
    mac,
    many,
    mapping,
    maybe,
    named,
    number,
    parse_record,
    path,
    read_fields,
    record,
    shown,
    text,
    word,
)
from .settings import parse_settings
from .snapshot import RootArray
from .stored_vips import stored_vips, vip_name
from .vips import REAL_STATES

SCHEMA = 1
_LARGEST = 0xFFFFFFFF
"""The maps hold ids and numbers as u32."""


def _real_ids() -> Ids:
    return Ids(1)


def _vip_numbers() -> Ids:
    return Ids(0)


@dataclass(frozen=True)
class Previous:
    """The program that can be gone back to. `migrated`: the maps that its successor has in other sizes."""

    source_digest: str | None
    tag: str | None
    settings: dict[str, t.Any]
    migrated: str


@dataclass(frozen=True)
class Coming:
    """The program that is to take another's place: what the record says of it once it has.

    `id`: the kernel's. `rings`: digests that change. `moves`: whether the present program becomes the previous one.
    """

    id: int
    tag: str
    source_digest: str
    settings: dict[str, t.Any]
    interfaces: list[str]
    slot: RootArray | None
    rings: dict[str, list[str]]
    moves: bool
    previous: Previous | None
    rolled_back_from: str | None = None

    def told(self, program_id: int, tag: str, source_digest: str, rings: dict[str, list[str]]) -> Coming:
        """With what only its loading and migration tell."""
        return replace(self, id=program_id, tag=tag, source_digest=source_digest, rings=rings)

    def to_data(self) -> dict[str, t.Any]:
        """The file's form."""
        return {**asdict(self), "slot": self.slot._asdict() if self.slot else None}


@dataclass(frozen=True)
class Foreign:
    """A Katran that is not ours, whose place our program took: it is held, so that it can be gone back to.

    `id`, `tag`: the kernel's; `interfaces`: interface → mode; `slot`: of root's array. `copied`: whether all of its
    flows were copied, those too that it learned until it was replaced; `returned`: whether it was gone back to by hand.
    """

    id: int
    tag: str
    interfaces: dict[str, str]
    slot: RootArray | None = None
    copied: bool = False
    returned: bool = False

    def to_data(self) -> dict[str, t.Any]:
        """The file's form."""
        return {**asdict(self), "slot": self.slot._asdict() if self.slot else None}


@dataclass
class ProgramRecord:
    """What is loaded, and where: empty where nothing is.

    `generic`: interface → why it has the program in generic mode. `rolled_back_from`: the source digest of the program
    that was rolled back by hand. `foreign`: the Katran in whose place it runs, or ran.
    """

    tag: str | None = None
    source_digest: str | None = None
    interfaces: list[str] = field(default_factory=list)
    slot: RootArray | None = None
    gateway_mac: str | None = None
    generic: dict[str, str] = field(default_factory=dict)
    previous: Previous | None = None
    rolled_back_from: str | None = None
    next: Coming | None = None
    foreign: Foreign | None = None

    def to_data(self) -> dict[str, t.Any]:
        """The file's form: what is empty is left out."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        found["slot"] = self.slot._asdict() if self.slot else None
        found["previous"] = asdict(self.previous) if self.previous else None
        found["next"] = self.next.to_data() if self.next else None
        found["foreign"] = self.foreign.to_data() if self.foreign else None
        return {name: value for name, value in found.items() if value}


@dataclass
class State:
    """Everything of one balancer that its maps cannot say back.

    `settings`: the options of module balancer. `vips`, `overlay`: the last applied configuration, in config's own
    form; resources that may be large have a file of their own. `ended_words`: reals of which a word ended that was said
    of the fleet, and when. `references`: resource → the reals it refers to.
    `verdicts`: what checks said of reals, as last applied.
    `rings`: VIP → [digest of the ring's inputs, digest of its slots in the map]. `program`: what is loaded, and where.
    `learned`: the names of all VIPs that ever learned flows; `learning`: of those that a run was about to make visible.
    `interrupted`: the resources whose run began to write and has not ended.
    `recovered`: the file was lost and is made of what the kernel showed, until all VIPs are told.
    """

    instance: str
    bpffs: str
    settings: dict[str, t.Any] = field(default_factory=dict)
    program: ProgramRecord = field(default_factory=ProgramRecord)
    vips: list[dict[str, t.Any]] = field(default_factory=list)
    overlay: list[dict[str, t.Any]] = field(default_factory=list)
    ended_words: list[dict[str, t.Any]] = field(default_factory=list)
    verdicts: list[dict[str, t.Any]] = field(default_factory=list)
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
            value = self.program.to_data() if name == "program" else getattr(self, name)
            written = vips if name == "vips" and vips is not None else json.dumps(value, default=vars)
            lines.append(f'"{name}": {written}')
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

    def real_id(self, address: str) -> int:
        """The id of a real that takes flows. StateError where the file lost it."""
        return self._known(self.real_ids, "real_ids", address)

    def vip_number(self, name: str) -> int:
        """The number of a VIP that has a ring. StateError where the file lost it."""
        return self._known(self.vip_numbers, "vip_numbers", name)

    def _known(self, ids: Ids, field_: str, key: str) -> int:
        if key not in ids.assigned:
            raise damaged(f"state.json of balancer {self.instance}", Fault(f"{field_}.assigned", f"{key} is missing"))
        return ids.assigned[key]

    @classmethod
    def from_json(cls, source: str, path: str) -> State:
        """Read the file's text; StateError names the file and the field at fault."""

        def read(value: t.Any, where: str) -> State:
            schema = mapping(value, where).get("schema")
            if isinstance(schema, int) and schema != SCHEMA:
                found = shown(schema)
                raise StateError(f"{path} has schema {found}, but this version of katran.fleet reads schema {SCHEMA}")
            if schema != SCHEMA:
                raise Fault("schema", f"{shown(schema)} is not {SCHEMA}")
            return _read_state(value, where)

        return parse_record(source, path, read)


# How each field is read


def _sizes(value: t.Any, where: str) -> dict[str, int]:
    # What earlier versions wrote has fewer.
    readers: dict[str, t.Any] = dict.fromkeys(DEFAULT_SIZES, number(1, _LARGEST))
    return read_fields(value, where, {**readers, "source_filters": Optional(readers["source_filters"])})


def _forwarding_cores(value: t.Any, where: str) -> t.Any:
    return value if value == "auto" else many(number(0, _LARGEST))(value, where)


_SLOT = maybe(record(RootArray, path=path, position=number(0, 2)))
_COUNT = number(1, _LARGEST)
_OPTIONS: Fields = {
    "state": word("attached", "loaded"),
    "interfaces": distinct(text),
    "mode": text,
    "source_dir": path,
    "encapsulation": text,
    "gue_port": _COUNT,
    "features": many(text),
    "source_ipv4": text,
    "source_ipv6": text,
    "source_prefix_ipv4": text,
    "source_prefix_ipv6": text,
    "gateway_mac": text,
    "copy_tos": flag,
    "decap_any": flag,
    "decap_sources": Optional(distinct(text)),
    "sizes": _sizes,
    "max_frame": _COUNT,
    "max_new_flows": _COUNT,
    "udp_timeout": _COUNT,
    "forwarding_cores": _forwarding_cores,
    "replace_foreign": flag,
    "root_array": Optional(_SLOT),
    "numa": Optional(text),
}


def stored_settings(value: t.Any, where: str) -> dict[str, t.Any]:
    """The options of module balancer in its own form, with `source_dir` and `state`."""
    read_fields(value, where, _OPTIONS)
    try:
        parse_settings(value)
    except ConfigError as error:
        # The first of what may be many faults.
        name, _colon, sentence = str(error).partition("; ")[0].partition(": ")
        raise Fault(f"{where}.{name}", sentence) from error
    return t.cast("dict[str, t.Any]", value)


def _ids(first: int) -> Reader[Ids]:
    ordinal = number(first, _LARGEST)

    def assigned(value: t.Any, where: str) -> dict[str, int]:
        found = named(ordinal)(value, where)
        if len(set(found.values())) < len(found):
            owners: dict[int, str] = {}
            for key, each in found.items():
                if each in owners:
                    raise Fault(where, f"{owners[each]} and {key} both have {each}")
                owners[each] = key
        return found

    return record(Ids, first=number(first, first), assigned=assigned, quarantine=distinct(ordinal))


def _rings(value: t.Any, where: str) -> dict[str, list[str]]:
    found = named(many(text))(value, where)
    for name, digests in found.items():
        if len(digests) != 2:
            raise Fault(f"{where}.{name}", f"{len(digests)} digests, not 2")
    return found


_OVERLAID: Fields = {
    "address": address,
    "state": word(*REAL_STATES),
    "since": Optional(text),
    "fleet": Optional(flag),
}
_ENDED: Fields = {"address": address, "since": text}


def _ended(value: t.Any, where: str) -> list[dict[str, t.Any]]:
    return many(lambda entry, place: read_fields(entry, place, _ENDED))(value, where)


def _overlay(value: t.Any, where: str) -> list[dict[str, t.Any]]:
    found = many(lambda entry, place: read_fields(entry, place, _OVERLAID))(value, where)
    seen = set()
    for index, entry in enumerate(found):
        if entry["address"] in seen:
            raise Fault(f"{where}[{index}]", f"{entry['address']} is listed twice")
        seen.add(entry["address"])
    return found


_VERDICT: Fields = {
    "vip": vip_name,
    "real": address,
    "state": word(*REAL_STATES),
    "since": text,
    "reason": text,
    "share": number(0, 100),
}


def _verdicts(value: t.Any, where: str) -> list[dict[str, t.Any]]:
    found = many(lambda entry, place: read_fields(entry, place, _VERDICT))(value, where)
    seen = set()
    for index, entry in enumerate(found):
        if (entry["vip"], entry["real"]) in seen:
            raise Fault(f"{where}[{index}]", f"{entry['real']} of {entry['vip']} is listed twice")
        seen.add((entry["vip"], entry["real"]))
    return found


_PREVIOUS = record(Previous, source_digest=maybe(text), tag=maybe(text), settings=stored_settings, migrated=text)
_COMING = record(
    Coming,
    id=number(1, _LARGEST),
    tag=text,
    source_digest=text,
    settings=stored_settings,
    interfaces=distinct(interface),
    slot=_SLOT,
    rings=_rings,
    moves=flag,
    previous=maybe(_PREVIOUS),
    rolled_back_from=Optional(maybe(text)),
)
_FOREIGN = record(
    Foreign, id=number(1, _LARGEST), tag=text, interfaces=named(text), slot=_SLOT, copied=flag, returned=flag
)
_PROGRAM = record(
    ProgramRecord,
    tag=Optional(maybe(text)),
    source_digest=Optional(maybe(text)),
    interfaces=Optional(distinct(interface)),
    slot=Optional(_SLOT),
    gateway_mac=Optional(maybe(mac)),
    generic=Optional(named(text)),
    previous=Optional(maybe(_PREVIOUS)),
    rolled_back_from=Optional(maybe(text)),
    next=Optional(maybe(_COMING)),
    foreign=Optional(maybe(_FOREIGN)),
)


def _settings(value: t.Any, where: str) -> dict[str, t.Any]:
    return stored_settings(value, where) if value != {} else {}


_STATE = record(
    State,
    instance=text,
    bpffs=path,
    settings=Optional(_settings),
    program=Optional(_PROGRAM),
    vips=Optional(stored_vips),
    overlay=Optional(_overlay),
    ended_words=Optional(_ended),
    verdicts=Optional(_verdicts),
    references=Optional(named(many(address))),
    real_ids=_ids(1),
    vip_numbers=_ids(0),
    rings=Optional(_rings),
    learned=Optional(many(vip_name)),
    learning=Optional(many(vip_name)),
    interrupted=Optional(many(text)),
    recovered=Optional(flag),
)


def _read_state(value: t.Any, where: str) -> State:
    """The state, and whether its parts go together."""
    state = _STATE(value, where)
    for name, ids, size in (("real_ids", state.real_ids, "reals"), ("vip_numbers", state.vip_numbers, "vips")):
        limit = state.settings["sizes"][size] if state.settings else _LARGEST
        for key, each in ids.assigned.items():
            if each >= limit:
                raise Fault(f"{name}.assigned", f"{key} has {each}, but sizes.{size} is {limit}")
            (address if size == "reals" else vip_name)(key, f"{name}.assigned")
        if ids.reused() and not state.interrupted:
            # Only a run that has not ended gives out what is still to be cleared.
            raise Fault(f"{name}.quarantine", f"{ids.reused()[0]} is assigned as well")
    return state
