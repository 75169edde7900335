# SPDX-License-Identifier: GPL-3.0-or-later
"""Where metrics are served, and to whom."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ConfigError
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import Faults
from ansible_collections.katran.fleet.plugins.module_utils._model.metrics_settings import MetricsSettings, parse_metrics


def parse(**params: Any) -> MetricsSettings:
    faults = Faults()
    found = parse_metrics(params, faults, "katran_")
    faults.check()
    return found


def test_by_itself_it_is_this_host_alone() -> None:
    assert parse() == MetricsSettings((("127.0.0.1", 9463),), ("127.0.0.0/8", "::1/128"))


def test_no_address_is_the_unix_socket_alone() -> None:
    assert parse(metrics_listen=[]).listen == ()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("127.0.0.1:1024", ("127.0.0.1", 1024)),
        ("[::1]:65535", ("::1", 65535)),
        (["127.0.0.2:9463"], ("127.0.0.2", 9463)),
    ],
)
def test_an_address(given: Any, found: tuple[str, int]) -> None:
    assert parse(metrics_listen=given).listen == (found,)


def test_others_are_answered_where_they_are_listed() -> None:
    found = parse(metrics_listen=["10.0.0.1:9463", "[2001:db8::1]:9463"], metrics_allow=["10.0.0.0/24", "2001:db8::5"])
    assert found.allow == ("127.0.0.0/8", "::1/128", "10.0.0.0/24", "2001:db8::5/128")


@pytest.mark.parametrize(
    "given",
    [
        *("9463", ":9463", "localhost:9463", "10.0.0:9463", "127.0.0.1", "::1:9463", "127.0.0.1:", "127.0.0.1:0"),
        *(
            "127.0.0.1:65536",
            "127.0.0.1:1023",
            "127.0.0.1:x",
            "127.0.0.1:-1",
            "127.0.0.1:\u0663",
            "[127.0.0.1:9463",
            9463,
            True,
        ),
    ],
)
def test_what_is_no_address_and_port_is_told(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"^katran_metrics_listen: .*(is not an address and a port|is not a port)"):
        parse(metrics_listen=given)


@pytest.mark.parametrize("given", ["0.0.0.0:9463", "[::]:9463", "10.0.0.1:9463"])
def test_who_may_read_has_to_be_said_where_others_reach(given: str) -> None:
    with pytest.raises(ConfigError, match="list who may read it in metrics_allow"):
        parse(metrics_listen=given)


@pytest.mark.parametrize("given", ["10.0.0.1/24", "10.0.0", "all", "2001:db8::1/64", "010.0.0.1"])
def test_who_is_no_prefix_is_told(given: str) -> None:
    with pytest.raises(ConfigError, match=r"katran_metrics_allow\[0\]: "):
        parse(metrics_allow=[given])


def test_one_twice_is_told() -> None:
    with pytest.raises(ConfigError, match="listed twice"):
        parse(metrics_listen=["127.0.0.1:1024", "127.0.0.1:1024"])
