# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights of reals from a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.plugin_utils.weights_file import (
    WeightsError,
    read_weights,
    weights_path,
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("w.yml", "# made by a script\nweb1: 3\nweb2: 0\n"),
        ("w.json", '{"web1": 3, "web2": 0}'),
        ("w.csv", "web1,3\nweb2, 0\n"),
        ("w.csv", "Name, Weight\r\nweb1,3\r\n\r\n# none\r\n web2,0\r\n"),
        ("w.csv", 'host,weight\n"web1","3"\nweb2,0'),
    ],
)
def test_the_same_in_every_form(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_weights(str(path)) == {"web1": 3, "web2": 0}


def test_a_table_that_windows_saved(tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_bytes(b"\xef\xbb\xbfname,weight\r\nweb1,3\r\n")
    assert read_weights(str(path)) == {"web1": 3}


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "w.yml"
    path.write_text("web1: 9\nweb2: 3\n")
    assert read_weights(str(path)) == {"web1": 9, "web2": 3}
    path.write_text("web1: 10\n")
    assert read_weights(str(path)) == {"web1": 10}


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("w.yml", "web1: 3\nweb1: 4\n", "web1 is there twice"),
        ("w.csv", "web1,3\nweb1,4\n", "web1 is there twice"),
        ("w.yml", "web1: many\n", "web1: many is not a weight (0 to 10000)"),
        ("w.yml", "web1: 10001\n", "web1: 10001 is not a weight (0 to 10000)"),
        ("w.yml", "web1: true\n", "web1: True is not a weight (0 to 10000)"),
        ("w.yml", "web1: {a: 1}\n", "web1: {'a': 1} is not a weight (0 to 10000)"),
        ("w.yml", "- web1\n", "it is no mapping of names and weights"),
        ("w.yml", "a: [\n", "is neither YAML nor JSON"),
        ("w.yml", "a: !!python/object:os.system x\n", "is neither YAML nor JSON"),
        ("w.yml", "[" * 5000, "is neither YAML nor JSON"),
        ("w.yml", "", "has no weight of any real"),
        ("w.yml", "{}\n", "has no weight of any real"),
        ("w.csv", "name,weight\n", "has no weight of any real"),
        ("w.csv", "web1;3\n", "web1;3 is not a name and a weight"),
    ],
)
def test_what_is_no_weight(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(WeightsError) as error:
        read_weights(str(path))
    assert sentence in str(error.value)


@pytest.mark.parametrize("path", ["/dev/zero", "/nowhere/w.yml"])
def test_no_file(path: str) -> None:
    with pytest.raises(WeightsError, match=r"is no file of up to|cannot be read"):
        read_weights(path)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "w.yml").write_bytes(b"\xff\xfe")
    with pytest.raises(WeightsError, match="is neither YAML nor JSON"):
        read_weights(str(tmp_path / "w.yml"))


def test_the_path() -> None:
    assert weights_path("w.yml", "/inventory") == "/inventory/w.yml"
    assert weights_path("/w.yml", "/inventory") == "/w.yml"
    assert weights_path("~/w.yml", None) == os.path.expanduser("~/w.yml")
    told: list[Any] = [3, "", None, ["w.yml"], "a\0b"]
    for each in told:
        with pytest.raises(WeightsError, match="is not the path of a file"):
            weights_path(each, "/inventory")
