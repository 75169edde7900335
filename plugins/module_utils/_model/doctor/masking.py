# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What leaves a host in a bug report: texts without secrets, and without addresses where that is asked for. Pure.

Addresses are mapped one to one, bit by bit under a key that nobody keeps, so that two that share a prefix still do
(Xu, Fan, Ammar, Moon, "Prefix-preserving IP address anonymization", ICNP 2002); the same address is the same one
everywhere in a bundle.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
import typing as t
from collections.abc import Iterable, Iterator, Mapping

REMOVED = "(removed)"
SECRET_FIELDS = frozenset(
    {"sync_key", "password", "passphrase", "secret", "token", "key_data", "authorization", "cookie"}
    | {"headers", "payload", "expect", "body"}
)
"""Fields of files that are, or may hold, what nobody else is to know: keys, and what checks say to services."""

_SHORTEST = 4
"""Of what is removed wherever it stands: anything shorter would be found in the middle of other words."""

_WRITTEN = re.compile(
    r"((?:password|passphrase|passwd|secret|token|sync_key|authorization|cookie)[\"']?\s*[:=]?\s*)"
    r"(\"[^\"\n]*\"|'[^'\n]*'|(?:(?:bearer|basic)\s+)?[^\s;,{}\"']+)",
    re.IGNORECASE,
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_IN_URL = re.compile(r"(?<=://)[^/\s@\"']+@")
_QUERY = re.compile(r"(?<=[\w/])\?[\w%.~+*-]+=[^\s\"'<>]*")


class Secrets:
    """What is known to be secret, and is removed wherever it stands, in each way that a key is written."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        for each in known:
            self.add(each)

    def add(self, secret: str) -> None:
        """One more."""
        forms = {secret, secret.strip(), json.dumps(secret)[1:-1]}
        try:
            raw = bytes.fromhex(secret)
        except ValueError:
            raw = b""
        if len(raw) >= _SHORTEST:
            forms |= {secret.lower(), secret.upper()}
            forms |= {write(raw).decode() for write in (base64.b64encode, base64.urlsafe_b64encode)}
            forms |= {form.rstrip("=") for form in forms}
        self._known |= {form for form in forms if len(form) >= _SHORTEST}

    def learn(self, text: str) -> None:
        """Those that a file of ours or a routing daemon's names as such."""
        for each in _WRITTEN.finditer(text):
            self.add(each[2].strip("\"'"))
        for value in _fields(_parsed(text)):
            self.add(value)

    def removed(self, text: str) -> str:
        """The text without them, and without what looks like one."""
        found = _parsed(text)
        if found is not None:
            text = json.dumps(_without(found), indent=1) + "\n"
        text = _PEM.sub(REMOVED, text)
        text = _WRITTEN.sub(lambda each: each[1] + _in_place_of(each[2]), text)
        text = _QUERY.sub(f"?{REMOVED}", _IN_URL.sub(f"{REMOVED}@", text))
        for secret in sorted(self._known, key=len, reverse=True):
            text = text.replace(secret, REMOVED)
        return text


def _in_place_of(value: str) -> str:
    """What stands for a secret, in the quotes that it had."""
    quote = value[0] if value[0] in "\"'" else ""
    return f"{quote}{REMOVED}{quote}"


def _parsed(text: str) -> t.Any:
    """What a JSON object or list says; None of any other text."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _fields(value: t.Any) -> Iterator[str]:
    """The texts in fields that are secret."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(each) if str(name).lower() in SECRET_FIELDS else _fields(each)
    elif isinstance(value, list):
        for each in value:
            yield from _fields(each)


def _texts(value: t.Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _without(value: t.Any) -> t.Any:
    if isinstance(value, Mapping):
        return {
            name: REMOVED if str(name).lower() in SECRET_FIELDS and each else _without(each)
            for name, each in value.items()
        }
    return [_without(each) for each in value] if isinstance(value, list) else value


_MAC = r"(?<![0-9A-Fa-f:])(?P<macs>(?:[0-9A-Fa-f]{2}:){5,}[0-9A-Fa-f]{2})(?![0-9A-Fa-f:])"
"""One, or several in a row, as the kernel logs the head of a frame."""

_V4 = r"(?:\d{1,3}\.){3}\d{1,3}"
_IPV4 = rf"(?<![\d.]){_V4}(?!\.?\d)(?:/\d{{1,2}})?(?!\d)"
_IPV6 = rf"(?<![\w:.])(?=[0-9A-Fa-f]*:[0-9A-Fa-f]*:)(?:[0-9A-Fa-f:]+:{_V4}|[0-9A-Fa-f:]+)(?:/\d{{1,3}})?(?!\w)"
_ONE_IPV4 = re.compile(_IPV4)
_EVERY = re.compile(f"{_MAC}|{_IPV6}|{_IPV4}")
_MAC_TEXT = 18
"""Characters of a MAC and the colon behind it."""

_KEPT = frozenset({"0.0.0.0", "127.0.0.1", "255.255.255.255", "::", "::1"})  # noqa: S104  # they name nobody
_SPECIAL_MACS = frozenset({"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"})


class Masker:
    """Puts addresses, MACs and names of hosts that mean nothing into the place of real ones.

    `key`: random bytes, to be thrown away. `names`: of hosts, whole or short.
    """

    def __init__(self, key: bytes, names: Iterable[str] = ()) -> None:
        self._key = key
        self._bits: dict[tuple[int, int, int], int] = {}
        self._addresses: dict[str, str] = {}
        wanted = {name.rstrip(".").lower() for name in names}
        longest = sorted((name for name in wanted if name and name != "localhost"), key=lambda each: (-len(each), each))
        self._names = {name: f"host-{number}" for number, name in enumerate(longest, 1)}
        every = "|".join(map(re.escape, longest))
        self._named = re.compile(rf"(?<![\w-])(?:{every})(?![\w-])", re.IGNORECASE) if every else None

    def text(self, text: str) -> str:
        """The same text, masked."""
        if self._named is not None:
            text = self._named.sub(lambda found: self._names[found[0].lower()], text)
        # At once: what stands for one address is not to be masked again.
        return _EVERY.sub(self._match, text)

    def address(self, text: str) -> str:
        """What stands for an address; the text itself where it is none, or one that names nobody."""
        if text in _KEPT:
            return text
        if text not in self._addresses:
            try:
                self._addresses[text] = self._mapped(ipaddress.ip_address(text))
            except ValueError:
                self._addresses[text] = text
        return self._addresses[text]

    def _match(self, found: re.Match[str]) -> str:
        text = found[0]
        if found.groupdict().get("macs"):
            return self._macs(text)
        # What a sentence goes on with behind its colon is none of the address.
        address = re.sub(r"(?<!:):$", "", text.partition("/")[0])
        rest = text[len(address) :]
        masked = self.address(address)
        if masked == address:
            return masked + rest if _ONE_IPV4.fullmatch(text) else _ONE_IPV4.sub(self._match, text)
        if not rest.startswith("/"):
            return masked + rest
        try:
            # With the length of its network, an address of a host is none of a network.
            ipaddress.ip_network(text)
            return str(ipaddress.ip_network(f"{masked}{rest}", strict=False))
        except ValueError:
            return masked + rest

    def _mapped(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
        mapped = getattr(address, "ipv4_mapped", None)
        if mapped is not None:
            return f"::ffff:{self.address(str(mapped))}"
        width, value = address.max_prefixlen, int(address)
        result = 0
        for index in range(width):
            above = value >> (width - index)
            bit = (value >> (width - 1 - index)) & 1
            result = result << 1 | bit ^ self._flip(width, index, above)
        return str(type(address)(result))

    def _flip(self, width: int, index: int, above: int) -> int:
        """Whether a bit is the other one, by those above it."""
        place = width, index, above
        if place not in self._bits:
            told = width.to_bytes(2, "big") + index.to_bytes(2, "big") + above.to_bytes(16, "big")
            self._bits[place] = hashlib.blake2b(told, key=self._key, digest_size=1).digest()[0] & 1
        return self._bits[place]

    def _macs(self, text: str) -> str:
        parts = [text[at : at + _MAC_TEXT].rstrip(":") for at in range(0, len(text), _MAC_TEXT)]
        return ":".join(self._mac(part) if len(part) == _MAC_TEXT - 1 else part for part in parts)

    def _mac(self, text: str) -> str:
        text = text.lower()
        if text in _SPECIAL_MACS:
            return text
        digest = hashlib.blake2b(text.encode(), key=self._key, digest_size=5).hexdigest()
        return "02:" + ":".join(digest[at : at + 2] for at in range(0, 10, 2))
