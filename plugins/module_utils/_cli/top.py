# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran top: what goes through this balancer at this moment, the busiest VIPs and reals first."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
import typing as t
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from .._engine.rates import Rate, RateReader, Rates
from .._model.written import as_decimal
from .command import Command
from .shared import WELL, balancers, common_arguments, number
from .tables import screen_width, table
from .values import whole

_ALTERNATE, _BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"
_KEYS = "q quit · v VIPs · r reals · b by bytes · p by packets"
_HEAD_LINES = 3


class _View:
    """What a person chose by keys."""

    reals = False
    by_bytes = False

    def press(self, key: str) -> bool:
        """Take a key; False where it ends the command."""
        if key in ("v", "r"):
            self.reals = key == "r"
        elif key in ("b", "p"):
            self.by_bytes = key == "b"
        return key not in ("q", "\x04")

    def rows(self, rates: Rates) -> Sequence[Rate]:
        """What is shown, the busiest first."""
        found = rates.reals if self.reals else rates.vips
        return sorted(found, key=lambda rate: -rate.bytes) if self.by_bytes else found


def run(options: argparse.Namespace) -> int:
    """Show rates until somebody has seen enough, or as many times as are asked for."""
    gc.enable()
    readers = [RateReader(name) for name in balancers(options.instance)]
    count = 1 if options.once else options.count
    if options.json or count is not None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _print(readers, options, count)
    view = _View()
    view.reals = options.reals
    # Who ends it so has seen enough.
    with contextlib.suppress(KeyboardInterrupt), _screen() as waited:
        shown: list[Rates] = []
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                shown = [each.read() for each in readers]
                due = max(due, time.monotonic() - options.interval) + options.interval
            sys.stdout.write(_drawn(shown, view))
            sys.stdout.flush()
            if not all(view.press(key) for key in waited(max(0.0, due - time.monotonic()))):
                break
    return WELL


def _print(readers: Sequence[RateReader], options: argparse.Namespace, count: int | None) -> int:
    """For programs and pipes: reading after reading."""
    view = _View()
    view.reals = options.reals
    left = count
    due = time.monotonic()
    while left is None or left > 0:
        due = max(due + options.interval, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        for rates in [each.read() for each in readers]:
            text = json.dumps(rates.to_data()) + "\n" if options.json else _text(rates, view, screen_width()) + "\n"
            sys.stdout.write(text)
        sys.stdout.flush()
        left = None if left is None else left - 1
    return WELL


def _head(rates: Rates) -> str:
    totals = rates.totals
    told = [
        f"{number(totals.get('frames', 0.0))} frames/s",
        f"{number(totals.get('bytes', 0.0) * 8)}bit/s",
        f"{number(totals.get('new_flows', 0.0))} new flows/s",
        f"{number(totals.get('dropped', 0.0))} dropped/s",
    ]
    return f"{rates.instance}: {', '.join(told)}"


def _text(rates: Rates, view: _View, width: int | None, most: int | None = None) -> str:
    rows = [(rate.name, number(rate.packets), f"{number(rate.bytes * 8)}bit") for rate in list(view.rows(rates))[:most]]
    header = ("REAL" if view.reals else "VIP", "PACKETS/S", "PER SECOND")
    return f"{_head(rates)}\n{table(header, rows, width=width, cut=True)}"


def _drawn(shown: Sequence[Rates], view: _View) -> str:
    """The whole screen, drawn over what is there: nothing flickers."""
    columns, lines = shutil.get_terminal_size()
    room = max(1, (lines - 1) // max(1, len(shown)) - _HEAD_LINES)
    text = "\n".join(_text(each, view, columns, room) for each in shown).splitlines()[: lines - 1]
    drawn = [f"{line if line.startswith(chr(27)) else line[:columns]}{_REST_OF_LINE}" for line in text]
    return f"{_HOME}{chr(10).join([*drawn, _KEYS[:columns]])}{_REST_OF_LINE}{_REST}"


Waiter = Callable[[float], str]


@contextlib.contextmanager
def _screen() -> Iterator[Waiter]:
    """The terminal for ourselves; it is given back as it was, whatever happens.

    Yields what waits so many seconds for keys: it ends at once when some come, or when the terminal gets another size.
    """
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    waking, woken = os.pipe()

    def resized(_signal: int, _frame: FrameType | None) -> None:
        os.write(woken, b"w")

    def ended(_signal: int, _frame: FrameType | None) -> None:
        # An exception may be raised where Python drops it, such as in a finalizer.
        os.write(woken, b"q")

    def waited(seconds: float) -> str:
        ready = select.select([descriptor, waking], [], [], seconds)[0]
        if waking in ready and b"q" in os.read(waking, 64):
            return "q"
        if descriptor not in ready:
            return ""
        try:
            return os.read(descriptor, 64).decode(errors="replace")[:1] or "q"
        except OSError:
            # The terminal is gone.
            return "q"

    old: dict[signal.Signals, t.Any] = {
        number: signal.signal(number, handler)
        for number, handler in (
            (signal.SIGWINCH, resized),
            *((each, ended) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
        )
    }
    try:
        tty.setcbreak(descriptor)
        sys.stdout.write(_ALTERNATE)
        yield waited
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.write(_BACK)
            sys.stdout.flush()
        with contextlib.suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        for number, handler in old.items():
            signal.signal(number, handler)
        os.close(waking)
        os.close(woken)


def interval(value: str) -> float:
    """What --interval takes."""
    found = as_decimal(value)
    if found is None or not 0.1 <= found <= 3600:
        raise argparse.ArgumentTypeError(f"{value} is not in 0.1 to 3600")
    return found


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--interval", type=interval, default=1.0, metavar="SECONDS", help="between readings (1)")
    parser.add_argument("--count", type=whole(1), metavar="N", help="print so many readings, and end")
    parser.add_argument("--once", action="store_true", help="print one reading, after an interval, and end")
    parser.add_argument("--reals", action="store_true", help="reals, not VIPs, at the beginning")
    common_arguments(parser)


COMMAND = Command(
    "top",
    "Live rates of VIPs and reals, the busiest first; on no terminal, or with --json, reading after reading.",
    _arguments,
    run,
    "Keys: v VIPs, r reals, p by packets, b by bytes, q ends. With --json each reading is a line. Exit status: 0 it was"
    " shown, 2 it cannot be.",
)
