# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where metrics are served, and to whom."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from .addresses import Address, Prefix, read_address, read_prefix
from .faults import Faults

DEFAULT_LISTEN = "127.0.0.1:9463"
DEFAULT_PORT = 9463
LOWEST_PORT = 1024
"""Lower ones take a privilege (CAP_NET_BIND_SERVICE) that the agent has not."""

LOCAL = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True)
class MetricsSettings:
    """Where, to whom and how much.

    `listen`: addresses and ports, beside the unix socket; `allow`: prefixes of who is answered; `each_real`: whether
    every real of every VIP has a series.
    """

    listen: tuple[tuple[str, int], ...] = (("127.0.0.1", DEFAULT_PORT),)
    allow: tuple[str, ...] = LOCAL
    each_real: bool = False


def parse_metrics(params: Mapping[str, t.Any], faults: Faults, where: str = "") -> MetricsSettings:
    """What the options say; faults are added to `faults`, their names after `where`.

    `metrics_listen`: one ADDRESS:PORT or a list of them, an empty one for the unix socket alone; `metrics_allow`: a
    list of prefixes; `metrics_real`: whether every real of every VIP has a series. An address that others reach needs
    an allow list: nothing that listens there asks who somebody is.
    """
    given = params.get("metrics_listen")
    texts = [DEFAULT_LISTEN] if given is None else given if isinstance(given, (list, tuple)) else [given]
    listen, allow = [], []
    outside = ""
    for index, text in enumerate(texts):
        name = f"{where}metrics_listen" + (f"[{index}]" if len(texts) > 1 else "")
        found = read_listen(text)
        if isinstance(found, str):
            faults.add(name, found)
            continue
        if found in listen:
            faults.add(name, f"{text} is listed twice")
        listen.append(found)
        outside = outside or ("" if is_local(found[0]) else str(text))
    for index, text in enumerate(params.get("metrics_allow") or ()):
        prefix = read_prefix(text if "/" in str(text) else f"{text}/{128 if ':' in str(text) else 32}")
        if isinstance(prefix, Prefix):
            allow.append(f"{prefix.address.text}/{prefix.length}")
        else:
            faults.add(f"{where}metrics_allow[{index}]", prefix or f"{text} is neither an address nor a prefix")
    if outside and not allow:
        faults.add(f"{where}metrics_listen", f"{outside} is reached by others: list who may read it in metrics_allow")
    return MetricsSettings(tuple(listen), (*LOCAL, *allow), bool(params.get("metrics_real")))


def read_listen(text: t.Any) -> tuple[str, int] | str:
    """(address, port) of ADDRESS:PORT or [ADDRESS]:PORT, or what is wrong with it."""
    host, colon, port = str(text).rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    address = read_address(host)
    if not isinstance(text, str) or not colon or not isinstance(address, Address):
        return f"{text} is not an address and a port, such as {DEFAULT_LISTEN} or [::1]:{DEFAULT_PORT}"
    if not port.isascii() or not port.isdigit() or not LOWEST_PORT <= int(port) <= 65535:
        return f"{text}: {port} is not a port that the agent may have ({LOWEST_PORT} to 65535)"
    return address.text, int(port)


def is_local(address: str) -> bool:
    """Whether only this host reaches an address."""
    return address.startswith("127.") or address == "::1"
