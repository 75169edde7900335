# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.folding import fold, names_text, natural


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], ""),
        (["lb1"], "lb1"),
        (["lb2", "lb1"], "lb1, lb2"),
        ([f"lb{number}" for number in range(1, 51) if number != 49], "lb1–lb48, lb50"),
        (["lb9", "lb10", "lb11"], "lb9–lb11"),
        (["lb08", "lb09", "lb10"], "lb08–lb10"),
        # Of other lengths, nobody could tell what stands between.
        (["lb098", "lb099", "lb100", "lb1000"], "lb098–lb100, lb1000"),
        (["lb8", "lb09", "lb10"], "lb8, lb09, lb10"),
        (["lb1.a", "lb2.a", "lb3.a", "lb3.b"], "lb1.a–lb3.a, lb3.b"),
        (["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.4"], "10.0.0.1–10.0.0.3, 10.0.1.4"),
        # One more in two places, and then in another: not counted through.
        (["a1b1", "a2b1", "a2b2"], "a1b1, a2b1, a2b2"),
        (["web", "db"], "db, web"),
        (["lb1", "lb1", "lb1"], "lb1"),
        (["x1234567890", "x1234567891", "x1234567892"], "x1234567890, x1234567891, x1234567892"),
    ],
)
def test_names(names: list[str], told: str) -> None:
    assert names_text(names) == told


NAMES = st.builds("{}{}{}".format, st.sampled_from(["lb", "web-", ""]), st.integers(0, 30), st.sampled_from(["", ".x"]))


@given(st.sets(NAMES))
def test_every_name_can_be_read_back(names: set[str]) -> None:
    found: list[str] = []
    for word in filter(None, names_text(names).split(", ")):
        first, dash, last = word.partition("–")
        if not dash:
            found.append(word)
            continue
        begin = next(index for index, letter in enumerate(first) if letter.isdigit())
        head, tail = first[:begin], first[begin:].lstrip("0123456789")
        numbers = (each[begin : len(each) - len(tail)] for each in (first, last))
        low, high = map(int, numbers)
        found += [f"{head}{number}{tail}" for number in range(low, high + 1)]
    assert sorted(found) == sorted(names)


@given(st.lists(st.text(alphabet="ab019", max_size=4), unique=True))
def test_the_order_is_total(names: list[str]) -> None:
    assert len({natural(name) for name in names}) == len(names)


@given(st.lists(st.tuples(NAMES, st.sampled_from("abc")), unique=True), st.randoms())
def test_folding_loses_nothing_and_tells_apart(said: list[tuple[str, str]], random: object) -> None:
    groups = fold(said)
    assert sorted((host, each.said) for each in groups for host in each.hosts) == sorted(said)
    assert len({each.said for each in groups}) == len(groups)
    firsts = [natural(each.hosts[0]) for each in groups]
    assert firsts == sorted(firsts)


def test_what_all_say_comes_first() -> None:
    said = [("lb1", "one"), ("lb1", "all"), ("lb2", "two"), ("lb2", "all")]
    assert [each.said for each in fold(said, ["lb1", "lb2"])] == ["all", "one", "two"]
    assert [each.said for each in fold(said)] == ["one", "all", "two"]


def test_the_order_does_not_hang_on_who_is_first_to_answer() -> None:
    said = [("lb10", "b"), ("lb2", "a"), ("lb1", "b")]
    assert fold(said) == fold(list(reversed(said)))
    assert [(each.names, each.said) for each in fold(said)] == [("lb1, lb10", "b"), ("lb2", "a")]
