# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong that an operator can act on."""

from __future__ import annotations


class FleetError(Exception):
    """Something that an operator can act on; its text, one sentence, is all that they are shown."""


def refusal(error: OSError) -> str:
    """What the kernel refused."""
    where = f" ({error.filename})" * bool(error.filename)
    return f"the kernel refused an operation: {error.strerror or error}{where}"


class ConfigError(FleetError):
    """The input has faults; the text has one sentence for each of the first 20."""


class PlanError(FleetError):
    """There is no way from what is there to what is wanted."""


class EngineError(FleetError):
    """The engine cannot do what was asked."""


class StateError(FleetError):
    """state.json or the lock cannot be used."""


class LockedError(StateError):
    """Another run holds the lock. `pids`: in words, whose."""

    def __init__(self, sentence: str, pids: str) -> None:
        super().__init__(sentence)
        self.pids = pids


class ProgramError(FleetError):
    """A program cannot be compiled, loaded or attached."""


class ModeError(ProgramError):
    """An interface cannot run programs in this mode; `reason` is the kernel's."""

    def __init__(self, interface: str, mode: str, reason: str) -> None:
        super().__init__(f"interface {interface} does not support XDP mode {mode}: {reason}")
        self.reason = reason


class PartialError(FleetError):
    """Something is missing, and the rest was done: `done`, in lines."""

    def __init__(self, sentence: str, done: list[str]) -> None:
        super().__init__(sentence)
        self.done = done


class NetworkError(FleetError):
    """The host's network does not say what was asked."""


class TreeError(FleetError):
    """The folder cannot be made so."""


class HostError(FleetError):
    """The host cannot be made what it is to be."""
