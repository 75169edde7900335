# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The library that is installed on hosts: the engine, the programs' sources, units and commands."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import cache

COLLECTION = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
ROOMS = ("_model", "_kernel", "_program", "_engine", "_agent", "_cli")
"""The rooms of module_utils that hosts need; what glues them to Ansible stays with the controller."""

_SOURCES = "bpf/"
_ENGINE = "ansible_collections/katran/fleet/plugins/module_utils"


@cache
def library() -> Mapping[str, str]:
    """Path in the library → content."""
    found: dict[str, str] = {}
    for room in ROOMS:
        found |= _folder(f"plugins/module_utils/{room}", f"{_ENGINE}/{room}", (".py",))
    return found | _folder("bpf", _SOURCES, (".c", ".h")) | _folder("roles/host/files", "", ("",))


@cache
def digests() -> Mapping[str, str]:
    """Path in the library → SHA-256 of its content."""
    return {path: hashlib.sha256(content.encode()).hexdigest() for path, content in library().items()}


def sources(files: Mapping[str, str]) -> dict[str, str]:
    """Those of the library's files that are the programs' sources, by their path there."""
    return {path.removeprefix(_SOURCES): digest for path, digest in files.items() if path.startswith(_SOURCES)}


def _folder(folder: str, target: str, endings: tuple[str, ...]) -> dict[str, str]:
    """The files below a folder of the collection, under their paths in the library."""
    top = os.path.join(COLLECTION, folder)
    found = {}
    for parent, _folders, names in os.walk(top):
        for name in names:
            if "__pycache__" in parent or not name.endswith(endings):
                continue
            path = os.path.join(parent, name)
            with open(path, encoding="utf-8") as source:
                found[os.path.join(target, os.path.relpath(path, top))] = source.read()
    return found
