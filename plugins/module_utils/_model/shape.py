# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether input has the types that an argument spec wants, told by entry where Ansible would name the option alone."""

from __future__ import annotations

import difflib
import typing as t
from collections.abc import Iterable, Iterator, Mapping

from .faults import Faults
from .written import hidden_in, number_fault

Options = Mapping[str, Mapping[str, t.Any]]
_TRUE = ("y", "yes", "on", "1", "true", "t", "1.0")
_FEW = 10
"""As many options can be looked through in a sentence."""

_BOOLEANS = (*_TRUE, "n", "no", "off", "0", "false", "f", "0.0")


UNREADABLE: Mapping[str, t.Any] = {}
"""Stands, by itself, for an entry of which it was told before that it cannot be read."""


def numbered(entries: Iterable[Mapping[str, t.Any]]) -> Iterator[tuple[int, Mapping[str, t.Any]]]:
    """Entries with their indexes, but those that cannot be read."""
    return ((index, entry) for index, entry in enumerate(entries) if entry is not UNREADABLE)


def shape_faults(name: str, config: t.Any, options: Options) -> str:
    """Which entries of `config` do not have the options of an argument spec; empty where all do.

    `name`: what the entries are called.
    """
    faults = Faults()
    if config is not None and not isinstance(config, (list, tuple)):
        faults.add("config", f"{config} is not a list")
    for index, entry in enumerate(config if isinstance(config, (list, tuple)) else ()):
        entry_shape(f"{name}[{index}]", entry, options, faults)
    return str(faults)


def loose_numbers(given: t.Any, options: Options, where: str = "") -> Iterator[str]:
    """What of an argument spec's numbers Ansible would take for one that was not meant, in sentences.

    It takes true (which yes becomes) as 1, and of a text all that Python reads as a number, such as 1_0.
    """
    if not isinstance(given, Mapping):
        return
    for name, option in options.items():
        value, kind = given.get(name), option["type"]
        nested = option.get("options")
        if nested and kind == "list" and isinstance(value, (list, tuple)):
            for index, each in enumerate(value):
                yield from loose_numbers(each, nested, f"{where}{name}[{index}].")
        elif nested and kind == "dict":
            yield from loose_numbers(value, nested, f"{where}{name}.")
        elif kind in ("int", "float") and isinstance(value, (bool, str)):
            told = number_fault(value)
            if told and (isinstance(value, bool) or not value.isascii() or "_" in value):
                yield f"{where}{name}: {told if kind == 'int' else told.replace('a whole number', 'a number')}"


def entry_shape(where: str, entry: t.Any, options: Options, faults: Faults) -> None:
    """Add what of an entry does not have the shape of the options."""
    if not isinstance(entry, Mapping):
        faults.add(where, "is empty" if entry is None else f"{entry} is not a mapping")
        return
    for key in entry:
        if key not in options:
            faults.add(f"{where}.{key}", f"there is no such option; {_meant(str(key), options)}")
    for key, option in options.items():
        value = entry.get(key)
        if value is None:
            if option.get("required"):
                faults.add(f"{where}.{key}", "is missing")
        elif option["type"] == "list":
            _list_shape(f"{where}.{key}", value, option, faults)
        elif option["type"] == "dict" and option.get("options"):
            entry_shape(f"{where}.{key}", value, option["options"], faults)
        else:
            _value_shape(f"{where}.{key}", value, option, faults)


def _meant(key: str, options: Options) -> str:
    """Which options there are; where they are too many to look through, the one that is likely meant."""
    near = difflib.get_close_matches(key, options, 1, 0.6) if len(options) > _FEW else []
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(options)}"


def _list_shape(where: str, value: t.Any, option: Mapping[str, t.Any], faults: Faults) -> None:
    nested = option.get("options")
    if isinstance(value, str) and not nested:
        value = value.split(",")
    if option.get("elements") == "str" and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, (list, tuple)):
        faults.add(where, f"{value} is not a list")
        return
    for index, item in enumerate(value):
        if nested:
            entry_shape(f"{where}[{index}]", item, nested, faults)
        else:
            _value_shape(where, item, option, faults)


def _value_shape(where: str, value: t.Any, option: Mapping[str, t.Any], faults: Faults) -> None:
    kind = option.get("elements", option["type"])
    told = number_fault(value) if kind == "int" else None
    if told:
        faults.add(where, told)
    elif kind == "bool" and not isinstance(value, bool) and str(value).lower() not in _BOOLEANS:
        faults.add(where, f"{value} is neither true nor false")
    elif kind == "str" and isinstance(value, (Mapping, list, tuple)):
        faults.add(where, f"{value} is not a text")
    elif kind == "dict" and not isinstance(value, Mapping):
        faults.add(where, f"{value} is not a mapping")
    elif kind == "str" and isinstance(value, bool):
        faults.add(where, f"{value} is not a text: YAML reads yes, no, on and off without quotes as truth values")
    elif "choices" in option and value not in option["choices"]:
        told = hidden_in(value) if isinstance(value, str) else None
        faults.add(where, told or f"{value} is none of {', '.join(option['choices'])}")


def is_true(value: t.Any) -> bool:
    """Whether a value is one of the words for true, as Ansible takes them."""
    return str(value).lower() in _TRUE


def is_number(value: t.Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def as_told(entry: t.Any, options: Options) -> Mapping[str, t.Any]:
    """An entry as Ansible hands it to a module, without what has not the right shape; UNREADABLE if it cannot do so."""
    if not isinstance(entry, Mapping):
        return UNREADABLE
    found = {}
    for key, option in options.items():
        value = entry.get(key)
        faults = Faults()
        nested = option.get("options")
        if value is not None and nested is None:
            check = _list_shape if option["type"] == "list" else _value_shape
            check(key, value, option, faults)
        # What is wrong inside of entries is left out there.
        shaped = not nested or isinstance(value, Mapping if option["type"] == "dict" else (list, tuple))
        if value is None or faults.lines or not shaped:
            if option.get("required"):
                return UNREADABLE
            continue
        found[key] = _kind_told(value, nested) if nested and option["type"] == "dict" else _value_told(value, option)
    return found


def _kind_told(entry: Mapping[str, t.Any], options: Options) -> Mapping[str, t.Any]:
    """A mapping within an entry; unreadable without its first option, which says what all others are about."""
    told, kind = as_told(entry, options), next(iter(options))
    return UNREADABLE if entry.get(kind) is not None and kind not in told else told


def _value_told(value: t.Any, option: Mapping[str, t.Any]) -> t.Any:
    kind = option["type"]
    if kind == "list":
        nested = option.get("options")
        return [as_told(item, nested) for item in value] if nested else words(value)
    if kind == "int":
        return int(value)
    if kind == "bool":
        return is_true(value)
    if kind in ("dict", "raw"):
        return value
    return str(value)


def words(value: t.Any) -> list[str]:
    """A list of texts as a module takes it: one text is split at its commas. A truth value is told of elsewhere."""
    if isinstance(value, (bool, int, float)):
        return [str(value)]
    return value.split(",") if isinstance(value, str) else list(map(str, value or ()))
