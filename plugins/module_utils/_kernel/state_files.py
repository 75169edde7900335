# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory of an instance's state.

A file is written to a temporary name, synced and renamed, so a reader sees the old or the new one, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import typing as t
from collections.abc import Iterable

from .._model.bytecode import Bytecode
from .._model.errors import StateError
from .._model.records import damaged
from .._model.state import State
from .durable import write_durably

STATE_ROOT = "/var/lib/katran-fleet"
_VIPS = '"vips": '


class StateFile:
    """The directory of one balancer's state."""

    def __init__(self, instance: str, bpffs: str, root: str = STATE_ROOT) -> None:
        self.instance = instance
        self.bpffs = bpffs
        self.directory = os.path.join(root, instance)
        self.path = os.path.join(self.directory, "state.json")
        self._remembered: dict[str, str] = {}
        self._vips: tuple[list[dict[str, t.Any]], str] | None = None

    def read(self) -> State:
        """The state; a fresh one with `lost` set where there is no file."""
        try:
            with open(self.path, encoding="utf-8") as source:
                text = source.read()
            state = State.from_json(text, self.path)
        except FileNotFoundError:
            return State(self.instance, self.bpffs, lost=True)
        except OSError as error:
            raise StateError(f"{self.path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise damaged(self.path, error) from error
        line = next((line for line in text.splitlines() if line.startswith(_VIPS)), None)
        if line is not None:
            self._vips = state.vips, line.removeprefix(_VIPS).removesuffix(",")
        if state.bpffs != self.bpffs:
            raise StateError(
                f"balancer {self.instance} lives in the bpffs {state.bpffs}, not in {self.bpffs}:"
                " give that as bpffs, or remove the balancer first"
            )
        return state

    def write(self, state: State) -> None:
        """Replace the file; StateError where the disk does not take it, with the old one kept."""
        for name, text in self._remembered.items():
            self.write_file(name, text)
        self._remembered.clear()
        # Between a run's intent and its result, and in most runs of other resources, the VIPs are the same list.
        if self._vips is None or self._vips[0] is not state.vips:
            self._vips = state.vips, json.dumps(state.vips)
        self.write_file("state.json", state.to_json(self._vips[1]))

    def write_file(self, name: str, text: str) -> None:
        """Replace one file of the directory (0600), durably."""
        write_durably(os.path.join(self.directory, name), text)

    def remember(self, name: str, text: str) -> None:
        """Take this as the text of a file of the directory, to be written with the next state."""
        self._remembered[name] = text

    def read_file(self, name: str) -> str | None:
        """The text of one file of the directory, None where there is none."""
        if name in self._remembered:
            return self._remembered[name]
        try:
            with open(os.path.join(self.directory, name), encoding="utf-8") as source:
                return source.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{self.directory}/{name} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise damaged(f"{self.directory}/{name}", error) from error

    def read_bytecode(self, name: str, program: str) -> Bytecode | None:
        """A program's bytecode from a file of the directory, None where there is none; StateError if it is damaged."""
        source = self.read_file(name)
        return Bytecode.from_json(source, os.path.join(self.directory, name), program) if source is not None else None

    def remove(self, names: Iterable[str]) -> None:
        """Remove these files, and the directory unless another program of the instance keeps its state there."""
        try:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.directory, name))
        except OSError as error:
            raise StateError(f"{self.directory} cannot be cleared: {error.strerror}") from error
        self.sweep()
        self.remove_if_empty()

    def rename(self, name: str, target: str) -> None:
        """Give one file of the directory another name, in place of what had that; no failure where it is not there."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(os.path.join(self.directory, name), os.path.join(self.directory, target))

    def remove_if_empty(self) -> None:
        """Remove the directory unless another program of the instance keeps its state there."""
        try:
            os.rmdir(self.directory)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise StateError(f"{self.directory} cannot be removed: {error.strerror}") from error

    def exists(self) -> bool:
        """Whether there is such a directory."""
        return os.path.isdir(self.directory)

    def sweep(self) -> None:
        """Remove temporary files that a killed run left; only under the exclusive lock."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.directory):
                if name.startswith("."):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(self.directory, name))


def read_bpffs(instance: str, root: str = STATE_ROOT) -> str:
    """The bpffs that an instance's state names; the usual one where it names none."""
    for name in ("state.json", "decap.json", "root.json", "healthcheck.json"):
        with (
            contextlib.suppress(OSError, ValueError, KeyError, TypeError),
            open(os.path.join(root, instance, name), encoding="utf-8") as source,
        ):
            return str(json.load(source)["bpffs"])
    return "/sys/fs/bpf"
