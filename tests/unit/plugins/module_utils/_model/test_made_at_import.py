# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tables of readers, maps and ranges are made of, asked by itself: elsewhere it runs but once, at import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import (
    _first_bytes,
    canonical_reader,
    read_prefix,
)
from ansible_collections.katran.fleet.plugins.module_utils._model.host_record import _many
from ansible_collections.katran.fleet.plugins.module_utils._model.ids import Ids
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import _checks_sources, _fixed, _size, _with
from ansible_collections.katran.fleet.plugins.module_utils._model.records import Fault, either, maybe, number, text
from ansible_collections.katran.fleet.plugins.module_utils._model.state import _ids

WHERE = "ids"


@pytest.mark.parametrize(
    ("prefix", "first", "count"),
    [
        ("0.0.0.0/8", 0, 1),
        ("224.0.0.0/4", 224, 16),
        ("240.0.0.0/4", 240, 16),
        ("0.0.0.0/0", 0, 256),
        ("127.0.0.0/8", 127, 1),
        ("169.254.0.0/16", 169, 1),
        ("255.255.255.255/32", 255, 1),
        ("fe80::/10", 0xFE, 1),
        ("ff00::/8", 0xFF, 1),
        ("fc00::/7", 0xFC, 2),
    ],
)
def test_the_first_bytes_of_a_prefix(prefix: str, first: int, count: int) -> None:
    found = read_prefix(prefix)
    assert not isinstance(found, str)
    assert list(_first_bytes(found)) == list(range(first, first + count))


def test_an_address_of_a_file_in_one_spelling() -> None:
    assert canonical_reader("FC00:0::1", WHERE) == "fc00::1"
    with pytest.raises(Fault, match=r"^ids: "):
        canonical_reader("web", WHERE)


def test_one_value_or_another() -> None:
    read = either("auto", number(1, 3))
    assert (read("auto", WHERE), read(2, WHERE)) == ("auto", 2)
    with pytest.raises(Fault, match=r"^ids: "):
        read(4, WHERE)
    nothing = maybe(number(1, 3))
    assert (nothing(None, WHERE), nothing(3, WHERE)) == (None, 3)
    with pytest.raises(Fault, match=r"^ids: "):
        nothing(0, WHERE)


def test_many_become_a_tuple() -> None:
    assert _many(text)(["a", "b"], WHERE) == ("a", "b")
    for wrong in (["a", "a"], "a", [1]):
        with pytest.raises(Fault, match=r"^ids"):
            _many(text)(wrong, WHERE)


def stored(**options: Any) -> dict[str, Any]:
    return {"first": 1, "assigned": {"a": 1, "b": 2**32 - 1}, "quarantine": [3, 2], **options}


def test_ids_of_a_file() -> None:
    found = _ids(1)(stored(), WHERE)
    assert isinstance(found, Ids)
    assert (found.assigned, list(found.quarantine)) == ({"a": 1, "b": 2**32 - 1}, [3, 2])
    assert found == Ids(1, {"a": 1, "b": 2**32 - 1}, found.quarantine)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"assigned": {"a": 4, "b": 5, "c": 4}}, r"^ids\.assigned: a and c both have 4$"),
        ({"assigned": {"a": 0}}, r"^ids\.assigned\.a: "),
        ({"assigned": {"a": 2**32}}, r"^ids\.assigned\.a: "),
        ({"quarantine": [0]}, r"^ids\.quarantine"),
        ({"quarantine": [2, 2]}, r"^ids\.quarantine"),
        ({"first": 0}, r"^ids\.first: "),
        ({"first": 2}, r"^ids\.first: "),
    ],
)
def test_ids_that_cannot_be(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Fault, match=sentence):
        _ids(1)(stored(**options), WHERE)


@dataclass
class Shape:
    """What maps depend on."""

    sizes: dict[str, int] = field(default_factory=dict)
    features: frozenset[str] = frozenset()
    encapsulation: str = "ipip"
    decap_any: bool = False


def test_what_maps_depend_on() -> None:
    assert _size("vips")({"vips": 7}) == 7
    assert _fixed(9)({}) == 9
    asked = _with("gue")
    assert asked(Shape(features=frozenset({"gue"})))
    assert not asked(Shape())
    assert _checks_sources(Shape(features=frozenset({"inline_decap"})))
    assert not _checks_sources(Shape(features=frozenset({"inline_decap"}), decap_any=True))
    assert not _checks_sources(Shape())
