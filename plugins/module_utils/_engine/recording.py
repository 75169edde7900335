# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recording what runs change: an entry of the journal, and one of the instance's history.

A run that changes nothing costs a look at one file. One that changes something writes down before its first write
that it is about to, so that the next finds what a killed one had come to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .._kernel.history_files import HistoryFiles
from .._kernel.journal import tell_journal
from .._kernel.state_files import StateFile
from .._model.audit import Audit, parse_audit
from .._model.errors import FleetError, StateError
from .._model.history import (
    BEFORE,
    Entry,
    Opening,
    Step,
    entry_after,
    opening,
    recorded_in,
    step_of,
    superfluous,
    unended,
)
from .._model.state import State
from .._model.tables import BALANCER_TABLES
from .request import Result

KEPT_FILES = ("state.json", *(table.file for table in BALANCER_TABLES.values()))
"""What is kept of an instance with each entry."""

_NOTICE, _WARNING = 5, 4
"""Priorities of syslog(3)."""

Work = Callable[[], Result]


def recorded(file: StateFile, module: str, asked: str | None, check: bool, work: Work, to: int | None = None) -> Result:
    """Do something, and record what it changed. For a caller that holds the lock.

    `asked`: what the controller says of who asked; None where nobody did, as at boot: then nothing is recorded, and
    neither in check mode. `to`: the entry that is gone back to.
    """
    if asked is None or check:
        return work()
    audit = parse_audit(asked)
    recording = _Recording(file, opening(module, _now(), audit, to))
    recording.settle()
    started = time.monotonic()
    file.before_writing = recording.begin
    try:
        result = work()
    except FleetError as error:
        if recording.begun:
            _tell(file.instance, recording.opened, f"failed: {error}", _WARNING)
        raise
    finally:
        file.before_writing = None
    if result.changed or recording.begun:
        recording.end(result, time.monotonic() - started)
        if audit.fault:
            recording.warnings.append(audit.fault)
    result.warnings += recording.warnings
    return result


def tell_removal(instance: str, asked: str | None, result: Result) -> None:
    """Tell the journal that a balancer went, with its history."""
    if asked is not None and result.changes:
        opened = opening("balancer", _now(), parse_audit(asked))
        _tell(instance, opened, _lines(result), _NOTICE, changes=len(result.changes))


def _now() -> str:
    return _told(datetime.now(tz=UTC))


def _told(time_: datetime) -> str:
    return time_.isoformat(timespec="milliseconds")


def _lines(result: Result) -> str:
    more = len(result.changes) - 1
    return f"{result.changes[0] if result.changes else 'maps put in order'}{f' and {more} more' if more > 0 else ''}"


def _tell(instance: str, opened: Opening, what: str, priority: int, **fields: object) -> None:
    by = Audit(opened.run, opened.user, opened.revision).by
    found: dict[str, object] = {
        "MESSAGE": f"balancer {instance}: {opened.module}: {what}{f' ({by})' if by else ''}",
        "PRIORITY": priority,
        "SYSLOG_IDENTIFIER": "katran-fleet",
        "KATRAN_INSTANCE": instance,
        "KATRAN_MODULE": opened.module,
        "KATRAN_RUN": opened.run,
        "KATRAN_USER": opened.user,
        "KATRAN_REVISION": opened.revision,
    }
    found |= {f"KATRAN_{name.upper()}": value for name, value in fields.items()}
    tell_journal({name: value for name, value in found.items() if value not in ("", None)})


@dataclass
class _Recording:
    """One run's part in the history. What goes wrong with it is a warning: the run itself did what it was asked."""

    file: StateFile
    opened: Opening
    begun: bool = False
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files = HistoryFiles(self.file)

    @contextmanager
    def _harmless(self) -> Iterator[None]:
        try:
            yield
        except (StateError, OSError) as error:
            self.warnings.append(f"the history of balancer {self.file.instance} is not complete: {error}")

    def settle(self) -> None:
        """Record what a killed run had come to."""
        with self._harmless():
            try:
                left = self.files.opening()
            except StateError as error:
                self.warnings.append(str(error))
                self.files.end()
                return
            if left is None:
                return
            self.files.tidy()
            last = self._last()
            if recorded_in(last, left) and last is not None:
                self.files.link(last)
            elif last is None or not self._is_as_now(last):
                self._keep(last, left, unended(left))
            self.files.end()

    def begin(self) -> None:
        """Before the first write: what is there is the configuration before, and something is about to be done."""
        if self.begun:
            return
        self.begun = True
        with self._harmless():
            self.files.sweep()
            if not self.files.numbers():
                written = self.files.changed_at("state.json")
                began = _told(datetime.fromtimestamp(written, tz=UTC)) if written else self.opened.began
                before = Entry(0, BEFORE, began, files=self.files.present(KEPT_FILES))
                # Files before what names them: where this is killed, the next run begins again.
                self.files.link(before)
                self.files.keep(before)
            self.files.open(self.opened)

    def end(self, result: Result, seconds: float) -> None:
        """Record what was done."""
        number: int | None = None
        if self.begun:
            with self._harmless():
                if result.changed:
                    step = step_of(self.opened, result.changes, result.operations, seconds)
                    number = self._keep(self._last(), self.opened, step)
                self.files.end()
        if result.changed:
            _tell(
                self.file.instance,
                self.opened,
                _lines(result),
                _NOTICE,
                changes=len(result.changes),
                operations=" ".join(f"{name}={count}" for name, count in sorted(result.operations.items())),
                seconds=round(seconds, 3),
                number=number,
            )

    def _last(self) -> Entry | None:
        """The newest entry; None where there is none that can be read."""
        numbers = self.files.numbers()
        try:
            return self.files.read(numbers[-1]) if numbers else None
        except StateError as error:
            self.warnings.append(str(error))
            return None

    def _keep(self, last: Entry | None, opened: Opening, step: Step) -> int:
        numbers = self.files.numbers()
        following = numbers[-1] + 1 if numbers else 1
        entry = entry_after(last, following, opened, step, self.files.present(KEPT_FILES))
        self.files.keep(entry)
        if entry.number == following:
            for number in superfluous(self.files.sizes(), self.files.inodes(KEPT_FILES)):
                self.files.drop(number)
        return entry.number

    def _is_as_now(self, last: Entry) -> bool:
        """Whether the instance's configuration is that of an entry; not so where that cannot be read."""
        try:
            if set(last.files) != set(self.files.present(KEPT_FILES)):
                return False
            tables = [name for name in last.files if name != "state.json" and not self.files.is_as_now(last, name)]
            if any(self.files.read_kept(last, name) != self.file.read_file(name) for name in tables):
                return False
            kept = self.files.read_kept(last, "state.json")
            now = self.file.read_file("state.json")
            if kept is None or now is None:
                return kept is now
            return configuration(State.from_json(kept, "")) == configuration(State.from_json(now, ""))
        except StateError:
            return False


def configuration(state: State) -> tuple[object, ...]:
    """What of a state somebody configured; the rest follows from it, or is of checks."""
    return state.vips, state.overlay, state.settings, state.program.tag, state.program.source_digest
