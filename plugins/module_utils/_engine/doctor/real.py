# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is looked at of a host that is a real."""

from __future__ import annotations

from .examiner import Examiner, Visit


def examiners(visit: Visit) -> list[Examiner]:
    """Those of an instance that is a real here."""
    del visit
    return []
