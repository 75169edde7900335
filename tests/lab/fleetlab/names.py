# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of the laboratories that tests make: environment KATRAN_TEST_LAB, else kft, and one beside it.

Of several sessions that share the tests (scripts/workers) each has its own: kft, kft2.

Not the name that `make lab` uses: tests neither find nor disturb a laboratory that somebody is working with.
"""

from __future__ import annotations

import os

_FIRST = os.environ.get("KATRAN_TEST_LAB") or "kft"
_WORKER = os.environ.get("KATRAN_WORKER", "1")
TESTED = _FIRST if _WORKER == "1" else f"{_FIRST[:8]}{_WORKER}"
BESIDE = "kfu" if TESTED == "kft" else f"{TESTED[:9]}u"
