# SPDX-License-Identifier: GPL-3.0-or-later
"""Our own packets, as build_vectors.py makes them: once per process, and once for all processes of the same sources."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

import scapy

from ansible_collections.katran.fleet.tests.conformance.build_vectors import build
from ansible_collections.katran.fleet.tests.conformance.model_vectors import Sets
from ansible_collections.katran.fleet.tests.conformance.provision import ROOT

CACHE = ROOT / ".cache" / "own_vectors"
UNUSED_SECONDS = 14 * 86_400


def own_sets() -> Sets:
    """Every set by its name, those that others follow first; each ends with the model's counters."""
    return _built()[0]


def disagreements() -> list[str]:
    """Where scapy's frames and the model's answers differ, a text each."""
    return _built()[1]


@functools.cache
def _built() -> tuple[Sets, list[str]]:
    kept = CACHE / f"{_digest()}.json"
    try:
        text = kept.read_text()
        os.utime(kept)
    except OSError:
        text = json.dumps(build())
        _keep(kept, text)
    sets, wrong = json.loads(text)
    return sets, wrong


def _digest() -> str:
    """Of all code that could have a say in what is built: building takes seconds, a stale cache costs hours."""
    digest = hashlib.sha256(scapy.VERSION.encode())
    for folder in (ROOT / "tests" / "conformance", ROOT / "plugins" / "module_utils"):
        for path in sorted(folder.rglob("*.py")):
            if not path.name.startswith("test_"):
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _keep(path: Path, text: str) -> None:
    """Write *path* in one step, as another process may read it, and drop what nobody reads any more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix="unfinished-", delete=False) as unfinished:
        unfinished.write(text)
    os.replace(unfinished.name, path)
    for other in path.parent.iterdir():
        if time.time() - other.stat().st_mtime > UNUSED_SECONDS:
            other.unlink(missing_ok=True)
