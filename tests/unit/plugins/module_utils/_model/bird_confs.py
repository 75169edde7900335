# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configurations of bird that tests are about."""

from __future__ import annotations

from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._model.bgp_settings import Place, parse_bgp
from ansible_collections.katran.fleet.plugins.module_utils._model.bird_conf import render

NEIGHBOR: dict[str, Any] = {"address": "10.0.0.1", "as": 65000}
PLACES = (
    Place("198.51.100.1/32", ((65001, 80),)),
    Place("198.51.100.2/32"),
    Place("203.0.113.0/24", ((65001, 80),)),
    Place("2001:db8::1/128", ((4200000000, 1, 2), (65001, 443))),
)


def conf(places: tuple[Place, ...] | None = PLACES, **more: Any) -> str:
    return render(parse_bgp({"as": 65001, "neighbors": [NEIGHBOR], **more}), "10.0.0.9", places, 198)
