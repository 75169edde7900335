# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/messages.md has every message of the code, and each has a remedy."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

CLONE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = str(CLONE / "scripts/messages")
    loader = importlib.machinery.SourceFileLoader("katran_messages", path)
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def test_each_message_has_a_remedy_and_the_page_is_what_the_code_makes(script: ModuleType) -> None:
    assert script.faults_of() == []


SOURCE = """
REMEDY = "call somebody"

def look(config, warnings):
    if not config:
        raise ConfigError("the frobnicator went away")
    for name in config:
        warnings.append(f"frobnicator {name.text} is rusty")
    told = _why(config)
    if told:
        raise ConfigError(told)
    raise ValueError("; ".join(_each(config)))

def _why(config):
    return f"the {config} hides: {REMEDY}" if config else ""

def _each(names):
    yield from [f"{name} has no oil" for name in names]
"""


def test_sentences_are_followed_through_names_and_functions(script: ModuleType, tmp_path: Path) -> None:
    room = tmp_path / "plugins/module_utils/_model"
    room.mkdir(parents=True)
    (room / "frobnicator.py").write_text(SOURCE, encoding="utf-8")
    tasks = tmp_path / "roles/oil/tasks"
    tasks.mkdir(parents=True)
    (tasks / "main.yml").write_text(
        "- block:\n    - ansible.builtin.fail:\n        msg: No oil on {{ inventory_hostname }} today\n",
        encoding="utf-8",
    )
    docs = tmp_path / "docs"
    docs.mkdir()
    family = "[[family]]\nmatch = 'is rusty'\nremedy = 'Oil it.'\npage = 'oil.md#how-much'\n"
    unused = "[[family]]\nmatch = 'nobody says this'\nremedy = 'Nothing.'\npage = 'oil.md'\n"
    (docs / "messages.toml").write_text(family + unused, encoding="utf-8")
    (docs / "oil.md").write_text("# Oil\n\n## How little\n", encoding="utf-8")

    assert [each.text for each in script.messages(tmp_path)] == [
        "frobnicator {name} is rusty",
        "the frobnicator went away",
        "the {config} hides: call somebody",
        "{name} has no oil",
        "No oil on {inventory_hostname} today",
    ]
    found = "\n".join(script.faults_of(tmp_path))
    assert "no remedy for: the frobnicator went away" in found
    assert "no remedy for: No oil on" in found
    assert "no remedy for: frobnicator" not in found
    assert "no message is of this family: nobody says this" in found
    assert "oil.md#how-much leads nowhere" in found
    assert "docs/messages.md is not what the code makes" in found
