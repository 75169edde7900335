# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What commands and files of a host say, in bounded time and size, and a file that holds it for its owner alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence

from .._model.errors import EngineError

SECONDS = 10.0


def printed(command: Sequence[str], most: int, *, last: bool = False) -> str:
    """What a command prints, at most so many bytes: the first, or the last of them. Why it failed, in a line below."""
    try:
        # A file, for a command may print more than any memory holds, and must not wait for a reader.
        with tempfile.TemporaryFile() as output:
            done = _run(command, output.fileno())
            size = os.fstat(output.fileno()).st_size
            output.seek(max(0, size - most) if last else 0)
            text = bounded(output.read(most), size, most, last=last)
    except FileNotFoundError:
        return f"(there is no {command[0]} on this host)\n"
    except OSError as error:
        return f"({command[0]} cannot be run: {error.strerror})\n"
    return text + done


def _run(command: Sequence[str], output: int) -> str:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SYSTEMD_PAGER": "", "NO_COLOR": "1"}
    process = subprocess.Popen(  # pylint: disable=consider-using-with
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
    )
    try:
        status = process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"(ended after {SECONDS:g} s)\n"
    return f"(exit status {status})\n" if status else ""


def bounded(data: bytes, size: int, most: int, *, last: bool = False) -> str:
    """The text of what is no more than `most` of `size` bytes, which it says."""
    text = data.decode(errors="replace")
    if size <= most:
        return text
    note = f"(the {'last' if last else 'first'} {most} of {size} bytes)\n"
    return note + text.partition("\n")[2] if last else f"{text}\n{note}"


def file_text(path: str, most: int) -> str | None:
    """A file's text, at most so many bytes of it; None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return None if isinstance(error, FileNotFoundError) else f"({path} cannot be read: {error.strerror})\n"
    with os.fdopen(descriptor, "rb") as source:
        try:
            data = source.read(most + 1)
        except OSError as error:
            return f"({path} cannot be read: {error.strerror})\n"
        return bounded(data[:most], max(len(data), os.fstat(source.fileno()).st_size), most)


def write_whole(path: str, data: bytes) -> None:
    """Put a file (0600) in place of what has the name, whole or not at all. EngineError where that cannot be."""
    folder, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as target:
                os.fchmod(descriptor, 0o600)
                target.write(data)
                target.flush()
                os.fsync(descriptor)
            os.rename(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error.strerror}") from error
