# SPDX-License-Identifier: GPL-3.0-or-later
"""What doctor finds on a real: each fault is planted on a sound host, found by its name alone, and gone once mended."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._engine.decap import Real
from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor.real import counters
from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor.run import examine
from ansible_collections.katran.fleet.plugins.module_utils._engine.host import HostRequest, ensure_host
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request
from ansible_collections.katran.fleet.plugins.module_utils._kernel import bpf
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_folder import instances
from ansible_collections.katran.fleet.plugins.module_utils._kernel.xdp import Interfaces
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.decap_settings import DECAP, parse_real
from ansible_collections.katran.fleet.plugins.module_utils._model.doctor.finding import Finding
from ansible_collections.katran.fleet.plugins.module_utils._model.host_plan import HostWanted, RealHost
from ansible_collections.katran.fleet.tests.engine import real
from ansible_collections.katran.fleet.tests.engine.life import program_of
from ansible_collections.katran.fleet.tests.engine.real import LINK, REAL, A, C
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, BPFFS

REQUEST = Request("default", BPFFS, 5.0, True)
MAPS = f"{BPFFS}/katran/default/maps"
PORT = 5353
SERVICES = [(A, 6, PORT), (C, 6, PORT)]


class Fault(NamedTuple):
    """What plants it, and what of its finding must be there."""

    plant: Callable[[], object] | str
    name: str
    about: str
    remedy: str
    error: bool = True


def shell(script: str) -> None:
    subprocess.run(["sh", "-ec", script], check=True, capture_output=True)


def sound() -> None:
    """A real with all that it needs, as deployed."""
    shell(f"ip addr replace {REAL}/24 dev {LINK}; ip -6 addr replace fd00:7::1/64 dev {LINK} nodad")
    shell(f"ip link set {LINK} up mtu 1600; ip link set {LINK}-peer up mtu 1600")
    shell(f"ip route replace default via 198.18.7.9 dev {LINK}; ip -6 route replace default via fd00:7::9 dev {LINK}")
    ensure_host(HostRequest(HostWanted(real=RealHost((LINK,), mtu=1600, mss=1400, vips=(A, C)))))
    real.ensure(A, C, sources=["172.16.0.0/16", "100::/64"])


@pytest.fixture
def host() -> Iterator[socket.socket]:
    with real.real_host(), socket.create_server(("", PORT), family=socket.AF_INET6, dualstack_ipv6=True) as service:
        sound()
        yield service


def found(services: Sequence[tuple[str, int, int]] = SERVICES) -> list[Finding]:
    """All findings about the real; what the frame says of this machine is not its own."""
    return [each for each in examine(REQUEST, False, services).findings if not each.name.endswith("_unfit")]


def change(name: str, *, put: str = "", take: str = "") -> None:
    with bpf.open_map(f"{MAPS}/{name}") as opened:
        if take:
            opened.delete(layout.pack_address(take))
        if put:
            opened.update(layout.pack_address(put), layout.u32(1))


def strange_program() -> None:
    shell(f"ip link set {LINK} xdp off")
    with Interfaces() as links:
        links.replace(LINK, program_of(2), "native", None)


def other_instance() -> None:
    """Decap of another instance in the place of ours."""
    shell(f"ip link set {LINK} xdp off")
    params = {name: option.get("default") for name, option in DECAP.items()}
    params |= {"interfaces": [LINK], "vips": ["198.51.100.77"], "source_dir": BPF, "loopback": False}
    Real("other", BPFFS).ensure(parse_real(params), False, 5)


def close_sources() -> None:
    with bpf.open_map(f"{MAPS}/decap_src_v4") as opened:
        for key, _value in list(opened.items()):
            opened.delete(key)


FAULTS = [
    Fault(strange_program, "decap_missing", LINK, f"ip link set {LINK} xdp off"),
    Fault(other_instance, "decap_instance", LINK, "state: absent"),
    Fault(close_sources, "decap_sources", "172.16.0.0/16", "katran.fleet.deploy"),
    Fault(f"ip link set {LINK} xdp off", "decap_missing", LINK, "katran.fleet.deploy"),
    Fault(f"rm {BPFFS}/katran/default/decap", "decap_missing", f"{BPFFS}/katran/default/decap", "restore", False),
    Fault(lambda: change("decap_vips", take=A), "decap_sources", A, "katran.fleet.deploy"),
    Fault(f"ip addr del {A}/32 dev lo", "vip_not_on_lo", A, f"ip addr add {A}/32 dev lo"),
    Fault(f"ip -6 addr del {C}/128 dev lo", "vip_not_on_lo", C, f"ip addr add {C}/128 dev lo"),
    Fault(f"ip addr add {A}/32 dev {LINK}", "vip_answers_arp", A, f"ip addr del {A}/32 dev {LINK}"),
    Fault("sysctl -qw net.ipv4.conf.all.arp_ignore=0", "vip_answers_arp", LINK, "arp_ignore=1", False),
    Fault(
        f"sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{LINK}.rp_filter=1",
        "rp_filter",
        LINK,
        f"net.ipv4.conf.{LINK}.rp_filter=2",
        False,
    ),
    Fault(f"ip link set {LINK} mtu 1500", "mtu_real", LINK, f"ip link set {LINK} mtu 1600"),
    Fault("nft delete table inet katran_fleet", "mtu_real", "MSS", "katran.fleet.deploy"),
    Fault("ip route del default", "source_unreachable", "IPv4", "ip route add default"),
    Fault(f"ip rule add from {A} blackhole pref 100", "source_unreachable", "IPv4", "ip rule del priority 100"),
    Fault(
        f"ip route add unreachable default table 77; ip rule add from {A} lookup 77 pref 100",
        *("source_unreachable", "IPv4", "ip rule del priority 100"),
    ),
    Fault("ip -6 route del default; ip -6 route add blackhole default", "source_unreachable", "IPv6", "ip -6 route"),
    Fault(
        f"nft add table inet t; nft 'add chain inet t i {{ type filter hook input priority 0; policy drop; }}';"
        f" nft add rule inet t i ip6 daddr {C} tcp dport {PORT} accept",
        "firewall_drops",
        A,
        f"ip daddr {A} accept",
    ),
    Fault(
        "nft add table ip t; nft 'add chain ip t o { type filter hook output priority 0; }';"
        f" nft add rule ip t o ip saddr {A} tcp sport {PORT} drop",
        "firewall_drops",
        f"{A}:{PORT}/tcp",
        f"ip saddr {A} tcp sport {PORT} accept",
    ),
    Fault(
        "nft add table ip t; nft 'add chain ip t o { type filter hook output priority 0; policy drop; }';"
        " nft add rule ip t o oifname { lo, mgmt } accept",
        "firewall_drops",
        A,
        f"ip saddr {A} accept",
    ),
]


@pytest.mark.usefixtures("host")
def test_each_fault_is_found_by_name_and_nothing_else() -> None:
    assert found() == []
    wrong = []
    for fault in FAULTS:
        if callable(fault.plant):
            fault.plant()
        else:
            shell(fault.plant)
        findings = found()
        told = [(each.name, each.error) for each in findings]
        good = told and {*told} == {(fault.name, fault.error)}
        if not good or findings[0].about != fault.about or fault.remedy not in findings[0].remedy:
            wrong.append((fault.name, findings))
        mend()
        assert found() == [], fault
    assert not wrong


@pytest.mark.usefixtures("host")
def test_decap_at_tc_ingress() -> None:
    real.ensure(A, C, sources=["172.16.0.0/16", "100::/64"], how="tc")
    assert found() == []
    shell(f"tc filter del dev {LINK} ingress")
    (gone,) = found()
    assert (gone.name, gone.about) == ("decap_missing", LINK)
    assert "tc ingress" in gone.cause


@pytest.mark.usefixtures("host")
def test_what_a_firewall_does_to_some_clients_is_its_own_affair() -> None:
    shell(
        "nft -f - <<X\ntable inet t {\nchain i { type filter hook input priority 0; policy drop;\n"
        "ct state vmap { established : accept, invalid : drop }\nip saddr 203.0.113.0/24 accept\n"
        f"ip6 daddr {C} tcp dport 1-6000 accept\nip daddr {A} limit rate 5/second accept\n"
        "ip saddr 203.0.113.9 drop\n}\n}\nX"
    )
    assert found() == []


def test_a_service_that_is_not_there_or_hangs(host: socket.socket) -> None:
    host.listen(1)
    with ExitStack() as stack:
        for _number in range(2):
            stack.enter_context(socket.create_connection((A, PORT), timeout=1))
        (hung,) = found()
    assert (hung.name, hung.about) == ("service_silent", f"*:{PORT}/tcp")
    assert f"sport = :{PORT}" in hung.remedy
    host.close()
    (gone,) = found()
    assert (gone.name, gone.about) == ("service_refuses", f"{A}:{PORT}/tcp, [{C}]:{PORT}/tcp")


@pytest.mark.usefixtures("host")
def test_a_service_that_listens_on_a_vip_alone() -> None:
    with socket.create_server((A, 80)):
        shell(
            "nft -f - <<X\ntable inet t {\nchain i { type filter hook input priority 0;\n"
            "tcp dport { 80, 9100 } drop\n}\n}\nX"
        )
        (shut,) = found([])
    assert (shut.name, shut.about) == ("firewall_drops", f"{A}:80/tcp")


@pytest.mark.usefixtures("host")
def test_it_tells_what_hosts_are_compared_by() -> None:
    told = examine(REQUEST).seen["real"]
    assert told == json.loads(json.dumps(told))
    assert (told["vips"], told["sources"]) == ([A, C], ["100::/64", "172.16.0.0/16"])
    assert {REAL, "fd00:7::1"} <= {*told["addresses"]}
    assert not {A, C}.intersection(told["addresses"])
    before = counters(REQUEST)["decap_v4"]
    real.answers(A)
    assert counters(REQUEST)["decap_v4"] == before + 1


def mend() -> None:
    """What the remedies come to, and a deploy."""
    shell(f"ip addr del {A}/32 dev {LINK} 2>/dev/null || true")
    if "other" in instances():
        Real("other", BPFFS).remove(False, 5)
    shell(f"ip link set {LINK} xdp off")
    shell("ip -6 route del blackhole default 2>/dev/null || true")
    shell("ip rule del pref 100 2>/dev/null || true; ip route flush table 77 2>/dev/null || true")
    shell("nft -f - <<X\ntable ip t\ndelete table ip t\ntable inet t\ndelete table inet t\nX")
    sound()
