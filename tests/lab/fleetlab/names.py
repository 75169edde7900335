# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of the laboratories that tests make: environment KATRAN_TEST_LAB, else kft, and one beside it.

Not the name that `make lab` uses: tests neither find nor disturb a laboratory that somebody is working with.
"""

from __future__ import annotations

import os

TESTED = os.environ.get("KATRAN_TEST_LAB") or "kft"
BESIDE = "kfu" if TESTED == "kft" else f"{TESTED[:9]}u"
