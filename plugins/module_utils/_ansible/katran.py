# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module katran_info."""

from __future__ import annotations

import typing as t

from .._engine.katran import read_katran, told
from .._kernel.katran_maps import Place
from .module import guarded, module_of


def run_katran_info() -> None:
    """The whole of module katran_info."""
    module = module_of(
        {
            "interfaces": {"type": "list", "elements": "str", "default": []},
            "program_id": {"type": "int", "default": 0},
            "maps_path": {"type": "path", "default": ""},
            "vips": {"type": "list", "elements": "dict"},
        }
    )

    def work() -> dict[str, t.Any]:
        params = module.params
        place = Place(tuple(params["interfaces"]), params["program_id"], params["maps_path"])
        return {"changed": False, **told(read_katran(place, params["vips"]))}

    guarded(module, work)
