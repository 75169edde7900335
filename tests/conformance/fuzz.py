# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutations of packets, and the search for the smallest history that shows a mismatch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from random import Random
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.tests.conformance.model import DROP, FLOOD, SECOND, Model, Verdict, packed
from ansible_collections.katran.fleet.tests.conformance.model_program import (
    age,
    counters,
    flow_times,
    flows,
    load_tables,
    set_flood_window,
)
from ansible_collections.katran.fleet.tests.conformance.provision import ACTIONS, Balancer, provision

SHORTEST, LONGEST = 14, 1700
LAPSES = (1000, 1500, 4000)
"""Seconds that pass at once: with udp_timeout 3600, no sum of them is near it, however long the run itself takes."""
BYTES = (0, 1, 2, 4, 5, 6, 8, 15, 17, 41, 44, 45, 58, 63, 64, 69, 70, 82, 96, 127, 128, 183, 254, 255)
WORDS = (b"\0\0", b"\xff\xff", b"\x08\0", b"\x86\xdd", b"\x81\0", b"\x88\xa8", b"\0\x50", b"\x01\xbb", b"\x17\xc0")
QUIC_VERSIONS = (0, 1, 2, 0x6B3343CF, 0xFF00001D, 0xFF000100, 0xFACEB000, 0xFACEB00F, 0xFACEB010, 0x1A2A3A4A)

Entry = Mapping[str, Any]


class Mutator:
    """Makes new frames of old ones, with a liking for what the scenario's balancer looks at."""

    def __init__(self, seeds: Sequence[bytes], scenario: Entry, random: Random) -> None:
        self._seeds = seeds
        self._random = random
        self._addresses = [packed(vip["address"].split("/")[0]) for vip in scenario["vips"]]
        self._addresses += [packed(entry["address"]) for entry in scenario.get("decap_destinations", ())]
        sources = (scenario["balancer"].get(f"source_ipv{family}", "auto") for family in (4, 6))
        self._addresses += [packed(address) for address in sources if address != "auto"]
        self._ports = sorted({vip["port"].to_bytes(2, "big") for vip in scenario["vips"]} | {b"\x17\xc0", b"\0\x09"})
        self._ways: tuple[Callable[[bytearray], None], ...] = (
            self._flip,
            self._byte,
            self._byte,
            self._word,
            self._header_byte,
            self._header_byte,
            self._cut,
            self._extend,
            self._address,
            self._port,
            self._port,
            self._splice,
            self._remove,
            self._insert,
            self._length,
            self._length,
            self._mark,
            self._version,
            self._mac,
        )

    def frame(self) -> bytes:
        """A seed with up to four mutations; one in sixteen is left as it is."""
        random = self._random
        data = bytearray(random.choice(self._seeds))
        if random.random() < 0.0625:
            return bytes(data)
        for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
            random.choice(self._ways)(data)
            data += bytes(max(0, SHORTEST - len(data)))
        return bytes(data[:LONGEST])

    def _at(self, data: bytearray) -> int:
        """A place behind the MAC addresses of *data*; mostly among the headers."""
        last = len(data) if self._random.random() < 0.2 else min(len(data), 110)
        return self._random.randrange(12, max(13, last))

    def _flip(self, data: bytearray) -> None:
        data[self._at(data)] ^= 1 << self._random.randrange(8)

    def _byte(self, data: bytearray) -> None:
        data[self._at(data)] = self._random.choice(BYTES)

    def _word(self, data: bytearray) -> None:
        at = self._at(data) & ~1
        data[at : at + 2] = self._random.choice(WORDS)

    def _header_byte(self, data: bytearray) -> None:
        # Behind an Ethernet header: version and length, ToS, lengths, fragment, TTL, protocol; TCP offset and flags.
        at = self._random.choice((14, 15, 16, 17, 18, 20, 21, 22, 23, 34, 37, 46, 47, 54, 66, 67))
        if at < len(data):
            data[at] = self._random.choice(BYTES) if self._random.random() < 0.5 else self._random.randrange(256)

    def _cut(self, data: bytearray) -> None:
        del data[self._random.randrange(SHORTEST, max(SHORTEST + 1, len(data))) :]

    def _extend(self, data: bytearray) -> None:
        data += self._random.randbytes(self._random.choice((1, 2, 8, 9, 40, 1400)))

    def _address(self, data: bytearray) -> None:
        address = self._random.choice(self._addresses)
        places = (26, 30, 54, 58) if len(address) == 4 else (22, 38, 70, 86)
        at = self._random.choice(places)
        if at + len(address) <= len(data):
            data[at : at + len(address)] = address

    def _port(self, data: bytearray) -> None:
        at = self._random.choice((34, 36, 54, 56, 62, 64, 102, 104))
        if at + 2 <= len(data):
            data[at : at + 2] = self._random.choice(self._ports)

    def _splice(self, data: bytearray) -> None:
        other = self._random.choice(self._seeds)
        at = self._random.choice((12, 14, 18, 34, 42, 54, 62))
        data[at:] = other[self._random.choice((at, at, 14, 34, 54)) :]

    def _remove(self, data: bytearray) -> None:
        at = self._at(data)
        del data[at : at + self._random.choice((1, 2, 4, 8, 20, 40))]

    def _insert(self, data: bytearray) -> None:
        at = self._random.choice((12, 14, 34, 54, self._at(data)))
        data[at:at] = self._random.choice((self._random.randbytes(4), b"\x81\0\0\x07", bytes(data[14:34]), b"\x01\x01"))

    def _length(self, data: bytearray) -> None:
        # Total or payload lengths of the outer header, behind a tag, and of one inside IPIP or GUE; at their borders.
        at = self._random.choice((16, 18, 20, 22, 36, 38, 44, 56, 58, 64, 66))
        if at + 2 <= len(data):
            header = {16: 14, 18: 54, 20: 18, 22: 58}.get(at, at - 2)
            right = max(0, len(data) - header)
            near = right + self._random.choice((-40, -20, -8, -1, 0, 1, 2, 6, 40))
            length = self._random.choice((near, near, near, 0, 19, 20, 27, 28, 39, 40, 65535))
            data[at : at + 2] = (length & 0xFFFF).to_bytes(2, "big")

    def _mark(self, data: bytearray) -> None:
        # ECN of the outer header, and of an inner one of either family in IPIP or GUE.
        at = self._random.choice((15, 35, 43, 55, 63))
        if at < len(data):
            shift = 4 if self._random.random() < 0.4 else 0
            data[at] = data[at] & ~(3 << shift) | self._random.randrange(4) << shift

    def _version(self, data: bytearray) -> None:
        # A long QUIC header in UDP over IPv4 or IPv6, with or without a tag.
        at = self._random.choice((42, 62, 46, 66))
        if at + 5 <= len(data):
            data[at] = 0x80 | self._random.randrange(128)
            data[at + 1 : at + 5] = self._random.choice(QUIC_VERSIONS).to_bytes(4, "big")

    def _mac(self, data: bytearray) -> None:
        data[0] = self._random.choice((0, 1, 2, 3, 0x33, 0xFF, 0xFE))


