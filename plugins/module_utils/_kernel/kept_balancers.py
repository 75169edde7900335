# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which balancers this host keeps."""

from __future__ import annotations

from .state_folder import STATE_ROOT, StateFolder, instances


def kept_balancers(root: str = STATE_ROOT) -> list[str]:
    """The instances that have a balancer's state: other folders are of something else, or have nothing left in them."""
    return [name for name in instances(root) if StateFolder(name, "", root).read_file("state.json") is not None]
