# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What module xdp_root accepts."""

from __future__ import annotations

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.root_settings import parse_root


def test_options() -> None:
    settings = parse_root({"interfaces": ["eth0", "eth1"], "mode": "native", "source_dir": "/x"})
    assert settings.interfaces == ("eth0", "eth1")
    with pytest.raises(ConfigError, match=r"^interfaces: state attached needs at least one interface$"):
        parse_root({"interfaces": [], "mode": "native", "source_dir": "/x"})
