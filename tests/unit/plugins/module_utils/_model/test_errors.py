# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever an operator can cause is one kind of exception."""

from __future__ import annotations

from ansible_collections.katran.fleet.plugins.module_utils._model import errors


def test_modules_need_to_catch_but_one() -> None:
    ours = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert len(ours) > 5
    assert all(issubclass(each, errors.FleetError) for each in ours)
