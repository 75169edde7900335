# SPDX-License-Identifier: GPL-3.0-or-later
"""The bills of materials of a release are valid, and name what a fleet runs on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

CLONE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("sbom")
    artifact = folder / "built"
    artifact.write_bytes(b"a collection")
    command = [sys.executable, "scripts/sbom", str(folder), "--artifact", str(artifact)]
    done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {
        "dev" if ".dev." in path.name else "run": path.read_text(encoding="utf-8") for path in folder.glob("*.cdx.json")
    }


def wrong(text: str) -> object:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


def test_both_are_valid(bills: dict[str, str]) -> None:
    assert set(bills) == {"dev", "run"}
    for text in bills.values():
        assert wrong(text) is None
        # The validator does object where there is something to object to.
        assert wrong(text.replace('"version"', '"edition"')) is not None


def test_what_runs_is_there_with_what_it_needs(bills: dict[str, str]) -> None:
    bill: dict[str, Any] = json.loads(bills["run"])
    parts = {each["bom-ref"]: each for each in bill["components"]}
    needs = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    direct = {"pypi:ansible-core", "deb:python3-bpfcc", "deb:python3-pyroute2", "deb:python3-netaddr", "deb:bird2"}
    assert direct <= set(needs["katran.fleet"])
    assert "pypi:jinja2" in needs["pypi:ansible-core"]
    assert "deb:libbpfcc" in needs["deb:python3-bpfcc"]
    assert parts["deb:python3-bpfcc"]["purl"].startswith("pkg:deb/debian/python3-bpfcc@0.")
    assert all(each["version"] for each in parts.values())
    assert bill["metadata"]["component"]["hashes"][0]["alg"] == "SHA-256"


def test_what_it_was_built_with_is_what_is_locked(bills: dict[str, str]) -> None:
    locked = (CLONE / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    wanted = {tuple(line.split("==")) for line in locked if "==" in line}
    assert {(each["name"], each["version"]) for each in json.loads(bills["dev"])["components"]} == wanted
