# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The grammar of keepalived.conf."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs import Remarks
from ansible_collections.katran.fleet.plugins.plugin_utils.keepalived_text import Statement, parse
from ansible_collections.katran.fleet.plugins.plugin_utils.saved_files import Sent

MAIN = "/etc/keepalived/keepalived.conf"


def shape(statements: list[Statement]) -> list[Any]:
    return [each.words if each.block is None else [each.words, shape(each.block)] for each in statements]


def read(text: str, config_id: str = "", **files: str) -> tuple[list[Any], list[str]]:
    remarks = Remarks()
    sent = Sent({MAIN: text, **{f"/etc/keepalived/{name}": more for name, more in files.items()}})
    return shape(parse(MAIN, sent, remarks, config_id)), remarks.sentences


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a b\nc", [["a", "b"], ["c"]]),
        ("a 1 # b\n! all\nb#c\nd \\# e", [["a", "1"], ["b"], ["d", "#", "e"]]),
        ('a "b # c" d!e', [["a", "b # c", "d"]]),
        ("a 'b c' d\"e f\"g 'it\\'s'", [["a", "b c", "de fg", "it's"]]),
        ("a \\\n b", [["a", "b"]]),
        ("a {\n b {\n c\n }\n d\n}\ne", [[["a"], [[["b"], [["c"]]], ["d"]]], ["e"]]),
        ("a\n{\n b\n}", [[["a"], [["b"]]]]),
        ("a{b 1}c", [[["a"], [["b", "1"]]], ["c"]]),
        ("a {\n}\n", [[["a"], []]]),
        ("a\r\nb\r\n", [["a"], ["b"]]),
        ('a "b', [["a", "b"]]),
        ("", []),
        # Values are put in where they are used, and may have variables themselves.
        ("$A=10.2.${B}\n$B=0\n${A}.1\n$B=9\n${A}.1 $B", [["10.2.0.1"], ["10.2.9.1", "9"]]),
        ("$A= \\\nx ${B} { \\\ny \\\n}\n$B=1\n$A\n$B=2\n$A", [[["x", "1"], [["y"]]], [["x", "2"], [["y"]]]]),
        ("$R= \\\nr ${N}\n$V= \\\nv { \\\n$N=1 \\\n$R \\\n$N=2 \\\n$R \\\n}\n$V", [[["v"], [["r", "1"], ["r", "2"]]]]),
        ("a ${_HASH}1${_BANG}", [["a", "#1!"]]),
        ("a $E\n$E=\nb $E c", [["a", "$E"], ["b", "c"]]),
        ("~SEQ(N, 1, 3) a ${N}", [["a", "1"], ["a", "2"], ["a", "3"]]),
        ("~SEQx(N, 0x12, -1, 0x10) a ${N}", [["a", "12"], ["a", "11"], ["a", "10"]]),
        ("~LST(A, x, y) ~SEQ(B, 2) ${A}${B}", [["x1"], ["x2"], ["y1"], ["y2"]]),
        ("~LST({A, B}, {1,2}, {3,4}) ${A}.${B}", [["1.2"], ["3.4"]]),
    ],
)
def test_statements(text: str, found: list[Any]) -> None:
    assert read(text)[0] == found


def test_conditions() -> None:
    text = "@a one\n@^a two\n$I=@a\n$I three"
    assert read(text, "a") == ([["one"], ["three"]], [])
    assert read(text, "b") == ([["two"]], [])
    found, told = read(text)
    assert found == []
    assert "keepalived.conf:1: @a one: is for one configuration id alone" in told[0]


def test_included_files() -> None:
    files = {"conf.d/a.conf": "a", "conf.d/b.conf": "b $X\ninclude c.inc", "conf.d/c.inc": "c", "conf.d/x/d.conf": "no"}
    found, told = read("$X=1\ns {\ninclude conf.d/*.conf\n}\ninclude /etc/keepalived/none.conf", **files)
    assert found == [[["s"], [["a"], ["b", "1"], ["c"]]]]
    assert told == [
        "keepalived.conf:5: include /etc/keepalived/none.conf: names no file that is here; save it beside this file"
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a {", "keepalived.conf:1: a: begins a block that nothing ends; add the } that is missing"),
        ("}\na", "keepalived.conf:1: }: ends a block that nothing begins"),
        ("{\n}", "keepalived.conf:1: {: begins a block that has no name"),
        ("a ${B}", "keepalived.conf:1: $B: is a variable that nothing before defines"),
        ("~SEQ(A, 1_0) y", "repeats a line in a way that was not understood"),
        ("~SEQ(A, x) y", "repeats a line in a way that was not understood"),
        ("~SEQ(A, 1, 0, 5) y", "repeats a line in a way that was not understood"),
        ("~LST(A) y", "repeats a line in a way that was not understood"),
        ("include keepalived.conf", "include keepalived.conf: is more than 32 files deep and was not read"),
        ("$A=${A}\n$A", "has more than 64 variables within variables and was passed over"),
        ("{" * 100, "{: is more than 32 blocks deep and was passed over"),
    ],
)
def test_what_is_told(text: str, sentence: str) -> None:
    assert sentence in " | ".join(read(text)[1])


@pytest.mark.parametrize(
    "text",
    [
        "$A=${A}${A}\n$A",
        "$A="
        + "x" * 1000
        + "\n"
        + "".join(f"$A{i}=${{A{i - 1 if i else ''}}}${{A{i - 1 if i else ''}}}\n" for i in range(40))
        + "$A39",
        "~SEQ(A, 1, 999999999) x ${A}",
        "~SEQ(A,1,9999) ~SEQ(B,1,9999) ~SEQ(C,1,9999) x",
        "include *\n" * 50,
        "a " * 100_000,
        "\\" * 200_000,
        "'\\" * 100_000,
        '"' * 200_001,
    ],
)
def test_hostile_input_has_an_end(text: str) -> None:
    read(text)


@given(st.text(st.sampled_from("ab $={}\"'\\\n#!@~SEQ(,)1include "), max_size=80))
def test_anything_can_be_read(text: str) -> None:
    statements, told = read(text)
    assert isinstance(statements, list)
    assert all("\n" not in sentence for sentence in told)


WORDS = st.lists(st.text("abc.:-/019", min_size=1, max_size=6), min_size=1, max_size=3).filter(
    lambda words: not words[0].startswith("include")
)
TREES = st.recursive(WORDS, lambda inner: st.tuples(WORDS, st.lists(inner, max_size=3)).map(list), max_leaves=8)


def written(tree: Any, indent: str = "") -> str:
    if isinstance(tree[0], str):
        return indent + " ".join(tree) + "\n"
    block = "".join(written(each, indent + "  ") for each in tree[1])
    return f"{indent}{' '.join(tree[0])} {{ # a comment\n{block}{indent}}}\n"


@given(st.lists(TREES, max_size=4))
def test_reads_what_was_written(trees: list[Any]) -> None:
    assert read("".join(map(written, trees))) == (trees, [])
