# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran names: what VIPs, reals or instances are called, a line each, for who completes a word."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import typing as t
from collections.abc import Iterator

from .._kernel.state_folder import StateFolder, instances
from .._model.errors import StateError
from .command import Command

KINDS = ("vips", "reals", "instances")


def run(options: argparse.Namespace) -> int:
    """Print them."""
    names = instances()
    found: dict[str, None] = {}
    for kind in options.kinds:
        if kind == "instances":
            found |= dict.fromkeys(names)
        else:
            for name in names:
                found |= dict.fromkeys(_vips(name) if kind == "vips" else _reals(name))
    sys.stdout.write("".join(f"{each}\n" for each in found))
    return 0


def _record(instance: str) -> list[dict[str, t.Any]]:
    """The VIPs on record, as they are: to look at each would take longer than somebody who types waits."""
    with contextlib.suppress(StateError, ValueError, KeyError, TypeError):
        return list(json.loads(StateFolder(instance, "").read_file("state.json") or "{}")["vips"])
    return []


def _vips(instance: str) -> Iterator[str]:
    for vip in _record(instance):
        with contextlib.suppress(KeyError, TypeError):
            host = f"[{vip['address']}]" if ":" in vip["address"] else vip["address"]
            yield f"{host}:{vip['port']}/{vip['protocol']}"


def _reals(instance: str) -> Iterator[str]:
    for vip in _record(instance):
        with contextlib.suppress(KeyError, TypeError):
            yield from (str(real["address"]) for real in vip["reals"])


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kinds", nargs="+", choices=KINDS, metavar="KIND", help="vips, reals or instances")


COMMAND = Command("names", "Names of VIPs, reals or instances, a line each: for completion.", _arguments, run)
