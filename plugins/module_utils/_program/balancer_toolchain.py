# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From sources to a balancer's bytecode that has proved itself."""

from __future__ import annotations

import typing as t

from .._model.bytecode import Bytecode
from .._model.settings import BalancerSettings
from .proof import require_host
from .selftest import self_test
from .toolchain import HostToolchain, Toolchain


class BalancerToolchain(Toolchain, t.Protocol):
    """What makes bytecode and proves it."""

    def prove(self, bytecode: Bytecode, settings: BalancerSettings, /) -> dict[str, t.Any]:
        """Run packets whose answers are known: {packets, seconds}. ProgramError names one that came out wrong."""

    def require_host(self, source_dir: str, /) -> None:
        """ProgramError says why this host can run no program at all."""


class HostBalancerToolchain(HostToolchain):
    """That of the host, whose kernel runs the packets."""

    @staticmethod
    def prove(bytecode: Bytecode, settings: BalancerSettings) -> dict[str, t.Any]:
        """Run packets whose answers are known."""
        return self_test(bytecode, settings)

    @staticmethod
    def require_host(source_dir: str) -> None:
        """Compile, load and run the smallest program."""
        require_host(source_dir)
