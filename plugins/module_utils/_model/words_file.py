# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What feeders said, as far as it outlives a reboot, is in this file of an instance's folder."""

from __future__ import annotations

WORDS_FILE = "words.json"
