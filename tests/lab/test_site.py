# SPDX-License-Identifier: GPL-3.0-or-later
"""What looks after the site (docs/site) notices what is wrong with it; the site itself is `make docs`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fleetlab.plan import PROJECT

# It is no package.
sys.path.insert(0, str(PROJECT / "docs/site"))

from generate import _anchors, _header, _taken
from lexer import ConsoleLexer
from narrow import pieces, shape
from pygments.token import Comment, Generic

SITE = PROJECT / "docs/site"


def test_blocks_of_commands_have_prompts_commands_and_output() -> None:
    text = "$ echo a \\\n  b\na b\n...\nlb1# katran status\n"
    pieces = list(ConsoleLexer().get_tokens_unprocessed(text))
    assert "".join(piece for _, _, piece in pieces) == text
    assert [piece for _, kind, piece in pieces if kind is Generic.Prompt] == ["$ ", "lb1# "]
    assert [piece for _, kind, piece in pieces if kind is Generic.Output] == ["a b\n"]
    assert [piece for _, kind, piece in pieces if kind is Comment] == ["...\n"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="b.html#there">x</a>', ""),
        ('<a href="https://example.net/">x</a>', ""),
        ('<a href="c.html">x</a>', "a.html: has a link to what is not there: c.html"),
        ('<a href="b.html#gone">x</a>', "a.html: has a link to an anchor that is not there: b.html#gone"),
        ('<script src="https://example.net/x.js"></script>', "a.html: loads https://example.net/x.js"),
        ('<link rel="stylesheet" href="//example.net/x.css">', "a.html: loads //example.net/x.css"),
    ],
)
def test_links_that_lead_nowhere_or_elsewhere_are_found(tmp_path: Path, body: str, fault: str) -> None:
    (tmp_path / "a.html").write_text(body)
    (tmp_path / "b.html").write_text('<p id="there">x</p>')
    done = subprocess.run(
        [sys.executable, SITE / "check_links.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.returncode) == (fault, 1 if fault else 0)


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "x.md"
    page.write_text("# A real's host dies\n```sh\n# no heading\n```\n## `katran` and [more](y.md), twice\n")
    assert _anchors(page) == {"a-reals-host-dies", "katran-and-more-twice"}


def test_a_playbook_tells_its_commands_and_variables() -> None:
    text = (
        "---\n# ansible-playbook katran.fleet.x -i inventory -e katran_x_to=lb1\n# Does katran_x (docs/x.md).\n"
        '- hosts: all\n  become: "{{ katran_become | default(true) }}"\n  # katran_comment | default(1)\n'
    )
    assert _header(text) == (
        "ansible-playbook katran.fleet.x -i inventory -e katran_x_to=lb1",
        "Does `katran_x` ([x.md](../x.md)).",
    )
    assert _taken(text) == {"katran_x_to": "", "katran_become": "`true`"}


SENTENCE = "what a person reads, and more of it than one line of a phone can hold"


@pytest.mark.parametrize(
    ("heads", "row", "becomes"),
    [
        (["exit status", "means"], ["0", SENTENCE], ""),
        (["command", "what it shows"], ["katran flows [--vip V] [--real A]", SENTENCE], "stacked"),
        (["message", "what to do", "from"], [SENTENCE, SENTENCE, "roles/balancer"], "stacked"),
        (["file", "planted", "tried", "noticed", "missed"], ["addresses.py", "272", "272", "256", "16"], "figures"),
    ],
)
def test_a_table_that_a_phone_cannot_show_becomes_a_list_or_is_scrolled(
    heads: list[str], row: list[str], becomes: str
) -> None:
    assert shape(heads, [row]) == becomes


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("encapsulation_failures", ["encapsulation_failures"]),
        ("katran_engine_runs_total{result}", ["katran_", "engine_", "runs_", "total", "{result}"]),
        ("/run/katran-fleet/metrics.sock", ["/run/", "katran-fleet/", "metrics.sock"]),
        ("systemd-networkd-wait-online.service", ["systemd-", "networkd-", "wait-", "online.service"]),
    ],
)
def test_code_breaks_where_a_reader_would_break_it(word: str, parts: list[str]) -> None:
    assert pieces(word, 24) == parts


def test_a_page_that_a_phone_cannot_show_is_found(tmp_path: Path) -> None:
    cells = "<article><div><table><tr><td style='width: {}px'>a<td>b</table></div></article>"
    (tmp_path / "a.html").write_text(cells.format(100))
    (tmp_path / "b.html").write_text(cells.format(300))
    (tmp_path / "c.html").write_text("<p style='width: 500px'>x</p>" + cells.format(100))
    done = subprocess.run(
        [sys.executable, SITE / "check_narrow.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["b.html", "c.html"]
    assert done.returncode == 1
