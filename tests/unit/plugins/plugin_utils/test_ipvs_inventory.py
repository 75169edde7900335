# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What IPVS balances as an inventory, and what is told of the rest."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.limits import UNLIMITED, Limits
from ansible_collections.katran.fleet.plugins.module_utils._model.resources import config_faults
from ansible_collections.katran.fleet.plugins.plugin_utils import keepalived_words
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs import Key, Remarks
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs_inventory import Wanted, inventory_of, wanted_of
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvs_vips import joined
from ansible_collections.katran.fleet.plugins.plugin_utils.ipvsadm import read_ipvsadm
from ansible_collections.katran.fleet.plugins.plugin_utils.keepalived import Configured, read_keepalived
from ansible_collections.katran.fleet.plugins.plugin_utils.saved_files import Sent
from ansible_collections.katran.fleet.plugins.plugin_utils.written_inventory import InventoryError

WANTED = Wanted(["lb1"], ["eth0"])


def imported(text: str = "", table: str = "", wanted: Wanted = WANTED) -> tuple[dict[str, Any], list[str]]:
    """The balancers' variables, their VIPs without what is told of them, and all that is told."""
    remarks = Remarks()
    found = read_keepalived("k", Sent({"k": text}), remarks) if text else Configured()
    services = joined(found.services, read_ipvsadm(table, "i", remarks), remarks)
    variables = dict(inventory_of(services, wanted, remarks).group_vars["balancers"])
    variables["katran_vips"] = [each.value for each in variables["katran_vips"]]
    sizes = {**UNLIMITED.sizes, **variables.get("katran_sizes", {})}
    assert config_faults({"vips": variables["katran_vips"]}, Limits(sizes, None)) == []
    return variables, remarks.sentences


def vip(inside: str, check: str = "", head: str = "198.51.100.1 80") -> dict[str, Any]:
    """The only VIP of a virtual server with these options, and with this check at its one real."""
    text = f"virtual_server {head} {{\nlvs_sched wrr\n{inside}\nreal_server 10.0.0.1 80 {{\n{check}\n}}\n}}"
    (found,) = imported(text)[0]["katran_vips"]
    return dict(found)


def told(inside: str, check: str = "", more: str = "") -> str:
    real = f"real_server 10.0.0.1 80 {{\n{check}\n}}"
    text = f"{more}\nvirtual_server 198.51.100.1 80 {{\nlvs_sched wrr\n{inside}\n{real}\n}}"
    return "\n".join(imported(text)[1])


PLAIN = {"address": "198.51.100.1", "port": 80, "protocol": "tcp", "reals": [{"address": "10.0.0.1"}]}


@pytest.mark.parametrize(
    ("inside", "more"),
    [
        ("", {}),
        ("protocol UDP", {"protocol": "udp"}),
        ("persistence_timeout 50", {"flags": ["hash_no_src_port"]}),
        ("persistence_timeout", {"flags": ["hash_no_src_port"]}),
        ("lvs_sched sh", {"flags": ["hash_no_src_port"]}),
        ("lvs_sched sh\nsh-port", {}),
        ("lvs_sched mh\nflag-2", {}),
        ("lb_algo mh", {"flags": ["hash_no_src_port"]}),
        ("protocol UDP\nops", {"protocol": "udp", "flags": ["no_lru"]}),
        ("weight 7", {"reals": [{"address": "10.0.0.1", "weight": 7}]}),
        ("weight 7\nlvs_sched rr", {}),
        ("weight 65535", {"reals": [{"address": "10.0.0.1", "weight": 10000}]}),
        (
            "weight 3\nquorum 4\nreal_server 10.0.0.2 80 {\n}",
            {
                "reals": [{"address": "10.0.0.2", "weight": 3}, {"address": "10.0.0.1", "weight": 3}],
                "announce": {"min_healthy": 2},
            },
        ),
        (
            "lvs_sched fo\nreal_server 10.0.0.2 80 {\nweight 5\n}",
            {"reals": [{"address": "10.0.0.2", "weight": 5}, {"address": "10.0.0.1", "weight": 0}]},
        ),
    ],
)
def test_services(inside: str, more: dict[str, Any]) -> None:
    assert vip(inside) == {**PLAIN, **more}


