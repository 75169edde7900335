# SPDX-License-Identifier: GPL-3.0-or-later
"""katran doctor --bundle has no secret, no address where it is masked, and is never too large; what hosts compare."""

from __future__ import annotations

import base64
import json
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._cli.main import main
from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor.bundle import COMMANDS, LARGEST
from ansible_collections.katran.fleet.plugins.module_utils._engine.doctor.for_fleet import told_to_fleet
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request
from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import LOCK_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_folder import STATE_ROOT
from ansible_collections.katran.fleet.tests.engine.host import apply, real, vip
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS, compiled_once, ensure_balancer, run, sandbox

LINK = "lb"
KEY = os.urandom(32)
SECRETS = ("Bearer-7f3a9c", "Payload-51ce77", KEY.hex(), base64.b64encode(KEY).decode())
ADDRESSES = (
    "198.51.100.1",
    "2001:db8:77::1",
    "10.77.0.1",
    "10.77.0.2",
    "fc00:77::1",
    "198.18.7.1",
    "02:00:00:00:00:09",
)
NAMES = ("internal.example.net", os.uname().nodename)
BUNDLE = "/run/bundle.tar.gz"


@pytest.fixture(autouse=True)
def balancer() -> Iterator[None]:
    with sandbox(LINK), compiled_once():
        run("ip", "link", "set", "lo", "up")
        run("ip", "addr", "add", "198.18.7.1/24", "dev", LINK)
        run("ip", "addr", "add", "198.18.7.1/32", "dev", "lo", "scope", "host")
        ensure_balancer("attached", interfaces=[LINK])
        check = {"type": "http", "path": "/", "host": NAMES[0], "headers": {"X-Key": SECRETS[0]}}
        echo = {"type": "udp", "payload": SECRETS[1]}
        apply(
            "vips",
            [
                vip("198.51.100.1", real("10.77.0.1"), real("10.77.0.2"), check=check),
                vip("198.51.100.1", real("10.77.0.1"), protocol="udp", check=echo),
                vip("2001:db8:77::1", real("fc00:77::1")),
            ],
        )
        place("agent.json", json.dumps({"schema": 1, "sync_key": KEY.hex()}))
        # As in a journal or a table: nothing says here that it is a secret.
        place("words.json", f"not JSON: {SECRETS[0]} and {SECRETS[3]} of 10.77.0.1, {SECRETS[2]}\n")
        yield


def place(name: str, text: str, root: str = STATE_ROOT) -> None:
    path = Path(root, "default", name)
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


def parts(*options: str) -> dict[str, str]:
    assert main(["doctor", "--no-probes", "--bundle", BUNDLE, *options]) == 0
    assert os.stat(BUNDLE).st_mode & 0o777 == 0o600
    assert os.stat(BUNDLE).st_size <= LARGEST
    found = {}
    with tarfile.open(BUNDLE) as archive:
        for entry in archive:
            opened = archive.extractfile(entry)
            assert opened is not None
            found[entry.name.removeprefix("katran-bundle/")] = opened.read().decode()
    return found


def test_it_has_all_and_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    found = parts()
    assert "addresses are in it, --mask hides them" in capsys.readouterr().out
    assert {f"host/{name}.txt" for name in COMMANDS} <= found.keys()
    assert {"versions.json", "default/doctor.json", "state/default/state.json", "journal/units.txt"} <= found.keys()
    assert json.loads(found["default/info/vips.json"])["vips"][0]["address"] == "198.51.100.1"
    assert "198.18.7.1/24" in found["host/addresses.txt"]
    assert json.loads(found["state/default/agent.json"])["sync_key"] == "(removed)"
    whole = "\n".join([*found, *found.values()])
    assert not [secret for secret in SECRETS if secret in whole]


def test_nothing_of_it_is_an_address_once_masked() -> None:
    found = parts("--mask")
    whole = "\n".join([*found, *found.values()]).lower()
    local = Path(f"/sys/class/net/{LINK}/address").read_text(encoding="ascii").strip()
    assert not [each for each in (*ADDRESSES, local) if each in whole]
    assert not [each for each in NAMES if re.search(rf"(?<![\w-]){re.escape(each)}(?![\w-])", whole)]
    assert not [secret for secret in SECRETS if secret.lower() in whole]
    # The same everywhere: what the kernel shows of the VIP, and what was applied.
    info = json.loads(found["default/info/vips.json"])["vips"]
    state = json.loads(found["state/default/state.json"])["vips"]
    assert {each["address"] for each in info} == {each["address"] for each in state}
    assert all(each["address"] in found["default/info/counters.json"] for each in state)


def test_it_is_never_too_large() -> None:
    for number in range(28):
        place(f"verdicts.d/{number}.json", base64.b64encode(os.urandom(3 << 16)).decode(), LOCK_ROOT)
    found = parts()
    assert "bytes, so that the whole is no larger than 5000000" in found["run/default/verdicts.d/0.json"]


def test_a_file_is_whole_or_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--no-probes", "--bundle", "/run/nowhere/bundle.tar.gz"]) == 2
    assert "/run/nowhere/bundle.tar.gz cannot be written: No such file or directory" in capsys.readouterr().err
    Path("/run/target").write_text("kept", encoding="utf-8")
    os.symlink("/run/target", BUNDLE)
    parts()
    assert Path("/run/target").read_text(encoding="utf-8") == "kept"
    assert not [name for name in os.listdir("/run") if name.startswith(".bundle")]


def test_what_balancers_are_compared_by() -> None:
    told = told_to_fleet(Request("default", BPFFS, 5.0, True), False, [])
    assert told == json.loads(json.dumps(told))
    shared = told["seen"]["shared"]
    assert shared["sources"] == {"ipv4": ["172.16.0.0/16"], "ipv6": ["100::/64"]}
    assert shared["vips"]["198.51.100.1:80/tcp"]["reals"] == {"10.77.0.1": [1, ""], "10.77.0.2": [1, ""]}
    before = shared["vips"]["198.51.100.1:80/tcp"]["digest"]
    apply("reals", [{"address": "10.77.0.2", "state": "draining"}])
    after = told_to_fleet(Request("default", BPFFS, 5.0, True), False, [])["seen"]["shared"]["vips"]
    assert after["198.51.100.1:80/tcp"]["reals"]["10.77.0.2"][1].startswith("draining by hand, 20")
    assert after["198.51.100.1:80/tcp"]["digest"] != before
    assert after["[2001:db8:77::1]:80/tcp"]["digest"] == shared["vips"]["[2001:db8:77::1]:80/tcp"]["digest"]
    assert not told_to_fleet(Request("none", BPFFS, 5.0, True), False, [])["installed"]
