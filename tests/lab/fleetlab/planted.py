# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of the collection with another program: one that does the same, one with a fault no self-test can know."""

from __future__ import annotations

import ipaddress
import shutil
from pathlib import Path

from fleetlab.plan import PROJECT

_PARTS = ("bpf", "meta", "playbooks", "plugins", "roles", "galaxy.yml")
# Where a packet has been counted for its VIP and its real, and is about to be sent.
_COUNTED = "\tif (is_delivered_here(vip, real))"


def plant(folder: Path, address: str) -> Path:
    """Make a collection in a folder whose balancers drop what they have counted for an IPv4 VIP; its search path."""
    copy = folder / "ansible_collections/katran/fleet"
    for part in _PARTS:
        source = PROJECT / part
        copy.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / part)
    program = copy / "bpf/include/send.h"
    text = program.read_text(encoding="utf-8")
    assert text.count(_COUNTED) == 1, "the program is another: say anew where the fault goes"
    fault = f"\tif ((u32)vip->words.low == htonl({int(ipaddress.IPv4Address(address))}u))\n\t\treturn XDP_DROP;\n"
    program.write_text(text.replace(_COUNTED, fault + _COUNTED), encoding="utf-8")
    return folder


def rebuild(folder: Path) -> Path:
    """A collection whose program has other bytecode, and does the same: it drops what is for an address of no VIP."""
    return plant(folder, "240.0.0.1")
