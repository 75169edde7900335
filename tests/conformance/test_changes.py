# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets while VIPs come, go, come back under other numbers, change their flags and lose reals: as the model has it.

Some flows are known before, from balancers that leave four bytes of an entry unused as well as from ones that do not;
some changes are met half done, with no index of the VIPs.
"""

from __future__ import annotations

import struct
import time
from contextlib import closing
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.ring import build_ring
from ansible_collections.katran.fleet.tests.conformance.model import Model
from ansible_collections.katran.fleet.tests.conformance.model_program import flows, one_cpu, reprovision
from ansible_collections.katran.fleet.tests.conformance.provision import ACTIONS, Balancer, provision

STEPS, PACKETS = 60, 25
ADDRESSES = ("198.51.100.1", "198.51.100.2", "2001:db8:1::1", "2001:db8:2::")
REALS4, REALS6 = [f"10.0.0.{number}" for number in range(1, 5)], [f"fd00::{number}" for number in range(1, 5)]
FLAGS = ((), (), (), ("no_lru",), ("hash_dst_port_only",), ("hash_no_src_port",), ("quic",), ("source_routing",))
OPTIONS: dict[str, Any] = {
    "features": ["source_routing", "cidr_vips"],
    "gateway_mac": "02:00:00:00:00:fe",
    "source_ipv4": "203.0.113.1",
    "source_ipv6": "2001:db8:f::1",
    "sizes": {"vips": 32, "ring": 251, "flows": 1 << 14, "cidr_vips": 4},
    "udp_timeout": 3600,
    "max_new_flows": 1 << 30,
}


class World:
    """What is configured at the moment."""

    def __init__(self, random: Random, encapsulation: str) -> None:
        self.random = random
        self.options = {**OPTIONS, "encapsulation": encapsulation}
        self.vips: dict[tuple[str, int, str], dict[str, Any]] = {}
        for _ in range(4):
            self.change()

    def change(self) -> None:
        """One VIP comes, goes, or becomes another: with the same reals or fewer, with other flags."""
        random = self.random
        key = random.choice(ADDRESSES), random.choice((80, 443, 0)), random.choice(("tcp", "udp"))
        if key in self.vips and random.random() < 0.4:
            del self.vips[key]
            return
        pool = REALS6 if ":" in key[0] else random.choice((REALS4, REALS6, REALS4 + REALS6))
        flags = [flag for flag in random.choice(FLAGS) if flag != "quic" or key[2] == "udp"]
        reals = [{"address": each} for each in random.sample(pool, random.randint(1, len(pool)))]
        self.vips[key] = {
            **dict(zip(("address", "port", "protocol"), key, strict=True)),
            "flags": flags,
            "reals": reals,
        }

    def scenario(self) -> dict[str, Any]:
        return {
            "balancer": self.options,
            "vips": [self.vips[key] for key in sorted(self.vips)],
            "source_routes": [{"prefix": "192.0.2.0/30", "real": REALS6[0]}],
        }

    def frame(self) -> bytes:
        """A packet of one of few clients, so that most flows are known."""
        random = self.random
        address = random.choice(ADDRESSES)
        ports = {"sport": random.choice((31337, 31338)), "dport": random.choice((80, 443, 8080))}
        client = random.choice(("2001:db8:c::1", "2001:db8:c::2") if ":" in address else ("192.0.2.1", "192.0.2.9"))
        head = (IPv6 if ":" in address else IP)(src=client, dst=address)
        kind = random.random()
        if kind < 0.6:
            return bytes(
                Ether(dst="02:00:00:00:00:01") / head / TCP(**ports, flags=random.choice("AAAASFR")) / (b"x" * 20)
            )
        return bytes(Ether(dst="02:00:00:00:00:01") / head / UDP(**ports) / (b"x" * 30))


def learn_elsewhere(program: Balancer, cpu: int, random: Random) -> None:
    """Entries of known flows as another balancer's may be: with whatever it left in the bytes that we leave zero."""
    inner = program.maps["lru_mapping"].lookup(layout.u32(cpu))
    assert inner is not None
    with bpf.map_by_id(layout.parse_u32(inner)) as table:
        for key, value in list(table.items()):
            if random.random() < 0.3:
                real, atime = layout.parse_real_pos_lru(value)
                table.update(key, struct.pack("=IIQ", real, random.choice((0, 1, 7, 0xFFFFFFFF)), atime))


def mark_learned(program: Balancer, world: World) -> None:
    """As the control plane does: VIPs that hash by port alone may have learned flows while they had other flags."""
    for key, vip in world.vips.items():
        learned = "hash_dst_port_only" in vip["flags"]
        program.maps["vip_learned"].update(layout.u32(program.vips[key]), layout.u32(learned))


@pytest.mark.parametrize("encapsulation", ["ipip", "gue"])
@pytest.mark.parametrize("seed", range(3))
def test_program_and_model_agree_while_vips_change(encapsulation: str, seed: int) -> None:
    random = Random(f"changes {encapsulation} {seed}")
    world = World(random, encapsulation)
    history: list[str] = []
    with one_cpu() as cpu, closing(provision(world.scenario(), cpu=cpu)) as program:
        mark_learned(program, world)
        model = Model.from_scenario(world.scenario(), build_ring)
        model.has_cpu_table = True
        for _ in range(STEPS):
            for _ in range(PACKETS):
                frame = world.frame()
                expected = model.run(frame, time.monotonic_ns())
                found = bpf.test_run(program.prog_fd, frame)
                history.append(frame.hex())
                assert (ACTIONS[found.value], found.data) == expected, history[-5:]
            assert flows(program, cpu) == model.flows()
            learn_elsewhere(program, cpu, random)
            world.change()
            model.provision(world.scenario())
            reprovision(program, world.scenario())
            # A VIP that comes back may get another number, and another VIP the one it had.
            for key in set(program.vips) - set(world.vips):
                del program.vips[key]
            mark_learned(program, world)
            if random.random() < 0.2:
                program.forget_index()
        assert model.counters()["stats"]
