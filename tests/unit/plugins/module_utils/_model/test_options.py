# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that every module has."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.options import parse_instance


@pytest.mark.parametrize("instance", ["default", "0", "a" * 32, "a_b-c"])
def test_instances(instance: str) -> None:
    parse_instance(instance, "/sys/fs/bpf")


@pytest.mark.parametrize("instance", ["", "A", "-a", "a" * 33, "a/b", "..", "a\n"])
def test_faults_of_instances(instance: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_instance(instance, "/sys/fs/bpf")
    assert str(caught.value) == (
        f"instance: {instance!r} must begin with a lower case letter or digit, then up to 31 of these, _ or -"
    )


def test_fault_of_bpffs() -> None:
    with pytest.raises(ConfigError, match=r"^bpffs: sys/fs/bpf is not an absolute path$"):
        parse_instance("default", "sys/fs/bpf")
