# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/pipelines by the schemas that GitLab and GitHub publish, as check-jsonschema brings them."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

PROJECT = Path(__file__).resolve().parents[2]
PIPELINES = PROJECT / "docs/pipelines"
PLAYBOOKS = {path.stem for path in (PROJECT / "playbooks").glob("*.yml")}
SCHEMAS = {"gitlab-ci.yml": "gitlab-ci.json", "github-actions.yml": "github-workflows.json"}


class Loader(yaml.SafeLoader):
    """GitLab's tag is a list for whoever is not GitLab."""


Loader.add_constructor("!reference", lambda loader, node: loader.construct_sequence(node))


def pipeline(name: str) -> dict[str, Any]:
    found = Loader((PIPELINES / name).read_text(encoding="utf-8")).get_single_data()
    assert isinstance(found, dict)
    return found


def schema(name: str) -> dict[str, Any]:
    package = importlib.metadata.distribution("check-jsonschema")
    vendor = package.locate_file(f"check_jsonschema/builtin_schemas/vendor/{SCHEMAS[name]}")
    found = json.loads(Path(str(vendor)).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def faults(name: str, found: dict[str, Any]) -> list[str]:
    told = schema(name)
    kind = jsonschema.validators.validator_for(told)
    return [f"{error.json_path}: {error.message[:200]}" for error in kind(told).iter_errors(found)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_its_syntax_is_the_vendor_s(name: str) -> None:
    found = pipeline(name)
    assert faults(name, found) == []
    # The schema has something to say at all.
    first = next(iter(found["jobs"])) if "jobs" in found else "plan"
    broken = (
        {**found, "jobs": {**found["jobs"], first: {"steps": 1}}}
        if "jobs" in found
        else {**found, first: {"script": 1}}
    )
    assert faults(name, broken)


@pytest.mark.parametrize("name", SCHEMAS)
def test_its_playbooks_are_ours(name: str) -> None:
    text = (PIPELINES / name).read_text(encoding="utf-8")
    used = set(re.findall(r"katran\.fleet\.(\w+)", text))
    assert {"preflight", "plan", "deploy", "drift"} <= used <= PLAYBOOKS | {"drift"}
