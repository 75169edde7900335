# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to the kernel's network settings."""

from __future__ import annotations

import typing as t

from .._model.errors import ProgramError
from .._model.snapshot import PYROUTE2


def open_route(**options: t.Any) -> t.Any:
    """pyroute2's IPRoute, a context manager. ProgramError where the host has no pyroute2."""
    # A tenth of a second, which only those pay who use it.
    try:
        from pyroute2 import IPRoute  # pylint: disable=import-outside-toplevel
    except ImportError as error:
        raise ProgramError(PYROUTE2.sentence) from error
    return IPRoute(**options)


def address_of(entry: t.Any) -> str | None:
    """The address of an entry of get_addr(): where two ends are told apart, the host's own."""
    return t.cast("str | None", entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS"))
