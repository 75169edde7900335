# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command katran: look at this host's balancers, at 3 o'clock in the morning, without Ansible or network.

A subcommand is a module of this room with a COMMAND, listed here.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .._model.errors import FleetError
from . import capture, checks, trace

COMMANDS = (checks.COMMAND, capture.COMMAND, trace.COMMAND)
CANNOT_TELL = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; its exit status, and CANNOT_TELL with a sentence on stderr where it cannot be run."""
    parser = argparse.ArgumentParser(prog="katran", description="Look at this host's balancers.")
    named = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        below = named.add_parser(command.name, help=command.help, description=command.help, epilog=command.epilog)
        command.arguments(below)
        below.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    try:
        status = int(options.run(options))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough; nothing more is written, not even at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANNOT_TELL
    except KeyboardInterrupt:
        return 130
    except FleetError as error:
        return _refused(str(error))
    except OSError as error:
        as_root = "" if os.geteuid() == 0 else " (run it as root)"
        return _refused(f"{error.filename or 'this host'}: {error.strerror}{as_root}")
    return status


def _refused(sentence: str) -> int:
    sys.stderr.write(f"katran: {sentence}\n")
    return CANNOT_TELL
