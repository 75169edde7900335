# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What bird.conf says; what bird says of it is in tests/engine/test_bird_conf.py."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.module_utils._model.bgp_settings import Place, parse_bgp
from ansible_collections.katran.fleet.plugins.module_utils._model.bird_conf import is_ours, masked, session_name
from ansible_collections.katran.fleet.tests.unit.plugins.module_utils._model.bird_confs import NEIGHBOR, PLACES, conf


def test_passwords_of_somebody_elses_file_are_not_shown() -> None:
    told = masked('password \'a b\';\n\tPassword   "c" ;\npassword "d" { id 1; };\nlog "password";')
    assert told == 'password "********";\n\tPassword   "********" ;\npassword "********" { id 1; };\nlog "password";'
    told = masked(
        'define KEY = "secret";\ndefine AS = 65001;\npassword KEY;\npassword 0a:0b:0c;\npassword hex:0a0b{ id 1; }'
    )
    assert told == (
        'define KEY = "********";\ndefine AS = 65001;\npassword "********";\npassword "********";\n'
        'password "********"{ id 1; }'
    )


def of_family(text: str, version: int) -> str:
    return text.partition(f"filter katran_announce{version} {{")[2].partition("\n}\n")[0]


def test_what_is_announced() -> None:
    text = conf(communities=["65001:1"], local_pref=70)
    assert is_ours(text)
    assert "router id 10.0.0.9;" in text
    assert text.count("kernel table 198;") == 2
    assert text.count("import where krt_source = 98; export none;") == 2
    assert text.count("import none;") == 2
    assert of_family(text, 4).split("\n")[1:] == [
        "\tif net !~ [ 198.51.100.1/32, 198.51.100.2/32, 203.0.113.0/24 ] then reject;",
        "\tbgp_community.add((65001, 1));",
        "\tif net ~ [ 198.51.100.1/32, 203.0.113.0/24 ] then { bgp_community.add((65001, 80)); }",
        "\tbgp_local_pref = 70;",
        "\t# RFC 8326: traffic is to leave, and is carried until it has left.",
        "\tif krt_metric > 1 then { bgp_community.add((65535, 0)); bgp_local_pref = 0; }",
        "\taccept;",
    ]
    assert "then { bgp_large_community.add((4200000000, 1, 2)); bgp_community.add((65001, 443)); }" in of_family(
        text, 6
    )


def test_where_no_vip_is_nothing_is_announced() -> None:
    assert of_family(conf(PLACES[:2]), 6) == "\n\treject;"
    assert of_family(conf(()), 4) == "\n\treject;"
    assert of_family(conf(prefixes=["2001:db8::/32"]), 4) == "\n\treject;"


def test_prefixes_stand_for_all_vips() -> None:
    """With them a new VIP without communities of its own leaves the file as it is."""
    told = {"prefixes": ["198.51.100.0/24", "2001:db8::/32"]}
    assert "if net !~ [ 198.51.100.0/24+ ] then reject;" in conf(**told)
    assert conf(PLACES, **told) == conf((*PLACES, Place("198.51.100.77/32")), **told)


def test_where_nobody_says_which_vips_there_are_the_table_says_it() -> None:
    assert "net !~" not in conf(None)
    assert "reject" not in conf(None)


def test_bfd_is_there_where_a_neighbor_has_it() -> None:
    assert "protocol bfd" not in conf(neighbors=[{**NEIGHBOR, "bfd": False}])
    both = conf(neighbors=[{**NEIGHBOR, "bfd": False}, {**NEIGHBOR, "address": "10.0.0.2"}])
    assert (both.count("protocol bfd"), both.count("bfd on;")) == (1, 1)
    assert 'interface "*" { interval 100 ms; multiplier 3; };' in both


def sessions(text: str) -> dict[str, str]:
    return dict(re.findall(r"^protocol bgp (\w+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL))


def test_a_neighbor_has_its_session_whatever_stands_beside_it() -> None:
    others = [{**NEIGHBOR, "address": f"10.0.0.{number}"} for number in range(2, 6)]
    whole, without = sessions(conf(neighbors=[*others, NEIGHBOR])), sessions(conf(neighbors=others[1:]))
    assert whole.items() > without.items()
    assert len(whole) == 5
    # VIPs and communities are no part of a session.
    assert sessions(conf((), communities=["65001:9"], neighbors=[*others, NEIGHBOR])) == whole


@given(st.lists(st.ip_addresses().map(str), unique=True, min_size=2, max_size=30))
def test_each_address_has_a_name_that_bird_takes(addresses: list[str]) -> None:
    usable = [text for text in addresses if _usable(text)]
    found = parse_bgp({"as": 1, "neighbors": [{"address": text, "as": 1} for text in usable]}) if usable else None
    names = [session_name(neighbor) for neighbor in found.neighbors] if found else []
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9_]{0,62}", name) for name in names)


def _usable(text: str) -> bool:
    try:
        parse_bgp({"as": 1, "neighbors": [{"address": text, "as": 1}]})
    except Exception:  # noqa: BLE001  # of a range that no router is in
        return False
    return True
