# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many prefixes at once are read as each by itself."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model import layout, prefixes
from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import Prefix, prefix_fault, read_prefix
from ansible_collections.katran.fleet.plugins.module_utils._model.prefixes import client_keys, read_prefixes


def text_of(version: int, value: int, length: int) -> str:
    """A prefix of a family."""
    bits = 32 if version == 4 else 128
    address = value % (1 << bits) >> (bits - length % (bits + 1)) << (bits - length % (bits + 1))
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    return f"{kind(address)}/{length % (bits + 1)}"


PREFIXES = st.builds(text_of, st.sampled_from((4, 4, 6)), st.integers(0, (1 << 128) - 1), st.integers(0, 128))
ODD = st.one_of(PREFIXES, st.text("0123456789./:\n ", max_size=20))


@given(st.lists(PREFIXES, max_size=20))
def test_what_is_canonical_is_read(texts: list[str]) -> None:
    assert read_prefixes(texts) == [read_prefix(text) for text in texts]


@given(st.lists(ODD, max_size=6))
def test_what_is_read_is_read_as_each_by_itself(texts: list[str]) -> None:
    found = read_prefixes(texts)
    if found is None:
        assert any(isinstance(read_prefix(text), str) for text in texts)
    else:
        assert found == [read_prefix(text) for text in texts]


@pytest.mark.parametrize(
    "texts",
    [
        ["1.2.3.4", "24/1.2.3.5/8"],
        ["1.2.3.0\n/24"],
        ["1.2.3.0/24\n1.2.4.0/24", ""],
        ["1.2.3.0", "/24"],
        ["01.2.3.0/24"],
        ["1.2.3.0/024"],
        ["1.2.3.0/33"],
        ["1.2.3.1/24"],
        ["1.2.3/24"],
        ["1.2.3.0.0/24"],
        ["1.2.3.0/24", None],
        [["1.2.3.0/24"]],
        [12],
    ],
)
def test_what_is_none_or_odd_is_left(texts: list[Any]) -> None:
    assert read_prefixes(texts) is None
    assert client_keys(texts) is None


@given(st.lists(PREFIXES, min_size=1, max_size=10))
def test_keys_of_clients(texts: list[str]) -> None:
    found = client_keys(texts)
    read = [prefix for prefix in map(read_prefix, texts) if isinstance(prefix, Prefix)]
    if found is not None:
        assert found == [layout.lpm_key(prefix.address.packed[:4], prefix.length) for prefix in read]
        assert not any(prefix_fault(prefix, as_clients=True) for prefix in read)


def test_keys_of_many_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "_AT_ONCE", 3)
    texts = [f"20.0.{each}.0/24" for each in range(8)]
    assert client_keys(texts) == [layout.lpm_key(bytes((20, 0, each, 0)), 24) for each in range(8)]
    assert client_keys([*texts, "127.0.0.0/24"]) is None
    assert client_keys([]) is None
    assert read_prefixes([]) == []
