# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong that an operator can act on: each error's text is one sentence for them."""

from __future__ import annotations


class ConfigError(Exception):
    """The input has faults; the text has one sentence for each of the first 20."""


class PlanError(Exception):
    """There is no way from what is there to what is wanted; the text is one sentence for the operator."""


class EngineError(Exception):
    """The engine cannot do what was asked; the text is one sentence for the operator."""


class StateError(Exception):
    """state.json or the lock cannot be used; the text is one sentence for the operator."""


class ProgramError(Exception):
    """A program cannot be compiled, loaded or attached; the text is one sentence for the operator."""


class ModeError(ProgramError):
    """An interface cannot run programs in the mode that was asked for; `reason` is the kernel's."""

    def __init__(self, interface: str, mode: str, reason: str) -> None:
        super().__init__(f"interface {interface} does not support XDP mode {mode}: {reason}")
        self.reason = reason


class NetworkError(Exception):
    """The host's network does not say what was asked; the text is one sentence for the operator."""


class TreeError(Exception):
    """The folder cannot be made so; the text is one sentence for the operator."""


class HostError(Exception):
    """The host cannot be made what it is to be; the text is one sentence for the operator."""
