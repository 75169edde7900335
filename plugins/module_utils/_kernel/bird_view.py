# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bird says of its sessions, and of what it tells each neighbour. It is asked, and nothing of it changes."""

from __future__ import annotations

import os
import socket
import time
import typing as t

from .._model.errors import HostError
from . import bird

_SECONDS = 5.0


def is_there(path: str = bird.CONTROL) -> bool:
    """Whether a daemon may be asked."""
    return os.path.exists(path)


def ask(commands: list[str], path: str = bird.CONTROL) -> list[list[str]]:
    """The lines of each answer, without bird's codes. HostError where the daemon does not answer in time.

    An answer's lines are CODE-TEXT, or a blank and the text where the code is that of the line before; the last one is
    CODE TEXT.
    """
    deadline = time.monotonic() + _SECONDS
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as control:
            control.settimeout(_SECONDS)
            control.connect(path)
            answers = control.makefile("rb")
            _answer(answers, deadline)
            found = []
            for command in commands:
                control.sendall(f"{command}\n".encode())
                found.append(_answer(answers, deadline))
            return found
    except OSError as error:
        raise HostError(f"bird does not answer at {path}: {error.strerror or error}") from error


def _answer(answers: t.IO[bytes], deadline: float) -> list[str]:
    found = []
    while True:
        raw = answers.readline()
        if not raw or time.monotonic() > deadline:
            raise OSError("it closed the connection" if not raw else "its answer does not end")
        line = raw.decode(errors="replace").rstrip("\n")
        coded = line[:4].isdigit() and line[4:5] in ("-", " ", "")
        found.append(line[5:] if coded else line[1:])
        if coded and line[4:5] != "-":
            return found
