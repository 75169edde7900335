# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The man page and the completion of katran say what its parsers do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._cli.main import COMMANDS, parser_of
from ansible_collections.katran.fleet.plugins.module_utils._cli.manual import (
    COMPLETION,
    MAN_PAGE,
    completion,
    man_page,
)

FILES = Path(__file__).resolve().parents[5] / "roles/host/files"


@pytest.mark.parametrize(("name", "made"), [(MAN_PAGE, man_page()), (COMPLETION, completion())])
def test_what_is_installed_is_of_today(name: str, made: str) -> None:
    assert (FILES / name).read_text(encoding="utf-8") == made, "run scripts/manual"


def test_every_option_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    page, script = man_page().replace("\\-", "-"), completion()
    for name in COMMANDS:
        assert f".SS katran {name}" in page
        with pytest.raises(SystemExit):
            parser_of([name]).parse_args([name, "--help"])
        options = {word.strip(",[]") for word in capsys.readouterr().out.split() if word.strip("[").startswith("--")}
        for option in options - {"--help", "--now", "--once", "--json", "--stale"}:
            assert option in page, (name, option)
            assert option in script, (name, option)


def complete(tmp_path: Path, line: str) -> list[str]:
    """What bash would offer at the end of a line."""
    katran = tmp_path / "katran"
    katran.write_text(
        '#!/bin/sh\n[ "$1" = names ] && printf "%s\\n" 198.51.100.1:443/tcp 198.51.100.2:53/udp 10.0.0.1\n'
    )
    katran.chmod(0o755)
    script = tmp_path / COMPLETION
    script.write_text(completion(), encoding="utf-8")
    code = f'. {script}; COMP_LINE="$1" COMP_POINT=${{#1}} COMP_WORDBREAKS=" :"; _katran'
    code += '; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", code, "bash", line], check=True, capture_output=True, text=True, env={"PATH": f"{tmp_path}:/bin"}
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("katran st", ["status"]),
        ("katran ", list(COMMANDS)),
        ("katran vips 198.51.100.", ["198.51.100.1:443/tcp", "198.51.100.2:53/udp"]),
        # Bash takes what comes before the colon for a word of its own.
        ("katran vips 198.51.100.1:4", ["443/tcp"]),
        ("katran flows --real 10", ["10.0.0.1"]),
        ("katran flows --li", ["--limit"]),
        ("katran flows --limit ", []),
        ("katran --json status 10", ["10.0.0.1"]),
    ],
)
def test_bash_completes(tmp_path: Path, line: str, offered: list[str]) -> None:
    assert complete(tmp_path, line) == offered
