# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of IPVS as `ipvsadm -Sn` prints it (ipvsadm(8)). Every option is taken over, or told. Pure: no I/O."""

from __future__ import annotations

import shlex

from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import read_address
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs import (
    MAX_TEXT,
    Key,
    Place,
    Remarks,
    Server,
    Service,
    read_mark,
)
from ansible_collections.katran.fleet.plugins.plugin_utils.keepalived_words import NO_CSUM, NO_SCTP

_LONG = {
    "add-service": "A",
    "add-server": "a",
    "tcp-service": "t",
    "udp-service": "u",
    "sctp-service": "sctp",
    "fwmark-service": "f",
    "scheduler": "s",
    "persistent": "p",
    "netmask": "M",
    "sched-flags": "b",
    "ops": "o",
    "ipv6": "6",
    "real-server": "r",
    "gatewaying": "g",
    "ipip": "i",
    "masquerading": "m",
    "weight": "w",
    "u-threshold": "x",
    "l-threshold": "y",
}
_FLAGS = frozenset(("A", "a", "o", "6", "g", "i", "m", "tun-nocsum", "tun-csum", "tun-remcsum"))
"""Options without a value."""

_WITH_VALUE = frozenset(("t", "u", "sctp", "f", "s", "p", "M", "b", "r", "w", "x", "y", "pe", "tun-type", "tun-port"))
_METHODS = {"g": "DR", "i": "TUN", "m": "NAT"}
_PERSISTENT = 300
_NAMES = "is no address with a port in digits; read the table with ipvsadm -Sn"
_NO_LIMIT = ("a bound of a real's connections", "no balancer counts connections; give it less weight")


def read_ipvsadm(text: str, file: str, remarks: Remarks) -> dict[Key, Service]:
    """The services of a table. `file`: what the text is called."""
    found: dict[Key, Service] = {}
    if len(text) > MAX_TEXT:
        remarks.add(file, "the table", f"is longer than {MAX_TEXT >> 20} MiB; the rest was not read")
        text = text[:MAX_TEXT]
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            _Line(line, Place(file, number), remarks).into(found)
    return found


class _Line:
    """One line."""

    def __init__(self, line: str, place: Place, remarks: Remarks) -> None:
        self._line = line.strip()
        self._place = place
        self._remarks = remarks
        self._options: dict[str, str] = {}

    def into(self, found: dict[Key, Service]) -> None:
        """Take the line up, or tell of it."""
        if not self._read():
            return
        key = self._key()
        if key is None:
            return
        if "A" in self._options:
            if key in found:
                self._tell("is there twice; the first was kept")
                return
            found[key] = self._service(key)
        elif key not in found:
            self._tell(f"is a real of {key}, which no line before adds")
        else:
            self._server(found[key])

    def _tell(self, meaning: str, remedy: str = "", subject: str = "") -> None:
        self._remarks.add(self._place, subject or self._line, meaning, remedy)

    def _read(self) -> bool:
        try:
            words = shlex.split(self._line)
        except ValueError:
            self._tell("has a quote that nothing ends")
            return False
        while words:
            word = words.pop(0)
            name = _LONG.get(word[2:], word[2:]) if word.startswith("--") else word[1:]
            if not word.startswith("-") or name not in _FLAGS | _WITH_VALUE or name in self._options:
                self._tell(f"{word[:60]} is no option that this import knows", "read the table with ipvsadm -Sn")
                return False
            bare = name in _FLAGS or (name == "p" and (not words or words[0].startswith("-")))
            if not bare and not words:
                self._tell(f"{word} has no value")
                return False
            self._options[name] = "" if bare else words.pop(0)
        if ("A" in self._options) == ("a" in self._options):
            self._tell("neither adds a service nor a real", "read the table with ipvsadm -Sn")
            return False
        return True

    def _key(self) -> Key | None:
        named = [name for name in ("t", "u", "sctp", "f") if name in self._options]
        if len(named) != 1:
            self._tell("names no service, or several")
            return None
        text = self._options[named[0]]
        if named[0] == "sctp":
            self._tell(*NO_SCTP)
            return None
        if named[0] == "f":
            mark = read_mark(text)
            if mark:
                return Key("", 0, "", mark)
            self._tell(f"{text[:60]} is no mark of a firewall")
            return None
        place = _address_and_port(text)
        if place is None:
            self._tell(f"{text[:60]} {_NAMES}")
            return None
        return Key(*place, "tcp" if named[0] == "t" else "udp")

    def _service(self, key: Key) -> Service:
        options = self._options
        service = Service(key, self._place, scheduler=options.get("s", "wlc"))
        service.flags = [
            *(word for word in options.get("b", "").split(",") if word),
            *(["ops"] if "o" in options else []),
        ]
        if "p" in options:
            service.persistence = self._number("p", 86400 * 31) or _PERSISTENT
        if options.get("M") not in (None, "255.255.255.255", "128"):
            self._tell(
                "clients of a network are held together",
                "flag hash_no_src_port holds the connections of one client address together",
                f"{key} -M {options['M']}",
            )
        if "pe" in options:
            self._tell(
                "persistence by what is in packets", "balancers look at no payload", f"{key} --pe {options['pe']}"
            )
        return service

    def _server(self, service: Service) -> None:
        place = _address_and_port(self._options.get("r", ""), service.key.port)
        if place is None:
            self._tell(f"{self._options.get('r', '')[:60]} {_NAMES}")
            return
        address, port = place
        if any(each.address == address and each.port == port for each in service.servers):
            self._tell("is there twice; the first was kept")
            return
        method = next((_METHODS[name] for name in _METHODS if name in self._options), "DR")
        kind = self._options.get("tun-type", "")
        if kind in ("ipip", "gue"):
            service.tunnel = kind
            service.tunnel_port = self._number("tun-port", 65535)
        elif kind:
            self._tell(f"{kind[:60]} is a tunnel that balancers have not", "katran_encapsulation is ipip or gue")
        if "tun-csum" in self._options or "tun-remcsum" in self._options:
            self._tell(*NO_CSUM)
        for name in ("x", "y"):
            if self._number(name, 1 << 32):
                self._tell(*_NO_LIMIT)
        weight = self._number("w", 1 << 31) if "w" in self._options else 1
        service.servers.append(Server(address, port, weight, self._place, method))

    def _number(self, name: str, most: int) -> int:
        """An option's number; 0, and told, where it is none."""
        text = self._options.get(name, "")
        if text.isascii() and text.isdecimal() and len(text) < 12 and int(text) <= most:
            return int(text)
        if text:
            self._tell(f"{text[:60]} is no number up to {most}")
        return 0


def _address_and_port(text: str, default: int | None = None) -> tuple[str, int] | None:
    """ADDRESS:PORT or [ADDRESS]:PORT, canonical; where a port is left out, the default, if there is one."""
    bare = read_address(text.removeprefix("[").removesuffix("]"))
    if bare is not None and default is not None:
        return bare.text, default
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    address = read_address(host)
    good = colon and port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 1 << 16
    return (address.text, int(port)) if address and good else None
