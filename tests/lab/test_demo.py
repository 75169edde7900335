# SPDX-License-Identifier: GPL-3.0-or-later
"""The tour of `make demo`: one of its steps, and the recording that scripts/recording makes of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from fleetlab.plan import PROJECT
from fleetlab.runs import Fleet


def test_a_step_tells_what_clients_met_and_can_be_recorded(fleet: Fleet, tmp_path: Path) -> None:
    log, svg = tmp_path / "demo.jsonl", tmp_path / "demo.svg"
    command = [sys.executable, "tests/lab/demo", "kill", "--lab", fleet.lab.prefix, "--rate", "50", "--log", str(log)]
    done = subprocess.run(
        [*command, "--no-report"], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    out = re.search(r"out of every ring after ([0-9.]+) s", done.stdout)
    asked = re.search(r"minutes: ([0-9]+) requests, ([0-9]+) failed", done.stdout)
    assert out
    assert asked
    assert int(asked[1]) > 100
    # What fails is asked for between the crash and the moment that the last ring has heard of it.
    assert int(asked[2]) < int(asked[1])
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [at for at, _kind, _text in lines] == sorted(at for at, _kind, _text in lines)
    # Before the crash and after it all is well; real1 answers, and in between does not.
    numbers = [text for _at, kind, text in lines if kind == "live"]
    assert any(re.search(r"real1 +[1-9][0-9]* %", text) for text in numbers)
    assert any(re.search(r"real1 +0 %  real2 +[1-9]", text) for text in numbers)

    subprocess.run([sys.executable, "scripts/recording", str(log), str(svg)], cwd=PROJECT, check=True)
    picture = ET.parse(svg).getroot()  # noqa: S314  # our own
    words = "".join(picture.itertext())
    assert f"out of every ring after {out[1]} s" in words
    used = {each.get("href") for each in picture.iter("{http://www.w3.org/2000/svg}use")}
    defined = {f"#{each.get('id')}" for each in picture.iter("{http://www.w3.org/2000/svg}text") if each.get("id")}
    assert used == defined
    assert svg.stat().st_size < 300_000