@pytest.mark.parametrize(
    ("inside", "check", "found"),
    [
        ("", "TCP_CHECK {\n}", {"type": "tcp"}),
        (
            "delay_loop 6\nretry 2\ndelay_before_retry 1\nconnect_timeout 3",
            "TCP_CHECK {\n}",
            {"type": "tcp", "interval": 6, "timeout": 3, "fast_interval": 1, "fall": 3},
        ),
        (
            "delay_loop 6",
            "delay_loop 2.5\nTCP_CHECK {\nconnect_port 81\n}",
            {"type": "tcp", "interval": 2.5, "port": 81},
        ),
        (
            "",
            "inhibit_on_failure\nTCP_CHECK {\nretry 1\nconnect_ip 10.0.0.1\n}",
            {"type": "tcp", "fall": 2, "on_down": "keep"},
        ),
        ("inhibit_on_failure", "inhibit_on_failure no\nTCP_CHECK {\n}", {"type": "tcp"}),
        (
            "virtualhost www.example.net",
            "HTTP_GET {\nurl {\npath /a?b=c\nstatus_code 200 300-302\n}\nnb_get_retry 3\n}",
            {"type": "http", "status": ["200", "300-302"], "path": "/a?b=c", "host": "www.example.net", "fall": 4},
        ),
        (
            "",
            'SSL_GET {\nvirtualhost a.example\nurl {\npath /\nvirtualhost b.example\nregex "OK here"\n}\n}',
            {"type": "https", "status": ["200-299"], "path": "/", "host": "b.example", "body": "OK here"},
        ),
        (
            "",
            "DNS_CHECK {\nname www.example.net\ntype aaaa\n}",
            {"type": "dns", "query": "www.example.net", "record": "AAAA"},
        ),
        (
            "protocol UDP",
            "UDP_CHECK {\npayload Ab12f 3 456\nrequire_reply 0a\n}",
            {"type": "udp", "payload": "hex:ab120f034506", "expect": "hex:0a"},
        ),
        ("", "TCP_CHECK {\n}\nHTTP_GET {\nurl {\npath /x\n}\n}", {"type": "http", "status": ["200-299"], "path": "/x"}),
        (
            "",
            "TCP_CHECK {\nretry 500\ndelay_loop 1\ndelay_before_retry 5\n}",
            {"type": "tcp", "interval": 1, "fast_interval": 1, "fall": 100},
        ),
        ("", "TCP_CHECK {\ndelay_before_retry 3\n}", {"type": "tcp", "fast_interval": 1}),
        ("", 'MISC_CHECK {\nmisc_path "/bin/check 1"\n}', None),
        ("protocol UDP", "UDP_CHECK {\n}", None),
    ],
)
def test_checks(inside: str, check: str, found: dict[str, Any] | None) -> None:
    assert vip(inside, check).get("check") == found


