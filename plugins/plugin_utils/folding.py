# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What callback folded holds back: calls of Ansible's display, recorded host by host and folded."""

from __future__ import annotations

import hashlib
import re
import typing as t
from collections.abc import Iterator, Sequence

from ansible_collections.katran.fleet.plugins.module_utils._model.folding import fold, natural

HOST = "\0katran.fleet host\0"
"""What stands for the host's name in what is recorded; no output has it of itself."""

_SAYS = frozenset(
    (
        "display",
        "banner",
        "warning",
        "_warning",
        "deprecated",
        "_deprecated",
        "error",
        "_error",
        "error_as_warning",
        "warn",
    )
)
"""The methods of Ansible's display that print."""

# A file that Ansible made for one host: its name is another on each, and says nothing.
_TEMPORARY = re.compile(r"/\S*/ansible-(?:local-|tmp-)[^\s/]+/(?:tmp[^\s/]+/)?")
_HEADING = re.compile(r"^(?:\x1b\[[0-9;]*m)?(?:---|\+\+\+) .*$", re.MULTILINE)
_SHORT = 200
"""Characters of a line that is rather printed again than referred to."""


class Call(t.NamedTuple):
    """One call of the display, with a stand-in for the host's name."""

    method: str
    values: tuple[t.Any, ...]
    named: tuple[tuple[str, t.Any], ...]

    def replay(self, display: t.Any, host: str) -> None:
        """Do it, with the name or names of hosts."""
        values = [_with_host(each, host) for each in self.values]
        getattr(display, self.method)(*values, **{name: _with_host(each, host) for name, each in self.named})

    @property
    def text(self) -> str:
        """What is printed, where that is a text."""
        return self.values[0] if self.values and isinstance(self.values[0], str) else ""


def _with_host(value: t.Any, host: str) -> t.Any:
    return value.replace(HOST, host) if isinstance(value, str) else value


class Recorder:
    """Stands in for Ansible's display while the output of one host is made."""

    def __init__(self, display: t.Any, host: str) -> None:
        self.calls: list[Call] = []
        self._display = display
        self._host = host
        # A module knows the host by its own name, of which the inventory mostly has the same.
        self._names = sorted({host, host.partition(".")[0]}, key=len, reverse=True)

    def __getattr__(self, name: str) -> t.Any:
        return (
            (lambda *values, **named: self._say(name, values, named)) if name in _SAYS else getattr(self._display, name)
        )

    def _say(self, method: str, values: tuple[t.Any, ...], named: dict[str, t.Any]) -> None:
        own = self._own_warning(values[0]) if method == "_warning" and len(values) == 1 and not named else None
        if own is not None:
            method, values = "warning", (own,)
        told = tuple(_HEADING.sub(_plain_heading, each) if isinstance(each, str) else each for each in values)
        if method == "display" and told and isinstance(told[0], str):
            # Not every method of the default callback asks for the host's label.
            for status in ("skipping: [", "ok: [", "changed: [", "fatal: [", "failed: ["):
                if told[0].startswith(f"{status}{self._host}]"):
                    told = (f"{status}{HOST}{told[0][len(status) + len(self._host) :]}", *told[1:])
        self.calls.append(Call(method, told, tuple(sorted(named.items()))))

    def _own_warning(self, summary: t.Any) -> str | None:
        """A warning's text that begins with the host's name, with a stand-in for that; None where it has none."""
        event = getattr(summary, "event", None)
        text = getattr(event, "msg", None)
        if not isinstance(text, str) or any(getattr(event, name, None) for name in ("chain", "help_text", "events")):
            return None
        for name in self._names:
            if text.startswith((f"{name}: ", f"{name}, ")):
                return HOST + text[len(name) :]
        return None


def _plain_heading(heading: re.Match[str]) -> str:
    return _TEMPORARY.sub("", heading[0])


def _size(call: Call) -> int:
    return sum(len(each) if isinstance(each, str) else 200 for each in call.values)


class TaskOutput:
    """What the hosts of one task say, each different thing kept once.

    `since`: when the first came (s, a monotonic clock); `held`: characters of it.
    """

    def __init__(self, task: t.Any, since: float) -> None:
        self.task = task
        self.since = since
        self.held = 0
        self._calls: dict[bytes, list[Call]] = {}
        self._said: dict[str, list[bytes]] = {}
        self._ended: set[str] = set()
        self._told: dict[bytes, tuple[str, list[str], list[Call]]] = {}

    def add(self, host: str, calls: list[Call]) -> None:
        """A host says this after what it said before."""
        if calls:
            self._said.setdefault(host, []).append(self._keep(calls))

    def end(self, host: str) -> None:
        """A host has said all that it has to."""
        self._ended.add(host)

    def is_new(self, host: str, calls: list[Call]) -> bool:
        """Whether this, which is told at once, was not told of another host before."""
        digest = _digest(calls)
        if digest in self._told:
            self._told[digest][1].append(host)
            return False
        self._told[digest] = host, [], calls
        return True

    def take(self, whole: bool) -> Iterator[tuple[str, list[Call]]]:
        """What hosts said that are done, or all with `whole`: (their names, calls), which is then no longer held."""
        hosts = [host for host in self._said if whole or host in self._ended]
        for each in fold((host, tuple(self._said.pop(host))) for host in hosts):
            yield each.names, [call for digest in each.said for call in self._calls[digest]]
        kept = {digest for digests in self._said.values() for digest in digests}
        self._calls = {digest: calls for digest, calls in self._calls.items() if digest in kept}
        self.held = sum(_size(call) for calls in self._calls.values() for call in calls)

    def take_told(self) -> Iterator[tuple[str, str, list[Call]]]:
        """What was told at once and came again: (the others' names, the first host, calls)."""
        for digest, (first, others, calls) in sorted(self._told.items(), key=lambda item: natural(item[1][0])):
            if others:
                self._told[digest] = first, [], calls
                yield fold((host, None) for host in others)[0].names, first, calls

    def _keep(self, calls: list[Call]) -> bytes:
        digest = _digest(calls)
        if digest not in self._calls:
            self._calls[digest] = calls
            self.held += sum(map(_size, calls))
        return digest


def _digest(calls: Sequence[Call]) -> bytes:
    return hashlib.sha256(repr(calls).encode(errors="surrogatepass")).digest()


def told_again(calls: Sequence[Call], first: str) -> Iterator[Call]:
    """What to say of other hosts that failed as the first did: its short lines, of long ones only where they are."""
    for call in calls:
        before, label, after = call.text.partition(HOST)
        if label and len(call.text) <= _SHORT and "\n" not in call.text.strip("\n"):
            yield call
        elif label:
            # With the host that the task was delegated to, and the item.
            delegated, _end, rest = after.partition("]")
            item = rest.partition(" => ")[0] if rest.startswith((" (item=", " => (item=")) else ""
            yield call._replace(values=(f"{before}{HOST}{delegated}]{item}: as {first} above", *call.values[1:]))
        elif call.text.startswith("..."):
            yield call
