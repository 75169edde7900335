# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran undrain: let traffic come back to this balancer."""

from __future__ import annotations

import argparse

from .command import Command
from .drain import undo


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--instance", metavar="NAME", help="the balancer, where there are several on this host")
    parser.add_argument("--json", action="store_true", help="for programs")


COMMAND = Command(
    "undrain",
    "Let traffic come back to this balancer.",
    _arguments,
    undo,
    "Exit status: 0 it is asked to come back, 1 nobody heard of it, 2 it cannot be done.",
)
