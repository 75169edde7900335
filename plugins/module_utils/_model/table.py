# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables: resources whose entries are one key of one map each. A subclass describes one, and is all that it takes."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import layout
from .addresses import read_host, read_known_host
from .entries import Asked
from .errors import ConfigError
from .faults import Faults
from .limits import Limits
from .resource import Resource, Row
from .shape import numbered
from .vip_entries import real_of

K = t.TypeVar("K")
V = t.TypeVar("V", bound="tuple[t.Any, ...]")
Entries = Mapping[bytes, bytes]


_AT_ONCE = 4096
"""Rows whose text is made in one go."""


class TableEntry(t.NamedTuple):
    """One wanted entry: its map, its key, and what it leads to: a real's address, or a value where there is none."""

    map: str
    key: bytes
    real: str | None
    value: bytes = b""


@dataclass(frozen=True)
class Glance:
    """Entries of config, all in the form in which they are kept, valid by themselves and no two with one key.

    `lines`: as the file has them, to be gone through once; `maps`: map → key → the real's address; `items`: at least
    one of them.
    """

    lines: Iterable[str]
    maps: Mapping[str, Mapping[bytes, str]]
    items: Sequence[t.Any]


@dataclass(frozen=True)
class Around:
    """What a table may look at beside its own entries.

    `vips`: rows of the balancer's VIPs. `entries`: those of another map of the program, None where it has no such.
    `settled`: whether the VIPs are those that the run would find, and worth a word: check mode does not see what a task
    before would do, and at boot nothing is new.
    """

    limits: Limits
    vips: Collection[Row]
    entries: Callable[[str], Entries | None]
    settled: bool = True


