# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What keepalived.conf balances. Every word of it is taken over, or told; one that nobody knows is told, too."""

from __future__ import annotations

import difflib
import ipaddress
import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import Prefix, read_address, read_prefix
from ansible_collections.katran.fleet.plugins.plugin_utils import keepalived_words as words
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs import (
    Key,
    Place,
    Remarks,
    Server,
    Service,
    read_mark,
)
from ansible_collections.katran.fleet.plugins.plugin_utils.keepalived_checks import (
    SPEEDS,
    Checks,
    number_of,
    read_speed,
)
from ansible_collections.katran.fleet.plugins.plugin_utils.keepalived_text import FileSource, Statement, parse

MAX_OF_GROUP = 4096
"""As many services are made of the ranges of one group."""

_SCHEDULER_FLAGS = ("ops", "sh-port", "sh-fallback", "mh-port", "mh-fallback", "flag-1", "flag-2", "flag-3", "hashed")
_CHECKS = ("HTTP_GET", "SSL_GET", "TCP_CHECK", "DNS_CHECK", "UDP_CHECK", *words.NO_CHECK)
_METHODS = ("NAT", "DR", "TUN")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_SECRET = re.compile("pass|secret|token|community|key", re.IGNORECASE)
"""Words behind which there may be what no comment in an inventory should have."""

_PERSISTENT = 360
"""Seconds of persistence_timeout without a value."""

_KNOWN_SERVER = (
    *("protocol", "lb_algo", "lvs_sched", "lb_kind", "lvs_method", "persistence_timeout", "persistence_granularity"),
    *("virtualhost", "quorum", "sorry_server", "real_server", "weight", "inhibit_on_failure", *SPEEDS),
    *_SCHEDULER_FLAGS,
)
_KNOWN_REAL = ("weight", "inhibit_on_failure", "lvs_method", "virtualhost", *SPEEDS, *_CHECKS)


@dataclass
class Configured:
    """What a configuration balances: services by key, and interfaces that it names."""

    services: dict[Key, Service] = field(default_factory=dict)
    interfaces: list[str] = field(default_factory=list)


def read_keepalived(path: str, source: FileSource, remarks: Remarks, config_id: str = "") -> Configured:
    """A configuration, `config_id` as parse has it. OSError where the file itself cannot be read."""
    reader = _Reader(remarks)
    reader.top(parse(path, source, remarks, config_id))
    return reader.found


@dataclass
class _Server:
    """The options of a virtual server, which its reals start from."""

    service: Service
    method: str = "NAT"
    weight: int = 1
    inhibit: bool = False
    virtualhost: str = ""
    speeds: dict[str, float] = field(default_factory=dict)


