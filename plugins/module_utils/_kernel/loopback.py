# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of the host, and changes of those of interface lo."""

from __future__ import annotations

import errno
import typing as t
from collections.abc import Iterable, Sequence

from .._model.host_addresses import LOOPBACK, PASSAGE_LENGTH, HostAddress
from .netlink import address_of, open_route

_SCOPE_HOST = 254
_DEPRECATED, _NO_PREFIX_ROUTE = 0x20, 0x200
_GONE = (errno.EADDRNOTAVAIL, errno.ENOENT)
_FOREVER = {"preferred": 0}
"""Deprecated from the first moment, and valid for ever."""


def host_addresses() -> list[HostAddress]:
    """Every address of every interface."""
    with open_route() as route:
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in route.get_links()}
        return list(_read(route.get_addr(), names))


def loopback_addresses() -> list[str]:
    """The addresses of interface lo, canonical text."""
    return [entry.text for entry in host_addresses() if entry.interface == LOOPBACK]


def _read(entries: Iterable[t.Any], names: t.Mapping[int, str]) -> t.Iterator[HostAddress]:
    for entry in entries:
        flags = entry.get_attr("IFA_FLAGS") or entry["flags"]
        address = address_of(entry)
        name = names.get(entry["index"])
        if address and name:
            quiet = flags & _DEPRECATED if ":" in address else entry["scope"] == _SCOPE_HOST
            bare = bool(flags & _NO_PREFIX_ROUTE)
            yield HostAddress.of(name, address, entry["prefixlen"], quiet=bool(quiet), bare=bare)


def change_loopback(add: Sequence[str], remove: Sequence[str], settle: Sequence[str] = ()) -> None:
    """Give interface lo host addresses, take those of ours away, and make others quiet that it has."""
    if not add and not remove and not settle:
        return
    with open_route() as route:
        index = route.link_lookup(ifname=LOOPBACK)[0]
        for address in add:
            _add(route, index, address)
        for address in settle:
            _settle(route, index, address)
        for address in remove:
            _remove(route, index, address)


def _change(route: t.Any, command: str, index: int, address: str, passed_over: Sequence[int], **more: t.Any) -> bool:
    """One change; False where the kernel refused it for a reason that is passed over."""
    from pyroute2.netlink.exceptions import NetlinkError  # pylint: disable=import-outside-toplevel  # as in netlink.py

    try:
        route.addr(command, index=index, address=address, **more)
    except NetlinkError as error:
        if error.code in passed_over:
            return False
        # It is no OSError in every version of pyroute2.
        raise OSError(error.code, f"{address} on {LOOPBACK}: {errno.errorcode.get(error.code, error.code)}") from error
    return True


def _add(route: t.Any, index: int, address: str) -> None:
    if ":" in address:
        _change(route, "replace", index, address, (), prefixlen=128, cacheinfo=dict(_FOREVER))
    else:
        _change(route, "add", index, address, (errno.EEXIST,), prefixlen=32, scope=_SCOPE_HOST)


def _settle(route: t.Any, index: int, address: str) -> None:
    """The kernel changes no IPv4 address's scope: it is removed and added while lo has it under another length too."""
    if ":" in address:
        _add(route, index, address)
        return
    names = {index: LOOPBACK}
    there = [entry for entry in _read(route.get_addr(index=index), names) if entry.text == address]
    if not any(entry.whole and entry.quiet for entry in there):
        # Where a network of that length is on lo already, the kernel may refuse it; then it goes for an instant.
        more = {"prefixlen": PASSAGE_LENGTH, "scope": _SCOPE_HOST, "flags": _NO_PREFIX_ROUTE}
        _change(route, "add", index, address, (errno.EEXIST, errno.EINVAL), **more)
        _change(route, "del", index, address, _GONE, prefixlen=32)
        _add(route, index, address)
    _end_passage(route, index, address)


def _remove(route: t.Any, index: int, address: str) -> None:
    _end_passage(route, index, address)
    _change(route, "del", index, address, _GONE, prefixlen=128 if ":" in address else 32)


def _end_passage(route: t.Any, index: int, address: str) -> None:
    """Only ours: another's address of that length stays."""
    for entry in _read(route.get_addr(index=index), {index: LOOPBACK}):
        if entry.text == address and entry.passage and not entry.ipv6:
            _change(route, "del", index, address, _GONE, prefixlen=PASSAGE_LENGTH)