class Table(Resource, t.Generic[K, V]):
    """A table whose entries lead to a real by its id. One whose entries do not says so by its own methods.

    An item is a named tuple of a key and what it leads to, `make` makes one. `maps`: where its entries are. `key`,
    `value`: the options of an entry that name it and say where it leads. `feature`: without which the program has none
    of the maps. `size`: the word of the balancer's sizes that bounds it; `plural`: what there are too many of.
    `compares`: whether a key that is listed twice is told with what either leads to. `follows`: what goes where an
    entry leads, in words.
    """

    maps: t.ClassVar[tuple[str, ...]]
    key: t.ClassVar[str]
    value: t.ClassVar[str] = "real"
    feature: t.ClassVar[str | None] = None
    size: t.ClassVar[str]
    plural: t.ClassVar[str]
    compares: t.ClassVar[bool] = False
    follows: t.ClassVar[str] = "packets that match"
    make: Callable[[K, str], V]

    # config

    def read_key(self, value: t.Any, limits: Limits) -> K:
        """The key of an entry of config. ConfigError where it is none."""
        raise NotImplementedError

    def read_keys(self, entries: Sequence[Row]) -> Sequence[K] | None:
        """The keys of all entries, where there is a way to read them at once and it finds nothing wrong."""
        del entries
        return None

    def glance(self, entries: Sequence[Row], limits: Limits) -> Glance | None:
        """Entries of config, if all can be told at once to be as they are kept; None where they need a closer look."""
        del entries, limits
        return None

    def unusable(self, key: K) -> str | None:
        """Why an entry with this key can be of no use, though it may be one that is to go; None where it can."""
        del key
        return None

    def read_item(self, key: K, entry: Row, old: V | None, deletes: bool) -> V:
        """An entry over what it was. ConfigError where it leads to nothing; `deletes`: where that does not count."""
        text = entry.get("real")
        if text is None:
            if deletes:
                return self.make(key, "")
            text = old[1] if old is not None else None
        real = read_known_host(text) if deletes else read_host(text)
        if isinstance(real, str):
            raise ConfigError(real)
        return self.make(key, real.text)

    def resolve(self, before: Mapping[K, V], asked: Asked) -> dict[K, V]:
        """The table after applying what is asked. ConfigError lists all faults."""
        entries, limits = asked.entries(self.name), asked.limits
        faults = Faults()
        if entries and not asked.deletes and self.feature is not None and not limits.has(self.feature):
            faults.add(self.name, f"needs feature {self.feature}")
        read_key, read_item, unusable = self.read_key, self.read_item, self.unusable
        old: Mapping[K, V] = before if asked.state == "merged" else {}
        deletes, option = asked.deletes, self.key
        quick = self.read_keys(entries)
        listed: dict[K, V] = {}
        for index, entry in numbered(entries):
            try:
                option = self.key
                key = quick[index] if quick is not None else read_key(entry.get(option), limits)
                fault = None if deletes else unusable(key)
                if fault is not None:
                    raise ConfigError(fault)
                first = listed.get(key)
                if first is not None and not self.compares:
                    raise ConfigError(f"{self.shown(key)} is listed twice")
                option = self.value
                item = read_item(key, entry, old.get(key) if old else None, deletes)
                if first is not None:
                    option = self.key
                    raise ConfigError(self._twice(first, item))
            except ConfigError as error:
                faults.add(f"{self.name}[{index}].{option}", str(error))
                continue
            listed[key] = item
        after = asked.applied(before, listed)
        self.check_room(after, limits, faults)
        faults.check()
        return after

    def check(self, asked: Asked) -> None:
        """ConfigError lists what is wrong with entries, by themselves and together, before any host is asked."""
        self.resolve({}, asked)

    def _twice(self, first: V, second: V) -> str:
        key = self.shown(first[0])
        return f"{key} is listed twice" if first == second else f"{key} leads to {first[1]} and to {second[1]}"

    def check_room(self, after: Collection[K], limits: Limits, faults: Faults) -> None:
        """Whether there is room for so many."""
        room = limits.sizes[self.size]
        if len(after) > room:
            faults.add(self.name, f"{len(after)} {self.plural}, but sizes.{self.size} is {room}")

    def warnings(self, items: Iterable[V], around: Around) -> list[str]:
        """What is valid and yet will not do."""
        del items, around
        return []

    def moves(self, known: Mapping[K, V], wanted: Mapping[K, V]) -> list[str]:
        """What to know of entries that lead elsewhere than before."""
        del known, wanted
        return []

    # words

    def shown(self, key: K) -> str:
        """A key in config's own form, as text."""
        return str(key)

    def leads_to(self, item: V) -> str:
        """What an item leads to, in a word."""
        return str(item[1])

    def title(self, row: Row) -> str:
        """What `changes` and a diff call an entry."""
        return f"{self.noun} {row[self.key]}"

    def idle(self, number: int) -> str:
        """What to say of so many entries for which the program has no map."""
        return f"{self.name}: {number} entries need feature {self.feature}, which the program does not have"

    # features

    @property
    def leads_to_reals(self) -> bool:
        """Whether an entry leads to a real."""
        return self.value == "real"

    def needs(self, rows: Iterable[Row], vips: Iterable[Row]) -> set[str]:
        """The features that these entries use beside these VIPs; neither need be valid."""
        del vips
        return {self.feature} if self.feature is not None and any(True for _row in rows) else set()

    def may_use(self, rows: Iterable[Row]) -> set[str]:
        """The features that these entries may use, whatever the VIPs."""
        return self.needs(rows, ())

    def followed_by(self, vip: Row) -> bool:
        """Whether packets to a VIP may take an entry's way."""
        del vip
        return False

    # rows

    def row(self, item: V) -> dict[str, t.Any]:
        """An item in config's own form."""
        return {self.key: item[0], self.value: item[1]}

    def item(self, row: Row) -> tuple[K, V]:
        """(key, item) of a row that was validated when it was written."""
        return row[self.key], self.make(row[self.key], row["real"])

    def items(self, rows: Sequence[Row]) -> Iterable[tuple[K, V]]:
        """(key, item) of each of these rows."""
        return map(self.item, rows)

    def in_order(self, keys: Iterable[K]) -> list[K]:
        """Keys, sorted."""
        return sorted(keys)  # type: ignore[type-var]

    @property
    def file(self) -> str:
        """The name of the file that keeps the rows."""
        return f"{self.name}.json"

    @staticmethod
    def text(rows: Iterable[Row]) -> str:
        """The file's text: one line per entry, so that it can be read and diffed."""
        # One call for many is ten times as fast as one each; no row holds braces, its addresses being parsed.
        rows = list(rows)
        parts = (json.dumps(rows[start : start + _AT_ONCE])[1:-1] for start in range(0, len(rows), _AT_ONCE))
        return f"[{', '.join(parts)}]".replace("}, {", "},\n{") + "\n"

    @staticmethod
    def lines(text: str) -> list[str]:
        """The entries of the file's text, without their braces; of another text, anything else."""
        return text.removeprefix("[{").removesuffix("}]\n").split("},\n{")

    # the kernel

    def entry(self, item: V) -> TableEntry:
        """Where an item lives in the maps."""
        raise NotImplementedError

    def entries(self, items: Iterable[V]) -> list[TableEntry]:
        """Where these items live."""
        return list(map(self.entry, items))

    def key_in(self, name: str, key: bytes) -> t.Any:
        """What config calls a key of one of the maps."""
        raise NotImplementedError

    def row_in(self, name: str, key: bytes, value: bytes, reals: Mapping[bytes, str]) -> dict[str, t.Any] | None:
        """A map's entry in config's own form; None where it leads nowhere. `reals`: id → address."""
        real = reals.get(value)
        return None if real is None else {self.key: self.key_in(name, key), "real": real}

    def rows_in(self, actual: Mapping[str, Entries]) -> list[dict[str, t.Any]]:
        """The entries as the kernel has them; `actual`: of the maps, and of `reals` where entries lead to ids."""
        reals = {
            key: real_of(*layout.parse_real_definition(value)).address for key, value in actual.get("reals", {}).items()
        }
        return [
            row
            for name in self.maps
            for key, value in actual.get(name, {}).items()
            if (row := self.row_in(name, key, value, reals)) is not None
        ]