@pytest.mark.parametrize(
    ("inside", "check", "more", "sentence"),
    [
        ("nothing_known 5", "", "", "k:4: nothing_known 5: is no word that this import knows in virtual_server; see"),
        ("quorom 5", "", "", "import knows in virtual_server, and may be meant to be quorum; see"),
        ("", "wieght 3", "", "in real_server, and may be meant to be weight"),
        ("", "TCP_CHECK {\nport 3\n}", "", "k:7: port 3: is no word that this import knows in TCP_CHECK"),
        ("", "HTTP_GET {\nurl {\npth /\n}\n}", "", "k:8: pth /: is no word that this import knows in url"),
        ("", "", "xyz 3", "k:1: xyz 3: is no word that this import knows in no block"),
        ("", "", "auth_pass hidden", "k:1: auth_pass …: is no word that this import knows"),
        ("", "", "global_defs {\nxyz\n}", "k:2: xyz: is no word that this import knows in global_defs"),
        ("", "", "vrrp_instance a {\nxyz\n}", "k:2: xyz: is no word that this import knows in vrrp_instance"),
        ("sorry_server 10.0.0.9 80", "", "", "k:4: sorry_server 10.0.0.9 80: a server that answers where no real does"),
        ("lvs_method NAT", "", "", "k:5: lvs_method NAT: answers came back through this host"),
        ("", "", "", "k:5: lvs_method NAT: answers came back through this host"),
        ("lvs_method DR", "", "", "k:5: lvs_method DR: packets went to reals by their MAC"),
        ("lvs_method TUN type gre", "", "", "k:4: lvs_method TUN type gre: is a tunnel that balancers have not"),
        ("lvs_sched wlc", "", "", "k:2: scheduler wlc: the real with the fewest connections"),
        ("lvs_sched new", "", "", "k:2: scheduler new: a scheduler that this import does not know"),
        ("persistence_timeout 50", "", "", "k:2: persistence 50 s: connections of a client stay with one real"),
        ("retry many", "", "", "k:4: retry many: has to have a number, and was passed over"),
        ("", "uthreshold 10", "", "k:6: uthreshold 10: a real takes so many connections at most"),
        ("", "notify_up /bin/x", "", "k:6: notify_up /bin/x: a command that keepalived runs"),
        ("", "TCP_CHECK {\nconnect_ip 10.0.0.9\n}", "", "k:7: connect_ip 10.0.0.9: the check asks another address"),
        ("", "HTTP_GET {\nurl {\npath x\n}\n}", "", 'HTTP_GET: path was passed over: "x" does not begin with /'),
        ("", "HTTP_GET {\nurl {\nregex a.*b\n}\n}", "", "regex a.*b: the answer must match a regular expression"),
        ("", "HTTP_GET {\nurl {\npath /a\n}\nurl {\npath /b\n}\n}", "", "k:10-12: url: a check asks one path"),
        ("", "HTTP_GET {\nurl {\ndigest 5\n}\n}", "", "k:8: digest 5: an MD5 of the whole answer"),
        ("", "TCP_CHECK {\nretry 500\n}", "", "retry 500 is outside of what option fall takes; it became 100"),
        ("", "MISC_CHECK {\n}", "", "k:6-7: MISC_CHECK: a command of your own"),
        ("real_server 10.0.0.2 80 {\n}", "TCP_CHECK {\n}", "", "10.0.0.2:80: had no check; a VIP has one for all"),
        ("real_server 10.0.0.2 81 {\n}", "", "", "80/tcp 10.0.0.2:81: takes another port than the VIP"),
        ("real_server 127.0.0.1 80 {\n}", "", "", "127.0.0.1:80: was left out: 127.0.0.1 is"),
        ("real_server web.example 80 {\n}", "", "", "real_server web.example 80: is no real server with an address"),
        ("", "", "vrrp_instance a {\ninterface eth7\npriority 5\n}", "k:3: priority 5: VRRP has one host at a time"),
        ("", "", "vrrp_instance a {\nvirtual_ipaddress {\n198.51.100.1/24\n10.9.9.9\n}\n}", "k:4: 10.9.9.9: moves"),
        ("", "", "virtual_server_group g {\n10.0.0.0/8 80\n}", "k:2: 10.0.0.0/8 80: is no address or range"),
        ("", "", "virtual_server group g {\n}", "k:1-2: virtual_server group g: names a group that is not there"),
        ("", "", "virtual_server fwmark 3 {\nreal_server 10.0.0.1 80 {\n}\n}", "k:1: fwmark 3: which packets"),
        ("", "", "virtual_server 198.51.100.1 80 {\nreal_server 10.0.0.1 80 {\n}\n}", "80/tcp: is there twice"),
        ("", "", "virtual_server 198.51.100.1 80 {\nprotocol SCTP\n}", "a service of SCTP; balancers take TCP and UDP"),
        ("", "", "virtual_server fc00::1 80 {\nreal_server 10.0.0.1 80 {\n}\n}", "has reals of IPv6 alone"),
        ("", "", "virtual_server 203.0.113.1 80 {\n}", "203.0.113.1:80/tcp: has no real that a balancer can have"),
        ("", "", "virtual_server 10.0.0.1 22 {\nreal_server 10.0.0.5 22 {\n}\n}", "became no VIP: address: 10.0"),
    ],
)  # fmt: skip
def test_what_is_told(inside: str, check: str, more: str, sentence: str) -> None:
    assert sentence in told(inside, check, more)


@pytest.mark.parametrize("mark", ["0", "4294967296", "42949672950", "1" * 5000, "-1", "0x7"])
def test_what_is_no_mark(mark: str) -> None:
    remarks = Remarks()
    server = f"virtual_server fwmark {mark} {{\nreal_server 10.0.0.1 80 {{\n}}\n}}"
    assert not read_keepalived("k", Sent({"k": server}), remarks).services
    assert not read_ipvsadm(f"-A -f {mark} -s rr", "i", remarks)
    assert "is no virtual server with an address and a port" in remarks.sentences[0]
    assert f"{mark[:60]} is no mark of a firewall" in remarks.sentences[1]


def test_groups_and_marks() -> None:
    text = (
        "virtual_server_group g {\n198.51.100.1-2 80\n198.51.100.254-198.51.101.0 81\n203.0.113.8/31 82\n"
        "2001:db8::a-b 83\nfwmark 5\n}\n"
        "virtual_server group g {\nprotocol UDP\nreal_server fc00::1 80 {\n}\n}"
    )
    marks = {5: [Key("192.0.2.1", 53, "udp")]}
    variables, _told = imported(text, wanted=Wanted(["lb1"], ["eth0"], marks=marks))
    assert [f"{each['address']} {each['port']} {each['protocol']}" for each in variables["katran_vips"]] == [
        *("198.51.100.1 80 udp", "198.51.100.2 80 udp", "198.51.100.254 81 udp", "198.51.100.255 81 udp"),
        *(
            "198.51.101.0 81 udp",
            "203.0.113.8 82 udp",
            "203.0.113.9 82 udp",
            "2001:db8::a 83 udp",
            "2001:db8::b 83 udp",
        ),
        "192.0.2.1 53 udp",
    ]


