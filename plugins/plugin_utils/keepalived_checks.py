# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of keepalived.conf as checks of VIPs, and what of them has no equivalent. Pure: no I/O."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.katran.fleet.plugins.module_utils._model.check_values import CHECK_VALUES
from ansible_collections.katran.fleet.plugins.plugin_utils import keepalived_words as words
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs import Remarks
from ansible_collections.katran.fleet.plugins.plugin_utils.keepalived_text import Statement

Options = dict[str, t.Any]
Unknown = Callable[[Statement, str, t.Iterable[str]], None]
"""Tells of a word that nobody knows: the statement, in what it stands, and the words that there are."""

SPEEDS = ("delay_loop", "retry", "nb_get_retry", "nb_sock_retry", "delay_before_retry", "connect_timeout")
"""How often and how long a check asks, which a virtual server says for its reals, and these for their checks."""

_SPEED: Mapping[str, tuple[str, float, float]] = {
    "delay_loop": ("interval", 0.1, 3600),
    "connect_timeout": ("timeout", 0.01, 60),
    "delay_before_retry": ("fast_interval", 0.1, 3600),
    "retry": ("fall", 1, 100),
}
"""Word → option of a check, and its bounds; keepalived counts attempts after the first."""

_INTERVAL = 1.0
"""Seconds from one probe to the next where nothing says it."""

