# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of captured frames: a file that Wireshark reads, or a line for each."""

from __future__ import annotations

import os
import time
import typing as t
from collections.abc import Mapping

from .._model import pcapng
from .._model.captured import VERDICTS, Frame, summary
from .._model.errors import EngineError

IN, OUT = 0, 1
_APPLICATION = "katran capture (katran.fleet)"


def realtime_offset() -> int:
    """Nanoseconds from the monotonic clock to the time of day."""
    return time.time_ns() - time.monotonic_ns()


class PcapngFile:
    """A pcapng file of two interfaces: frames as they came are on "in", as they left on "out"."""

    def __init__(self, target: t.BinaryIO, vip: str, reals: Mapping[int, str], snaplen: int, most: int) -> None:
        """`most`: bytes that the file may have."""
        self._target, self._vip, self._reals, self._most = target, vip, reals, most
        self._offset = realtime_offset()
        self._seen = [0, 0]
        self.size = 0
        self._put(pcapng.section(_APPLICATION, f"Linux {os.uname().release}", f"VIP {vip} on {os.uname().nodename}"))
        self._put(pcapng.interface("in", "as they came to the balancer", snaplen))
        self._put(pcapng.interface("out", "as they left it", snaplen))

    def _put(self, block: bytes) -> None:
        try:
            self._target.write(block)
            # Whoever reads along sees it at once, and a kill leaves whole packets.
            self._target.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise EngineError(f"the file cannot be written: {error.strerror}") from error
        self.size += len(block)

    def _comment(self, frame: Frame) -> str:
        real = self._reals.get(frame.real, f"id {frame.real}") if frame.real else "none"
        parts = [f"VIP {self._vip}", f"real {real}" + (f" by {frame.why}" if frame.why else "")]
        if frame.from_icmp:
            parts.append("ICMP error about the flow")
        if frame.out:
            parts.append(VERDICTS.get(frame.verdict, "aborted"))
        return ", ".join(parts)

    def take(self, frame: Frame, number: int | None) -> bool:
        """Write a frame; False where the file would become too large."""
        packet = pcapng.Packet(
            OUT if frame.out else IN,
            frame.at + self._offset,
            frame.data,
            frame.length,
            flags=pcapng.OUTBOUND if frame.out else pcapng.INBOUND,
            identity=number or 0,
            queue=frame.cpu,
            comment=self._comment(frame),
            verdict=frame.verdict if frame.out else None,
        )
        block = packet.block()
        if self.size + len(block) > self._most:
            return False
        self._put(block)
        self._seen[OUT if frame.out else IN] += 1
        return True

    def finish(self, lost: int) -> None:
        """Say at the end how many frames there were, and how many of them are missing."""
        now = time.time_ns()
        for number, missing in ((IN, lost), (OUT, 0)):
            self._put(pcapng.statistics(number, now, self._seen[number] + missing, missing))


class Lines:
    """A line for each packet, once it has left."""

    def __init__(self, write: t.Callable[[str], object], reals: Mapping[int, str]) -> None:
        self._write, self._reals = write, reals
        self._offset = realtime_offset()
        self._came: dict[int, Frame] = {}

    def take(self, frame: Frame, number: int | None) -> bool:
        """Show a packet, as soon as both its frames are there."""
        if not frame.out:
            self._came[number or 0] = frame
            return True
        came = self._came.pop(number or 0, None)
        at = frame.at + self._offset
        moment = time.strftime("%H:%M:%S", time.localtime(at // 10**9)) + f".{at % 10**9:09d}"
        before = f"{summary(came.data)} {came.length} bytes" if came else "(its frame in was lost)"
        verdict = VERDICTS.get(frame.verdict, "aborted")
        after = f": {summary(frame.data)} {frame.length} bytes" if frame.verdict == _SENT else ""
        real = self._reals.get(frame.real, f"id {frame.real}") if frame.real else "no real"
        why = f" by {frame.why}" if frame.why and frame.real else ""
        self._write(f"{moment} {before} -> {real}{why}, {verdict}{after}\n")
        return True


_SENT = 3


def open_target(path: str) -> t.BinaryIO:
    """The file to write to, for root alone. EngineError where it cannot be opened."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error.strerror}") from error
    return os.fdopen(descriptor, "wb")