TABLE = """-A -t 198.51.100.1:80 -s wlc -p 300 -M 255.255.255.0 -b flag-1,flag-2
-a -t 198.51.100.1:80 -r 10.0.0.1:80 -i -w 5 --tun-type gue --tun-port 6080 --tun-nocsum
-a -t 198.51.100.1:80 -r 10.0.0.2:80 -i -w 0 -x 100 -y 50
-A -u [2001:db8::1]:53 -s sh -o
-a -u [2001:db8::1]:53 -r [fc00::1]:53 -g -w 1
-A -f 7 -s rr -6
-a -f 7 -r 10.0.0.9:0 -m -w 1
"""


def test_a_table() -> None:
    variables, sentences = imported(table=TABLE)
    assert variables == {
        "katran_interfaces": ["eth0"],
        "katran_encapsulation": "gue",
        "katran_gue_port": 6080,
        "katran_vips": [
            {
                "address": "198.51.100.1",
                "port": 80,
                "protocol": "tcp",
                "flags": ["hash_no_src_port"],
                "reals": [{"address": "10.0.0.1", "weight": 5}, {"address": "10.0.0.2", "weight": 0}],
            },
            {
                "address": "2001:db8::1",
                "port": 53,
                "protocol": "udp",
                "flags": ["hash_no_src_port", "no_lru"],
                "reals": [{"address": "fc00::1"}],
            },
        ],
    }
    text = "\n".join(sentences)
    for part in (
        "-M 255.255.255.0: clients of a network",
        "i:3",
        "fwmark 7: which packets",
        "scheduler wlc",
        "lvs_method",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("-A -t lb1:http -s rr", "lb1:http is no address with a port in digits; read the table with ipvsadm -Sn"),
        ("IP Virtual Server version 1.2.1", "IP is no option that this import knows; read the table with ipvsadm -Sn"),
        ("-A -t 1.2.3.4:80 -z", "-z is no option that this import knows"),
        ("-A -t", "-t has no value"),
        ("-A -s 'rr", "has a quote that nothing ends"),
        ("-A -s rr", "names no service, or several"),
        ("-t 1.2.3.4:80", "neither adds a service nor a real"),
        ("-a -t 1.2.3.4:80 -r 10.0.0.1:80", "is a real of 1.2.3.4:80/tcp, which no line before adds"),
        ("-A -t 198.51.100.1:80 -s rr", "is there twice; the first was kept"),
        ("-a -t 198.51.100.1:80 -r 10.0.0.1:80", "is there twice; the first was kept"),
        ("-a -t 198.51.100.1:80 -r 10.0.0.7:80 -w many", "many is no number up to"),
        ("-A --sctp-service 1.2.3.4:80", "a service of SCTP"),
        ("-A -f 0", "0 is no mark of a firewall"),
    ],
)
def test_what_is_told_of_a_table(line: str, sentence: str) -> None:
    assert sentence in "\n".join(imported(table=f"{TABLE}{line}\n")[1])


def test_two_sources() -> None:
    text = (
        "virtual_server 198.51.100.1 80 {\nlvs_sched wlc\npersistence_timeout 300\nsorry_server 10.0.0.66 80\n"
        "real_server 10.0.0.1 80 {\nweight 5\n}\nreal_server 10.0.0.2 80 {\nweight 5\n}\n"
        "real_server 10.0.0.3 80 {\n}\n}\n"
        "virtual_server 203.0.113.1 80 {\nreal_server 10.0.0.1 80 {\n}\n}"
    )
    table = TABLE + "-a -t 198.51.100.1:80 -r 10.0.0.8:80 -w 2\n-a -t 198.51.100.1:80 -r 10.0.0.66:80\n"
    variables, sentences = imported(text, table)
    vips = {each["address"]: each for each in variables["katran_vips"]}
    assert list(vips) == ["198.51.100.1", "203.0.113.1", "2001:db8::1"]
    assert vips["198.51.100.1"]["reals"] == [
        {"address": "10.0.0.1", "weight": 5},
        {"address": "10.0.0.2", "weight": 5},
        {"address": "10.0.0.3"},
        {"address": "10.0.0.8", "weight": 2},
    ]
    text = "\n".join(sentences)
    for part in (
        "i:3: 198.51.100.1:80/tcp 10.0.0.2:80: has weight 0 in the kernel and 5 in the configuration",
        "i:8: 198.51.100.1:80/tcp 10.0.0.8:80: is a real in the kernel alone",
        "i:9: 198.51.100.1:80/tcp 10.0.0.66:80: the sorry server serves now",
        "k:11: 198.51.100.1:80/tcp 10.0.0.3:80: is a real that the kernel has not",
        "k:14: 203.0.113.1:80/tcp: is in the configuration alone",
        "i:4: [2001:db8::1]:53/udp: is in the kernel alone",
    ):
        assert part in text


