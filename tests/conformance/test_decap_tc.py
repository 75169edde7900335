# SPDX-License-Identifier: GPL-3.0-or-later
"""At tc ingress a real's program does to a packet what it does by XDP: marks, cut and spoilt packets, counters."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.tests.conformance.provision import DECAP_MAPS, fill_sources, load_small
from ansible_collections.katran.fleet.tests.conformance.test_better import (
    EVERYWHERE,
    OTHER4,
    TUNNELS,
    VIP4,
    VIP6,
    decap,
    frame,
)
from ansible_collections.katran.fleet.tests.conformance.test_ecn import cases, inner_of

PASS, DROP = (2, 0xFFFFFFFF), (1, 2)
"""What XDP and tc answer."""

SPOILT = 600


def by_tc(*sources: str) -> Any:
    loaded = load_small("decap_tc", DECAP_MAPS, {"BY_TC": 1})
    for address in (VIP4, VIP6):
        loaded.maps["decap_vips"].update(layout.pack_address(address), layout.u32(1))
    fill_sources(loaded.maps, "decap", sources)
    return loaded


def tunnels() -> list[bytes]:
    return [frame(*(layer for layer in tunnel if layer is not None)) for tunnel in TUNNELS]


def packets() -> Iterator[bytes]:
    for outer, inner in itertools.product(range(4), range(4)):
        for _family, inner_family, layers, tos, _dscp in cases(outer, inner):
            yield frame(*layers, inner_of(inner_family, tos))
    for whole in tunnels():
        yield whole + bytes(30)
        # Shorter ones a test run of tc does not take.
        yield from (whole[:length] for length in range(55, len(whole), 3))
    chosen = random.Random(11)
    every = tunnels()
    for _ in range(SPOILT):
        spoilt = bytearray(chosen.choice(every))
        # The first 12 bytes are MACs; VLAN tags are the stack's by the time that tc sees a packet.
        at = chosen.randrange(14, min(len(spoilt), 110))
        spoilt[at] = chosen.choice((0, 0xFF, spoilt[at] ^ 1 << chosen.randrange(8)))
        yield bytes(spoilt)


def test_both_do_the_same() -> None:
    every = list(packets())
    for sources in (EVERYWHERE, (OTHER4,)):
        with closing(decap(*sources)) as xdp, closing(by_tc(*sources)) as tc:
            answers = set()
            for sent in every:
                one, other = bpf.test_run(xdp.prog_fd, sent), bpf.test_run(tc.prog_fd, sent)
                assert (one.value, other.value) in (PASS, DROP), sent.hex()
                answers.add((one.value, one.data != sent))
                # What is dropped, nobody sees.
                assert one.value == DROP[0] or one.data == other.data, sent.hex()
            assert {value for value, _changed in answers} == {PASS[0], DROP[0]}
            assert (PASS[0], True) in answers
            assert xdp.counters("decap_counters") == tc.counters("decap_counters")