_KINDS = {"HTTP_GET": "http", "SSL_GET": "https", "DNS_CHECK": "dns", "UDP_CHECK": "udp", "TCP_CHECK": "tcp"}
_PREFERRED = ("https", "http", "dns", "udp", "tcp")
_LITERAL = re.compile(r"[A-Za-z0-9 _:,/<>=@%&;~\"'-]+", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_HEX = re.compile(r"[0-9A-Fa-f]+", re.ASCII)


def number_of(statement: Statement, remarks: Remarks, noun: str = "a number") -> float | None:
    """The number behind a word; None, and told, where there is none."""
    if len(statement.values) == 1 and _DECIMAL.fullmatch(statement.values[0]):
        return float(statement.values[0])
    remarks.add(statement.where, statement.text, f"has to have {noun}, and was passed over", "look what is meant")
    return None


def read_speed(statement: Statement, remarks: Remarks, speeds: dict[str, float]) -> None:
    """Take up what one of SPEEDS says; several words for one thing are one here."""
    value = number_of(statement, remarks)
    if value is not None:
        word = statement.keyword
        speeds["retry" if word in ("nb_get_retry", "nb_sock_retry") else word] = value


class Checks:
    """The checks of one real."""

    def __init__(self, remarks: Remarks, unknown: Unknown, port: int, address: str) -> None:
        """`port` and `address`: those of the real."""
        self._remarks = remarks
        self._unknown = unknown
        self._port = port
        self._address = address

    def of(self, statements: Sequence[Statement], under: Mapping[str, float], virtualhost: str) -> Options:
        """The one check that stands for those of a real; empty where none does. `under`: SPEEDS from outside."""
        found: dict[str, tuple[Statement, Options]] = {}
        for each in statements:
            if each.keyword in words.NO_CHECK:
                self._remarks.add(each.where, each.text, *words.NO_CHECK[each.keyword])
                continue
            kind, options = _KINDS[each.keyword], self._options(each, under, virtualhost)
            if options is None:
                continue
            if kind in found:
                self._remarks.add(each.where, each.text, "a VIP has one check; this one was passed over", _ONE)
            else:
                found[kind] = each, options
        chosen = next((kind for kind in _PREFERRED if kind in found), "")
        for kind, (each, _options) in found.items():
            if kind != chosen:
                self._remarks.add(each.where, each.text, f"a VIP has one check; that of type {chosen} was kept", _ONE)
        return {"type": chosen, **found[chosen][1]} if chosen else {}

    def _options(self, check: Statement, under: Mapping[str, float], virtualhost: str) -> Options | None:
        """A check's options but its type; None where no check is like it."""
        speeds, options, rest = dict(under), Options(), []
        for each in check.block or ():
            if each.keyword in SPEEDS:
                read_speed(each, self._remarks, speeds)
            elif not self._place(each, options):
                rest.append(each)
        kind = _KINDS[check.keyword]
        read = {"dns": self._dns, "udp": self._udp, "tcp": self._tcp}.get(kind)
        own = read(check, rest) if read else self._http(check, rest, virtualhost)
        if own is None:
            return None
        options.update(own)
        return {**self._valid(check, options), **self._speed(check, speeds)}

    def _place(self, statement: Statement, options: Options) -> bool:
        """Whether a statement says where a check connects to."""
        if statement.keyword == "connect_port":
            port = number_of(statement, self._remarks, "a port")
            if port is not None and port != self._port:
                options["port"] = int(port)
        elif statement.keyword == "connect_ip":
            if statement.values[:1] != [self._address]:
                self._remarks.add(
                    statement.where,
                    statement.text,
                    "the check asks another address than the real's",
                    "probes go through the tunnel to each real itself; what it proved is to be checked otherwise",
                )
        else:
            return False
        return True

    def _speed(self, check: Statement, speeds: Mapping[str, float]) -> Options:
        found: Options = {}
        for word, (name, low, high) in _SPEED.items():
            if word not in speeds:
                continue
            wanted = speeds[word] + 1 if word == "retry" else speeds[word]
            value = min(max(wanted, low), high)
            if name == "fast_interval":
                value = min(value, found.get("interval", _INTERVAL))
            if value != wanted:
                told = f"{word} {speeds[word]:g} is outside of what option {name} takes; it became {value:g}"
                self._remarks.add(check.where, check.text, told, "look whether that is right for the service")
            found[name] = int(value) if value == int(value) else value
        return found

    def _valid(self, check: Statement, options: Options) -> Options:
        """The options that a check takes; the others are told."""
        found = {}
        for name, value in options.items():
            try:
                CHECK_VALUES[name](value)
            except ValueError as error:
                self._remarks.add(check.where, check.text, f"{name} was passed over: {error}", "write it by hand")
                continue
            found[name] = value
        return found

    def _others(self, statements: Sequence[Statement], inside: str, known: t.Collection[str]) -> None:
        for each in statements:
            if each.keyword in words.CHECK:
                self._remarks.add(each.where, each.text, *words.CHECK[each.keyword])
            elif each.keyword not in known:
                self._unknown(each, inside, (*known, *words.CHECK, *SPEEDS))

    def _tcp(self, check: Statement, statements: Sequence[Statement]) -> Options:
        self._others(statements, check.keyword, ("connect_port", "connect_ip"))
        return {}

    def _http(self, check: Statement, statements: Sequence[Statement], virtualhost: str) -> Options:
        options: Options = {"status": ["200-299"]}
        urls = [each for each in statements if each.keyword == "url"]
        for each in urls[1:]:
            self._remarks.add(each.where, each.text, "a check asks one path; this one was passed over", _ONE)
        for each in statements:
            if each.keyword == "virtualhost" and each.values:
                virtualhost = each.values[0]
        self._others(statements, check.keyword, ("url", "virtualhost"))
        for each in (urls[0].block or ()) if urls else ():
            if each.keyword == "path" and each.values:
                options["path"] = each.values[0]
            elif each.keyword == "status_code" and each.values:
                options["status"] = each.values
            elif each.keyword == "virtualhost" and each.values:
                virtualhost = each.values[0]
            elif each.keyword == "regex":
                self._regex(each, options)
            elif each.keyword in words.URL:
                self._remarks.add(each.where, each.text, *words.URL[each.keyword])
            else:
                self._unknown(each, "url", ("path", "status_code", "virtualhost", "regex", *words.URL))
        if virtualhost:
            options["host"] = virtualhost
        return options

    def _regex(self, statement: Statement, options: Options) -> None:
        text = " ".join(statement.values)
        if _LITERAL.fullmatch(text) and "body" not in options:
            options["body"] = text
            return
        self._remarks.add(
            statement.where,
            statement.text,
            "the answer must match a regular expression",
            "a check has body, a plain text that the answer must have in it",
        )

    def _dns(self, check: Statement, statements: Sequence[Statement]) -> Options:
        # The defaults of keepalived.
        options: Options = {"query": ".", "record": "SOA"}
        for each in statements:
            if each.keyword == "name" and each.values:
                options["query"] = each.values[0]
            elif each.keyword == "type" and each.values:
                options["record"] = each.values[0].upper()
        self._others(statements, check.keyword, ("name", "type", "connect_port", "connect_ip"))
        return options

    def _udp(self, check: Statement, statements: Sequence[Statement]) -> Options | None:
        options: Options = {}
        replied = False
        for each in statements:
            if each.keyword == "payload" and each.values:
                options.update(self._octets(each, "payload"))
            elif each.keyword == "require_reply":
                replied = True
                if each.values:
                    options.update(self._octets(each, "expect"))
            elif each.keyword in ("min_reply_length", "max_reply_length"):
                self._remarks.add(each.where, each.text, "how long a reply is", "a check has expect, what is in it")
        known = ("payload", "require_reply", "min_reply_length", "max_reply_length", "connect_port", "connect_ip")
        self._others(statements, check.keyword, known)
        if replied:
            return options
        self._remarks.add(
            check.where,
            check.text,
            "silence is a good answer to it, and to no check here",
            "give a payload that the service answers, with a check of type udp",
        )
        return None

    def _octets(self, statement: Statement, name: str) -> Options:
        """Bytes as keepalived writes them: words of hexadecimal digits, a digit that is left over is a byte."""
        if all(map(_HEX.fullmatch, statement.values)):
            pairs = [word[index : index + 2] for word in statement.values for index in range(0, len(word), 2)]
            return {name: "hex:" + "".join(pair.rjust(2, "0") for pair in pairs).lower()}
        why = "is not hexadecimal digits, or has X for digits that do not matter"
        self._remarks.add(statement.where, statement.text, why, f"write {name} by hand")
        return {}


_ONE = "have the service say by one answer all that matters"