def test_room_probes_and_starved() -> None:
    lines = [
        f"-A -t 198.51.{i >> 8}.{i & 255}:80 -s wrr\n-a -t 198.51.{i >> 8}.{i & 255}:80 -r 10.0.0.1:80\n"
        for i in range(1, 600)
    ]
    variables, _told = imported(table="".join(lines))
    assert variables["katran_sizes"] == {"vips": 1024}
    variables, _told = imported(table="-A -t 198.51.100.1:80\n-a -t 198.51.100.1:80 -r 10.0.0.1:80 -w 0\n")
    assert variables["katran_min_active"].value == 0
    reals = "".join(f"real_server 10.0.{i >> 8}.{i & 255} 80 {{\nTCP_CHECK {{\n}}\n}}\n" for i in range(1, 252))
    variables, _told = imported(f"virtual_server 198.51.100.1 80 {{\ndelay_loop 0.1\n{reals}}}")
    assert variables["katran_max_probes"].value == 2510


@pytest.mark.parametrize("text", ["", "global_defs {\n}", "virtual_server fwmark 1 {\nreal_server 10.0.0.1 80 {\n}\n}"])
def test_no_vip(text: str) -> None:
    with pytest.raises(InventoryError, match="nothing that was read makes a VIP: "):
        imported(text)


OPTIONS: dict[str, Any] = {"balancers": ["lb1"], "interfaces": [], "real_interfaces": [], "marks": {}}


def test_what_is_wanted() -> None:
    places = [{"address": "198.51.100.1", "port": "80", "protocol": "tcp"}]
    wanted = wanted_of({**OPTIONS, "balancers": ["lb1", "lb1"], "marks": {"1": places}}, ["eth0"], ["x"])
    assert wanted == Wanted(["lb1"], ["eth0"], [], {1: [Key("198.51.100.1", 80, "tcp")]}, ["x"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"balancers": []}, "balancers: name the hosts that are to be balancers"),
        ({}, "interfaces: nothing that was read names those of the balancers; give them"),
        ({"interfaces": ["eth0"], "marks": {"x": []}}, "marks.x: is no mark with a list of address, port and protocol"),
        ({"interfaces": ["eth0"], "marks": {"1": "x"}}, "marks.1: is no mark with a list of address"),
        ({"interfaces": ["eth0"], "marks": {"1": [{"address": 1}]}}, "marks.1[0]: is no mapping of address, port"),
        ({"interfaces": ["eth0"], "marks": {1: [None]}}, "marks.1[0]: is no mapping of address, port"),
    ],
)
def test_what_is_wrong_with_what_is_wanted(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InventoryError) as error:
        wanted_of({**OPTIONS, **options}, [], [])
    assert sentence in str(error.value)


WORDS = (
    "virtual_server real_server url path TCP_CHECK HTTP_GET UDP_CHECK DNS_CHECK vrrp_instance virtual_server_group"
    " quorum weight lvs_sched delay_loop retry fwmark { } 10.0.0.1 198.51.100.1 fc00::1 80 0 fo rr -1 1e9"
)
KEYWORDS = sorted(
    {
        *(*keepalived_words.SERVER, *keepalived_words.REAL, *keepalived_words.CHECK, *keepalived_words.URL),
        *(*WORDS.split(), "{\n", "}\n", "\n"),
    }
)


@given(st.lists(st.sampled_from(KEYWORDS), max_size=40))
def test_any_words(words: list[str]) -> None:
    """Whatever stands there, in whatever order, becomes valid VIPs and sentences."""
    with suppress(InventoryError):
        imported("virtual_server 198.51.100.1 80 {\n real_server 10.0.0.1 80 {\n}\n" + " ".join(words))


@given(st.text(st.sampled_from("-AatufrswpMbo6gim1:.[] \n'é"), max_size=60))
def test_any_table(text: str) -> None:
    imported(table=TABLE + text)