class _Reader:
    """One configuration."""

    def __init__(self, remarks: Remarks) -> None:
        self.found = Configured()
        self._remarks = remarks
        self._groups: dict[str, list[tuple[Key, Place]]] = {}

    def top(self, statements: Sequence[Statement]) -> None:
        """Everything that stands in no block."""
        groups: list[Statement] = []
        servers: list[Statement] = []
        instances: list[Statement] = []
        sorted_by = {"virtual_server_group": groups, "virtual_server": servers, "vrrp_instance": instances}
        for each in statements:
            if each.keyword in sorted_by:
                sorted_by[each.keyword].append(each)
            elif each.keyword == "global_defs":
                self._globals(each)
            elif each.keyword in words.TOP:
                self._remarks.add(each.where, each.text, *words.TOP[each.keyword])
            else:
                self._unknown(each, "no block", (*sorted_by, "global_defs", *words.TOP))
        for each in groups:
            self._group(each)
        for each in servers:
            self._virtual_server(each)
        for each in instances:
            self._instance(each)

    def _unknown(self, statement: Statement, inside: str, known: Iterable[str]) -> None:
        near = difflib.get_close_matches(statement.keyword[:40], list(known), 1, 0.75)
        meant = f", and may be meant to be {near[0]}" if near else ""
        secret = _SECRET.search(statement.keyword)
        self._remarks.add(
            statement.where,
            f"{statement.keyword} …" if secret else statement.text,
            f"is no word that this import knows in {inside}{meant}",
            "see in keepalived.conf(5) whether what it does matters",
        )

    def _without(self, statements: Sequence[Statement], inside: str, table: words.Words, known: Sequence[str]) -> None:
        """Tell of statements that become nothing."""
        for each in statements:
            if each.keyword in table:
                self._remarks.add(each.where, each.text, *table[each.keyword])
            else:
                self._unknown(each, inside, (*table, *known))

    def _globals(self, block: Statement) -> None:
        rest = []
        for each in block.block or ():
            if each.keyword.startswith("vrrp_"):
                self._remarks.add(each.where, each.text, *words.NO_VRRP)
            else:
                rest.append(each)
        self._without(rest, "global_defs", words.GLOBAL, ())

    def _instance(self, instance: Statement) -> None:
        self._remarks.add(instance.where, instance.text, *words.NO_VRRP)
        addresses = {key.address for key in self.found.services}
        rest = []
        for each in instance.block or ():
            if each.keyword == "interface" and each.values:
                if each.values[0] not in self.found.interfaces:
                    self.found.interfaces.append(each.values[0])
            elif each.keyword == "virtual_ipaddress":
                for line in each.block or ():
                    address = read_address(line.keyword.partition("/")[0])
                    if address is None or address.text not in addresses:
                        self._remarks.add(line.where, line.text, *_MOVES)
            else:
                rest.append(each)
        self._without(rest, "vrrp_instance", words.VRRP, ("interface", "virtual_ipaddress"))

    def _group(self, group: Statement) -> None:
        name = " ".join(group.values)
        if name in self._groups:
            self._remarks.add(group.where, group.text, "is there twice; its lines were joined")
        keys = self._groups.setdefault(name, [])
        for each in group.block or ():
            more = self._range(each)
            if len(keys) + len(more) > MAX_OF_GROUP:
                self._remarks.add(each.where, each.text, f"makes more than {MAX_OF_GROUP} services", "write a prefix")
                continue
            keys += [(key, each.place) for key in more]

    def _range(self, line: Statement) -> list[Key]:
        """The places of a line of a group, of TCP."""
        if line.keyword == "fwmark":
            mark = number_of(Statement(line.words[:2], line.place), self._remarks, "a mark")
            return [Key("", 0, "", int(mark))] if mark else []
        first, _dash, last = line.keyword.partition("-")
        addresses = _addresses(first, last)
        ports = _ports(line.values[0] if line.values else "0")
        if not addresses or not ports or len(line.values) > 1:
            self._remarks.add(line.where, line.text, "is no address or range with a port", "write the VIP by hand")
            return []
        if len(addresses) * len(ports) > MAX_OF_GROUP:
            self._remarks.add(line.where, line.text, f"makes more than {MAX_OF_GROUP} services", "write a prefix")
            return []
        return [Key(address, port, "tcp") for address in addresses for port in ports]

    def _keys(self, statement: Statement) -> list[tuple[Key, Place]]:
        """What a virtual server is for."""
        values = statement.values
        if values[:1] == ["group"] and len(values) == 2:
            if values[1] not in self._groups:
                self._remarks.add(statement.where, statement.text, "names a group that is not there", _HAND)
            return self._groups.get(values[1], [])
        if values[:1] == ["fwmark"] and len(values) == 2 and (mark := read_mark(values[1])):
            return [(Key("", 0, "", mark), statement.place)]
        place = self._address_and_port(statement, "virtual server")
        return [(Key(*place, "tcp"), statement.place)] if place else []

    def _address_and_port(self, statement: Statement, noun: str) -> tuple[str, int] | None:
        """The address and port (0 where none is said) behind a word; None, and told, where there are none."""
        values = statement.values
        address = read_address(values[0]) if values else None
        ports = _ports(values[1]) if len(values) == 2 else [0] if len(values) == 1 else []
        if address is None or len(ports) != 1:
            self._remarks.add(statement.where, statement.text, f"is no {noun} with an address and a port", _HAND)
            return None
        return address.text, ports[0]

    def _virtual_server(self, statement: Statement) -> None:
        server = _Server(Service(Key("", 0, "tcp"), statement.place))
        reals, protocol = [], "tcp"
        for each in statement.block or ():
            if each.keyword == "real_server":
                reals.append(each)
            elif each.keyword == "protocol":
                protocol = "".join(each.values).lower()
            else:
                self._server_option(server, each)
        if protocol not in ("tcp", "udp"):
            meant = words.NO_SCTP if protocol == "sctp" else (f"protocol {protocol} is none", _HAND)
            self._remarks.add(statement.where, statement.text, *meant)
            return
        servers = [found for each in reals for found in self._real(server, each)]
        for key, place in self._keys(statement):
            named = key if key.mark else key._replace(protocol=protocol)
            if named in self.found.services:
                self._remarks.add(place, str(named), "is there twice; the first was kept", _HAND)
                continue
            made = Service(**{**vars(server.service), "key": named, "place": place, "servers": [*servers]})
            self.found.services[named] = made

    def _server_option(self, server: _Server, each: Statement) -> None:
        service, value = server.service, each.values[0] if each.values else ""
        if each.keyword in SPEEDS:
            read_speed(each, self._remarks, server.speeds)
        elif each.keyword in ("lb_algo", "lvs_sched") and value:
            service.scheduler = value
        elif each.keyword in _SCHEDULER_FLAGS:
            service.flags.append(each.keyword)
        elif each.keyword in ("lb_kind", "lvs_method") and value:
            server.method = self._method(each, service)
        elif each.keyword == "persistence_timeout":
            seconds = number_of(each, self._remarks, "seconds") if value else _PERSISTENT
            service.persistence = int(seconds or 0)
        elif each.keyword == "persistence_granularity":
            self._remarks.add(each.where, each.text, "clients of a network are held together", _GRANULARITY)
        elif each.keyword == "virtualhost" and value:
            server.virtualhost = value
        elif each.keyword == "quorum":
            service.quorum = int(number_of(each, self._remarks, "a weight") or 1)
        elif each.keyword == "sorry_server":
            address = read_address(value)
            service.sorry = address.text if address else ""
            self._remarks.add(each.where, each.text, *words.NO_SORRY)
        elif each.keyword == "weight":
            server.weight = self._weight(each, server.weight)
        elif each.keyword == "inhibit_on_failure":
            server.inhibit = _is_on(value)
        else:
            self._without([each], "virtual_server", words.SERVER, _KNOWN_SERVER)

    def _weight(self, statement: Statement, default: int) -> int:
        value = number_of(statement, self._remarks, "a weight of 0 or more")
        return default if value is None else int(value)

    def _method(self, statement: Statement, service: Service) -> str:
        """How packets go to reals, and of a tunnel, which it is."""
        method, *more = (value.upper() for value in statement.values)
        if method not in _METHODS:
            self._remarks.add(statement.where, statement.text, f"is none of {', '.join(_METHODS)}", "")
            return ""
        if more[:1] == ["TYPE"]:
            more = more[1:]
        kind, port = (more[0].lower() if more else ""), (more[2] if more[1:2] == ["PORT"] else "")
        service.tunnel = kind if kind in ("ipip", "gue") else ""
        service.tunnel_port = int(port) if port.isascii() and port.isdecimal() and len(port) < 6 else 0
        if any(word in ("CSUM", "REMCSUM") for word in more):
            self._remarks.add(statement.where, statement.text, *words.NO_CSUM)
        if kind not in ("", "ipip", "gue", "nocsum"):
            self._remarks.add(statement.where, statement.text, "is a tunnel that balancers have not", _TUNNEL)
        return method

    def _real(self, server: _Server, statement: Statement) -> list[Server]:
        """A real; empty, and told, where its address is none."""
        place = self._address_and_port(statement, "real server")
        if place is None:
            return []
        address, port = place
        weight, method, inhibit = server.weight, server.method, server.inhibit
        virtualhost, speeds, checks = server.virtualhost, dict(server.speeds), []
        for each in statement.block or ():
            if each.keyword in SPEEDS:
                read_speed(each, self._remarks, speeds)
            elif each.keyword == "weight":
                weight = self._weight(each, weight)
            elif each.keyword == "inhibit_on_failure":
                inhibit = _is_on("".join(each.values))
            elif each.keyword == "lvs_method" and each.values:
                method = self._method(each, server.service)
            elif each.keyword == "virtualhost" and each.values:
                virtualhost = each.values[0]
            elif each.keyword in _CHECKS:
                checks.append(each)
            else:
                self._without([each], "real_server", words.REAL, _KNOWN_REAL)
        reader = Checks(self._remarks, self._unknown, port, address)
        check: Mapping[str, t.Any] = reader.of(checks, speeds, virtualhost)
        if check and inhibit:
            # Weight 0 instead of removal: connections stay where they are.
            check = {**check, "on_down": "keep"}
        return [Server(address, port, weight, statement.place, method, check)]


