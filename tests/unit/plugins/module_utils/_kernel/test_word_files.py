# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of verdicts.d that is endless is refused before it is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.run_files import RunFiles
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import StateError


def test_a_huge_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = RunFiles("default", str(tmp_path))
    words = Path(files.words)
    words.mkdir(mode=0o700, parents=True)
    with (words / "a.json").open("wb") as sparse:
        sparse.truncate(1 << 40)
    monkeypatch.setattr(os, "fdopen", lambda *_arguments, **_options: pytest.fail("it is read"))
    with pytest.raises(StateError, match="has 1099511627776 bytes, and no more than 12582912 are read"):
        files.read_word_file("a.json")
