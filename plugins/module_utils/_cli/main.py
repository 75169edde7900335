# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command katran: look at this host's balancers, at 3 o'clock in the morning, without Ansible or network.

A subcommand is a module of this room with a COMMAND. The one that is asked for is imported, and no other: half of the
time that a look takes would else go into what it does not need.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
import typing as t
from collections.abc import Collection, Sequence

from .._model.errors import FleetError
from .command import Command

COMMANDS = (
    "capture",
    "checks",
    "doctor",
    "drain",
    "flows",
    "history",
    "names",
    "reals",
    "status",
    "top",
    "trace",
    "undrain",
    "vips",
)
"""The subcommands, sorted: each is a module of this room whose COMMAND has that name."""

CANNOT_TELL = 2
_OUTPUT_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_EPILOG = """Exit status: 0 all is well, 1 something is not, 2 that cannot be told, and a sentence says why. See
katran(1)."""


def load(name: str) -> Command:
    """A subcommand."""
    return t.cast("Command", importlib.import_module(f".{name}", __package__).COMMAND)


def parser_of(names: Collection[str] = COMMANDS) -> argparse.ArgumentParser:
    """What reads the command line, with these subcommands."""
    parser = argparse.ArgumentParser(
        prog="katran", description="Look at this host's balancers and at what it is as a real.", epilog=_EPILOG
    )
    named = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in map(load, names):
        below = named.add_parser(command.name, help=command.help, description=command.help, epilog=command.epilog)
        command.arguments(below)
        below.set_defaults(run=command.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; its exit status, and CANNOT_TELL with a sentence on stderr where it cannot be run."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser_of(words[:1] if words and words[0] in COMMANDS else COMMANDS).parse_args(words)
    try:
        status = int(options.run(options))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough.
        _write_no_more()
        return CANNOT_TELL
    except KeyboardInterrupt:
        return 130
    except FleetError as error:
        return _refused(str(error))
    except OSError as error:
        if error.errno in _OUTPUT_FULL and not error.filename:
            _write_no_more()
            return _refused(f"what is to be shown cannot be written: {error.strerror}")
        as_root = "" if os.geteuid() == 0 else " (run it as root)"
        return _refused(f"{error.filename or 'this host'}: {error.strerror}{as_root}")
    return status


def _write_no_more() -> None:
    """What is left in the buffer goes nowhere, not even at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refused(sentence: str) -> int:
    sys.stderr.write(f"katran: {sentence}\n")
    return CANNOT_TELL