_HAND = "write the VIP by hand"
_MOVES = (
    "moves with VRRP, and no virtual server has it",
    "it stays with keepalived, or with the network configuration",
)
_GRANULARITY = "flag hash_no_src_port holds the connections of one client address together"
_TUNNEL = "IPIP or GUE takes its place, as katran_encapsulation says"


def _ports(text: str) -> list[int]:
    """The ports that a port or a range is; none where it is neither."""
    found = _PORTS.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    return list(range(first, last + 1)) if last < 1 << 16 else []


def _is_on(text: str) -> bool:
    return text.lower() not in ("off", "false", "no")


def _addresses(first: str, last: str) -> list[str]:
    """The addresses of a network, or from one to the last; none where they are none.

    The last is an address, or its last part alone.
    """
    if "/" in first:
        prefix = read_prefix(first)
        network = ipaddress.ip_network(prefix.text) if isinstance(prefix, Prefix) and not last else None
        small = network is not None and network.num_addresses <= MAX_OF_GROUP
        return [str(each) for each in network] if network is not None and small else []
    begin = read_address(first)
    if begin is None or not last:
        return [begin.text] if begin else []
    start, end = int(ipaddress.ip_address(begin.text)), -1
    whole = read_address(last)
    base, bits = (16, 16) if begin.ipv6 else (10, 8)
    digits = "[0-9a-fA-F]{1,4}" if begin.ipv6 else "[0-9]{1,3}"
    if whole is not None and whole.ipv6 == begin.ipv6:
        end = int(ipaddress.ip_address(whole.text))
    elif re.fullmatch(digits, last, re.ASCII) and int(last, base) < 1 << bits:
        end = (start >> bits << bits) + int(last, base)
    if not start <= end < start + MAX_OF_GROUP:
        return []
    kind = ipaddress.IPv6Address if begin.ipv6 else ipaddress.IPv4Address
    return [str(kind(number)) for number in range(start, end + 1)]
