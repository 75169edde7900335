# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command katran: what it refuses, and how."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._cli.checks import filter_of
from ansible_collections.katran.fleet.plugins.module_utils._cli.main import COMMANDS, load, main
from ansible_collections.katran.fleet.plugins.module_utils._cli.values import seconds_until
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import EngineError
from ansible_collections.katran.fleet.plugins.module_utils._model.vips import VipKey

WEB, DNS, SIX = (VipKey.read(name) for name in ("198.51.100.1:443/tcp", "198.51.100.2:53/udp", "[2001:db8::1]:443/tcp"))
REAL = "10.0.0.1"


@pytest.mark.parametrize(
    ("which", "found"),
    [
        (None, [WEB, DNS, SIX]),
        ("198.51.100.1:443/tcp", [WEB]),
        ("198.51.100.1:443", [WEB]),
        ("198.51.100.1", [WEB]),
        ("198.51.100.1:80", []),
        ("2001:db8::1", [SIX]),
        ("2001:DB8:0::1", [SIX]),
        ("[2001:db8::1]:443/tcp", [SIX]),
        (REAL, [WEB, DNS, SIX]),
        (":443", [WEB, SIX]),
        (":53/udp", [DNS]),
        ("10.0.0.2", []),
    ],
)
def test_what_is_asked_for(which: str | None, found: list[VipKey]) -> None:
    chosen = filter_of(which)
    assert [key for key in (WEB, DNS, SIX) if chosen(key, REAL)] == found


@pytest.mark.parametrize("which", ["web", "10.0.0", "198.51.100.1:443/icmp", "", "\x1b[2J"])
def test_what_is_nothing(which: str) -> None:
    with pytest.raises(EngineError, match=r"is neither the name of a VIP, such as .*, nor a real's$"):
        filter_of(which)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "3601"])
def test_how_long_to_wait(value: str) -> None:
    seconds = seconds_until(3600)
    assert seconds("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match="is not more than 0 and at most 3600"):
        seconds(value)


def test_every_subcommand_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert [load(name).name for name in COMMANDS] == sorted(COMMANDS)
    for command in map(load, COMMANDS):
        with pytest.raises(SystemExit) as ended:
            main([command.name, "--help"])
        assert ended.value.code == 0
        assert command.help in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["checks", "--nonsense"], ["checks", "--wait", "x"]])
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: katran" in capsys.readouterr().err


def test_a_fault_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checks", "web"]) == 2
    assert capsys.readouterr().err == (
        "katran: web is neither the name of a VIP, such as 198.51.100.1:443/tcp, 198.51.100.1 or :443, nor a real's\n"
    )
    assert main(["checks", "--instance", "../x"]) == 2
    assert capsys.readouterr().err == "katran: ../x is not the name of an instance\n"


def test_an_output_that_is_full_is_a_sentence() -> None:
    package = main.__module__
    shows = f"import sys\nfrom {package} import main\nfrom {package.rpartition('.')[0]} import names\n"
    shows += "names.instances = lambda: ['default']\nsys.exit(main(['names', 'instances']))\n"
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", shows],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert done.returncode == 2
    assert done.stderr == "katran: what is to be shown cannot be written: No space left on device\n"
