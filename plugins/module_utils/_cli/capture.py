# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran capture: a VIP's packets before and after encapsulation, for Wireshark or as lines."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import typing as t

from .._engine.capture import Captured, Wanted, capture
from .._engine.capture_file import Lines, PcapngFile, open_target
from .._engine.request import Request
from .._kernel.state_folder import read_bpffs
from .._model.captured import MAX_PACKETS, SNAPLEN
from .command import Command
from .instances import one_instance
from .values import seconds_until, whole

NOTHING_SEEN = 1
_LOCK_SECONDS = 10.0
_MEGABYTE = 1 << 20


def run(options: argparse.Namespace) -> int:
    """Capture; 0 where there was a packet, 1 where there was none."""
    instance = one_instance(options.instance)
    request = Request(instance, read_bpffs(instance), _LOCK_SECONDS, False)
    wanted = Wanted(options.vip, options.client, options.real, options.packets, options.seconds, options.snaplen)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    told = _to_file(request, wanted, options) if options.write else _to_lines(request, wanted)
    if options.json:
        (sys.stderr if options.write == "-" else sys.stdout).write(json.dumps(_data(told), indent=2) + "\n")
    else:
        sys.stderr.write(_sentence(told))
    return 0 if told.packets else NOTHING_SEEN


def interrupt(_number: int, _frame: object) -> t.NoReturn:
    raise KeyboardInterrupt


def _to_lines(request: Request, wanted: Wanted) -> Captured:
    def begin(told: Captured) -> t.Any:
        return Lines(_write_line, told.reals).take

    return capture(request, wanted, begin)


def _write_line(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def _to_file(request: Request, wanted: Wanted, options: argparse.Namespace) -> Captured:
    with contextlib.ExitStack() as stack:
        files: list[PcapngFile] = []

        def begin(told: Captured) -> t.Any:
            if options.write == "-":
                target: t.BinaryIO = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
            else:
                target = open_target(options.write)
            stack.enter_context(target)
            files.append(PcapngFile(target, told.vip, told.reals, wanted.snaplen, options.size * _MEGABYTE))
            return files[0].take

        told = capture(request, wanted, begin)
        files[0].finish(told.lost)
        return told


def _data(told: Captured) -> dict[str, t.Any]:
    return {
        "vip": told.vip,
        "packets": told.packets,
        "frames": told.frames,
        "lost": told.lost,
        "seconds": told.seconds,
        "ended": told.why,
    }


def _sentence(told: Captured) -> str:
    lost = f", {told.lost} frames were lost (no room: narrow it by --client)" if told.lost else ""
    return f"{told.packets} packets of VIP {told.vip} in {told.seconds:.1f} s: {told.why}{lost}\n"


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vip", required=True, metavar="ADDR[:PORT[/PROTO]]", help="whose packets")
    parser.add_argument("--client", metavar="PREFIX[:PORT]", help="from whom: 192.0.2.7:31337, [2001:db8::]/64")
    parser.add_argument("--real", metavar="ADDR", help="only what goes to this real")
    parser.add_argument("--packets", type=whole(1, MAX_PACKETS), default=100, metavar="N", help="at most (100)")
    parser.add_argument("--seconds", type=seconds_until(86_400), default=60.0, metavar="S", help="at most (60)")
    parser.add_argument("--snaplen", type=whole(14, SNAPLEN), default=SNAPLEN, metavar="BYTES", help="of a frame (all)")
    parser.add_argument("--size", type=whole(1, 4096), default=64, metavar="MB", help="of the file at most (64)")
    parser.add_argument("-w", "--write", metavar="FILE", help="pcapng, - for stdout; without it a line for each packet")
    parser.add_argument("--instance", metavar="NAME", help="which balancer of this host, where it has several")
    parser.add_argument("--json", action="store_true", help="tell at the end for programs")


COMMAND = Command(
    "capture",
    "Copies of a VIP's packets, before and after encapsulation.",
    _arguments,
    run,
    "The balancer forwards as it does without. Exit status: 0 packets came, 1 none did, 2 that cannot be done.",
)
