# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of units in which a program may run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.records import Fault
from ansible_collections.katran.fleet.plugins.module_utils._model.unit_names import (
    drop_in_name,
    drop_in_text,
    is_service,
    unit,
    unit_fault,
)


@pytest.mark.parametrize(
    "name",
    [
        "nginx.service",
        "app@1.service",
        "-.slice",
        "system.slice",
        "init.scope",
        "system-app.slice",
        r"a\x2db.service",
        "docker-0123.scope",
        "a.b:c_d.service",
    ],
)
def test_units(name: str) -> None:
    assert unit_fault(name) == ""
    assert unit(name, "x") == name


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nginx", "nginx is not the name of a unit: say nginx.service"),
        ("", "'' is not the name of a unit"),
        ("-.service", "'-.service' is not the name of a unit"),
        ("--root=/x.service", "'--root=/x.service' is not the name of a unit"),
        ("a/b.service", "'a/b.service' is not the name of a unit"),
        ("../a.service", "'../a.service' is not the name of a unit"),
        ("a b.service", "'a b.service' is not the name of a unit"),
        ("a.service\n", "'a.service\\n' is not the name of a unit"),
        (f"{'a' * 250}.service", f"'{'a' * 250}.service' is not the name of a unit"),
        ("a.socket", "a.socket is a unit in which no process runs: give a service, slice or scope"),
        (
            "app@.service",
            "app@.service is a template: give its instances, as app@1.service, or the slice system-app.slice",
        ),
    ],
)
def test_what_is_none(name: str, sentence: str) -> None:
    assert unit_fault(name) == sentence
    with pytest.raises(Fault, match="is not the name of a unit"):
        unit(name, "x")


@given(st.text())
def test_no_name_leads_out_of_its_folder_or_is_an_option(name: str) -> None:
    if not unit_fault(name):
        assert "/" not in name
        assert "\n" not in name
        assert name == "-.slice" or not name.startswith("-")


def test_the_drop_in_lets_the_service_start_whatever_happens() -> None:
    lines = drop_in_text("blue").splitlines()
    assert lines[1:] == [
        "[Service]",
        "ExecStartPre=-+/usr/bin/python3 -I /usr/lib/katran-fleet/katran-server-id blue",
    ]
    assert drop_in_name("blue") == "katran-server-id-blue.conf"
    assert is_service("a.service")
    assert not is_service("a.slice")