def lapse(seconds: int) -> bytes:
    """An item of a history that is no frame: time that passes."""
    return seconds.to_bytes(2, "big")


INDEX_GONE, INDEX_THERE = b"\0", b"\1"
"""Items of a history that are no frames: VIPs begin to change, and are as they were again."""


class Pair:
    """The compiled program and the model, provisioned alike."""

    def __init__(self, entry: Entry, cpu: int) -> None:
        self._cpu = cpu
        self.program: Balancer = provision(entry["scenario"], cpu=cpu)
        self.model = Model.from_scenario(entry["scenario"], build_ring)
        self.model.has_cpu_table = True
        load_tables(self.program, entry.get("tables", {}))
        self.model.load_tables(entry.get("tables", {}))

    def close(self) -> None:
        self.program.close()

    def run(self, frame: bytes) -> tuple[Verdict, Verdict] | None:
        """(expected, got) where the two disagree; a lapse only passes, and the index goes and comes back."""
        if frame == INDEX_GONE:
            self.program.forget_index()
            return None
        if frame == INDEX_THERE:
            self.program.index_vips()
            return None
        if len(frame) < SHORTEST:
            seconds = int.from_bytes(frame, "big")
            self.model.age(seconds)
            age(self.program, self._cpu, seconds)
            return None
        now = time.monotonic_ns()
        self._keep_off_the_seconds_end(now)
        expected = self.model.run(frame, now)
        result = bpf.test_run(self.program.prog_fd, frame)
        action = ACTIONS[result.value]
        if action == expected[0] and (action == DROP or result.data == expected[1]):
            return None
        return expected, (action, result.data)

    def _keep_off_the_seconds_end(self, now: int) -> None:
        """The flood's second ends by a lapse: of its real end, program and model need not have the same idea."""
        window = self.model.general[FLOOD]
        if 0.3 * SECOND < now - window[1] < 10 * SECOND:
            window[1] = now
            set_flood_window(self.program, self._cpu, *window)

    def counters(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(the model's, the program's) counters, in one form."""
        return json.loads(json.dumps(self.model.counters())), counters(self.program)

    def same_tables(self) -> bool:
        """Whether both have learned the same flows, at the same times as far as lapses tell."""
        ours, theirs = self.model.flow_times(), flow_times(self.program, self._cpu)
        return flows(self.program, self._cpu) == self.model.flows() and all(
            abs(theirs[key] - atime) < LAPSES[0] * SECOND // 2 for key, atime in ours.items()
        )


def disagreement(entry: Entry, cpu: int, frames: Sequence[bytes]) -> tuple[Verdict, Verdict] | None:
    """What the last of *frames* gives, run from empty tables."""
    with closing(Pair(entry, cpu)) as pair:
        answer = None
        for frame in frames:
            answer = pair.run(frame)
        return answer


def reproduction(entry: Entry, cpu: int, history: Sequence[bytes]) -> str:
    """The smallest history found that ends in a mismatch, as text; the frame that mismatches is the last."""
    frames = [history[-1]]
    reach = 1
    while disagreement(entry, cpu, frames) is None:
        if reach >= len(history):
            return "\n".join(("not seen again from empty tables:", f"frame {history[-1].hex()}"))
        reach *= 4
        frames = list(history[-reach:])
    step = len(frames) - 1
    while step:
        at = 0
        while at < len(frames) - 1:
            fewer = frames[:at] + frames[min(at + step, len(frames) - 1) :]
            if disagreement(entry, cpu, fewer):
                frames = fewer
            else:
                at += step
        step //= 2
    last = frames[-1]
    for length in (54, 62, 74, 82, 98, 118, len(last)):
        if length < len(last) and disagreement(entry, cpu, [*frames[:-1], last[:length]]):
            frames[-1] = last[:length]
            break
    answer = disagreement(entry, cpu, frames)
    assert answer is not None
    expected, got = answer
    lines = [f"scenario {json.dumps(entry['scenario'])}"]
    lines += [f"before   {frame.hex()}" for frame in frames[:-1]]
    lines += [f"frame    {frames[-1].hex()}"]
    lines += [f"expected {expected[0]} {expected[1].hex()}", f"got      {got[0]} {got[1].hex()}"]
    return "\n".join(lines)
