# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator sets reaches the modules: every option of a module is passed by its role, from a variable."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import StrictUndefined, meta
from jinja2.nativetypes import NativeEnvironment

from ansible_collections.katran.fleet.plugins.module_utils._model.settings import BALANCER

ROOT = Path(__file__).resolve().parents[3]
ROLES = ("balancer", "client", "host", "real")
PREFIX = "katran.fleet."
JINJA = NativeEnvironment(undefined=StrictUndefined)
# What a template does with its variables is not looked at here, only which they are.
JINJA.filters |= dict.fromkeys(("combine", "intersect", "katran.fleet.outer_sources"), lambda value, *_arguments: value)
OMIT = object()

LITERAL = {
    "vips": {"state": "overridden"},
    "source_routes": {"state": "overridden"},
    "server_ids": {"state": "overridden"},
    "decap_destinations": {"state": "overridden"},
}
"""Options that are the same in every fleet: the inventory is all that there is to be."""

ELSEWHERE = {
    "source_dir": {"library"},
    "planned_sources": {"host_compared"},
    "untouched": {"told"},
    "config": {"resources"},
    "planned": {"planned"},
    "sizes": {"told", "sizes"},
    "real_families": {"told"},
    "real_mss": {"told"},
    "addresses": {"told"},
    "keep_sources": {"keep_vips", "known"},
    "interface": {"probe_interface", "probes"},
    "root_array_path": {"root_array"},
    "sync_peers": {"sync_peers", "told"},
    "units": {"server_id_units"},
    "id": {"server_id"},
    "fallback_id": {"server_id_fallback"},
    "entries": {"server_id_entries"},
    "restart": {"server_id_restart"},
}
"""Options that do not come from a variable of their name alone, and what they come from (without the role's name)."""

PROBES_FROM = ("source_ipv4", "source_ipv6")

NOT_PASSED = {
    "balancer": {"state": "a role makes balancers: it neither removes one nor rolls it back"},
    "decap": {
        "state": "the role serves; tasks withdraw say otherwise",
        "loopback": "without the VIPs on lo the host would answer nobody",
    },
    "host": {
        "state": "a role prepares hosts: it takes nothing away from one",
        "leaving": "what playbook remove has taken off already",
        "files": "what the module's own half on the controller tells the other",
        "contents": "likewise",
    },
    "agent": {"state": "the role has an agent, or says by a task of its own that it has none"},
    "healthcheck": {
        "state": "likewise",
        "source_mac": "auto is the interface's own",
        "counted_vips": "the agent counts probes itself",
    },
    "server_id_option": {"state": "a task of its own takes the program away"},
    "preflight": {},
}
"""Module → options that its role leaves to their defaults, and why."""


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def documented(path: Path, name: str = "DOCUMENTATION") -> dict[str, Any]:
    """A documentation block of a Python file, on its top level or in the class ModuleDocFragment."""
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            found: dict[str, Any] = yaml.safe_load(ast.literal_eval(statement.value))
            return found
    raise AssertionError(f"{path.name} has no {name}")


def options_of(module: str) -> dict[str, Any]:
    """A module's options, with those of the fragments that it extends."""
    own = documented(ROOT / "plugins" / "modules" / f"{module}.py")
    found = dict(own["options"])
    for name in own["extends_documentation_fragment"]:
        _katran, _fleet, fragment, *part = name.split(".")
        path = ROOT / "plugins" / "doc_fragments" / f"{fragment}.py"
        found |= documented(path, part[0].upper() if part else "DOCUMENTATION").get("options", {})
    return found


def files_of(role: str) -> list[Path]:
    """The files of tasks that make a host what the inventory says; the others are parts of playbooks about a run."""
    folder = ROOT / "roles" / role / "tasks"
    found, coming = set(), {"main.yml", "withdraw.yml"}
    while coming:
        name = coming.pop()
        if name in found or not (folder / name).exists():
            continue
        found.add(name)
        for task in load(folder / name):
            for word in ("import_tasks", "include_tasks"):
                coming |= {str(task[f"ansible.builtin.{word}"])} if f"ansible.builtin.{word}" in task else set()
    return [folder / name for name in sorted(found)]


def tasks_of(role: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each of a role's tasks that runs a module of ours: file, module, arguments."""
    for path in files_of(role):
        for task in load(path):
            for word, arguments in task.items():
                if word.startswith(PREFIX):
                    yield path.name, word.removeprefix(PREFIX), arguments


TASKS = [(role, *task) for role in ROLES for task in tasks_of(role)]


def variables_in(value: Any) -> set[str]:
    """The variables that a template refers to; none where it is no template."""
    return meta.find_undeclared_variables(JINJA.parse(value)) - {"omit"} if isinstance(value, str) else set()


def test_the_roles_run_these_modules() -> None:
    assert sorted((role, file, module) for role, file, module, _arguments in TASKS) == [
        ("balancer", "agent.yml", "agent"),
        ("balancer", "agent.yml", "healthcheck"),
        ("balancer", "attach.yml", "balancer"),
        ("balancer", "let_go.yml", "agent"),
        ("balancer", "let_go.yml", "healthcheck"),
        ("balancer", "preflight.yml", "preflight"),
        ("balancer", "run.yml", "vips"),
        ("balancer", "tables.yml", "decap_destinations"),
        ("balancer", "tables.yml", "server_ids"),
        ("balancer", "tables.yml", "source_routes"),
        ("client", "main.yml", "server_id_option"),
        ("client", "main.yml", "server_id_option"),
        ("host", "main.yml", "host"),
        ("real", "ids.yml", "server_id_option"),
        ("real", "ids.yml", "server_id_option"),
        ("real", "preflight.yml", "preflight"),
        ("real", "run.yml", "decap"),
        ("real", "withdraw.yml", "decap"),
    ]


@pytest.mark.parametrize(("role", "file", "module", "arguments"), TASKS, ids=[f"{r}-{f}-{m}" for r, f, m, _a in TASKS])
def test_every_option_is_passed_from_a_variable(role: str, file: str, module: str, arguments: dict[str, Any]) -> None:
    if module == "preflight":
        assert arguments == {"role": role}
        return
    if arguments.get("state") == "absent":
        assert set(arguments) == {"state", "instance", "bpffs", "lock_timeout"}
        return
    if file == "withdraw.yml":
        # It takes VIPs away and leaves the rest of the host as it is.
        assert arguments.pop("state") == "withdrawn"
        assert variables_in(arguments.pop("sources")) == {"real_known", "real_sources"}
        expected = {"instance", "bpffs", "lock_timeout", "vips"}
    else:
        expected = set(options_of(module)) - set(NOT_PASSED.get(module, {}))
        if role == "client":
            # It names nobody.
            expected -= {"id", "fallback_id", "restart"}
    assert set(arguments) == expected
    for name, value in arguments.items():
        literal = LITERAL.get(module, {}).get(name)
        if literal is not None:
            assert value == literal
        elif name == "agent":
            assert variables_in(value) == {"host_agent"}
        else:
            words = ELSEWHERE.get(name, {name})
            if file == "tables.yml" and name == "planned":
                # What the tasks before have foretold, this one does not tell again.
                words = {*words, "resources", *({"leading"} if module == "decap_destinations" else ())}
            if module == "healthcheck":
                # Where probes leave, and from addresses that reals know.
                here = {"interface": {"probe_interface"}, **{each: {"probe_sources"} for each in PROBES_FROM}}
                words = here.get(name, words)
            wanted = {word if word == "host_compared" else f"{role}_{word}" for word in words}
            assert variables_in(value) == wanted, name


@pytest.mark.parametrize("role", ROLES)
def test_what_is_documented_of_a_role_has_a_default_and_is_used(role: str) -> None:
    documented_ = set(load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"])
    defaults = load(ROOT / "roles" / role / "defaults" / "main.yml")
    assert set(defaults) == documented_
    used = set()
    for path in [*(ROOT / "roles" / role / "tasks").glob("*.yml"), *(ROOT / "roles" / role / "vars").glob("*.yml")]:
        used.update(re.findall(rf"\b{role}_[a-z0-9_]+", path.read_text(encoding="utf-8")))
    # What preflight makes of it on the controller comes back as the features of balancer_told.
    assert documented_ - used == ({"balancer_extra_features"} if role == "balancer" else set())


TOLD = {"features": ["told"], "vips": ["told"], "gue_port": 4321, "attach": "told"}
KNOWN = {"sources": ["known"]}


def default_of(role: str, name: str, **variables: Any) -> Any:
    """What a variable of a role is where only these are set."""
    value = load(ROOT / "roles" / role / "defaults" / "main.yml")[f"{role}_{name}"]
    known = {f"{role}_told": TOLD, f"{role}_known": KNOWN, "omit": OMIT, **variables}
    return JINJA.from_string(value).render(known) if isinstance(value, str) else value


OTHER_DEFAULTS = {
    ("balancer", "vips", "min_active"): 1,
    ("balancer", "vips", "purge_flows"): True,
    ("balancer", "balancer", "features"): ["told"],
    ("balancer", "balancer", "root_array"): {},
    ("balancer", "balancer", "decap_sources"): ["known"],
    ("real", "decap", "attach"): "told",
    ("real", "decap", "sources"): ["known"],
    ("real", "decap", "vips"): ["told"],
    ("real", "decap", "gue_port"): 4321,
}
"""Defaults of roles that are not their module's: a fleet asks for more than one host does, and knows more."""

PASSED = sorted(
    {
        (role, module, name)
        for role, file, module, arguments in TASKS
        if role in ("balancer", "real") and module != "preflight"
        for name in arguments
        if name not in set(ELSEWHERE) - {"sizes"} and name != "state"
    }
)


@pytest.mark.parametrize(("role", "module", "name"), PASSED)
def test_a_roles_default_is_its_modules(role: str, module: str, name: str) -> None:
    # Module balancer takes what is not given from the last run, and these defaults in the first one.
    spec = {**options_of(module), **BALANCER} if module == "balancer" else options_of(module)
    expected = OTHER_DEFAULTS.get((role, module, name), spec[name].get("default"))
    assert default_of(role, name) == expected
    assert type(default_of(role, name)) is type(expected)


INTERNAL = {
    *(("balancer", name) for name in ("unready_reals", "unseen_reals", "after_vips")),
    ("real", "keep_vips"),
}
"""Variables that playbooks, or the role itself, set, not operators."""


@pytest.mark.parametrize(
    ("role", "name"),
    sorted({(role, name) for role, _module, name in PASSED} | {("balancer", "extra_features")} - INTERNAL),
)
def test_a_role_takes_what_the_operator_set(role: str, name: str) -> None:
    if (role, name) in INTERNAL:
        assert not variables_in(load(ROOT / "roles" / role / "defaults" / "main.yml")[f"{role}_{name}"])
        return
    own = role == "real" and name in ("interfaces", "how", "firewall", "mode", "vips", "sources", "attach")
    # The port by which Ansible reaches the host is the one that a VIP may cut off.
    variable = "ansible_port" if name == "ssh_port" else f"katran_real_{name}" if own else f"katran_{name}"
    assert default_of(role, name, **{variable: "mine"}) == "mine"
    # False, 0 and nothing are values too.
    for value in (False, 0, []):
        assert default_of(role, name, **{variable: value}) == value


def test_a_real_has_the_interfaces_of_its_own_or_else_the_hosts() -> None:
    assert default_of("real", "interfaces", katran_interfaces=["eth0"]) == ["eth0"]
    assert default_of("real", "interfaces", katran_interfaces=["eth0"], katran_real_interfaces=["eth1"]) == ["eth1"]


def test_servers_name_themselves_where_the_operator_says_which() -> None:
    assert default_of("real", "server_id_units") is None
    assert default_of("client", "server_id_units") == ["-.slice"]
    option = options_of("server_id_option")
    for role, names in (("real", ("fallback", "entries", "restart")), ("client", ("entries",))):
        assert default_of(role, "server_id_units", katran_server_id_units=["web.service"]) == ["web.service"]
        assert default_of(role, "server_id_units", katran_server_id_units=[]) == []
        for name in names:
            value = option["fallback_id" if name == "fallback" else name].get("default")
            assert default_of(role, f"server_id_{name}") == value
            assert default_of(role, f"server_id_{name}", **{f"katran_server_id_{name}": "mine"}) == "mine"


@pytest.mark.parametrize("name", ["mtu", "mss"])
def test_what_the_kernel_of_a_real_needs(name: str) -> None:
    assert default_of("real", name) == 0
    assert default_of("real", name, **{f"katran_real_{name}": 1500}) == 1500


def test_what_the_roles_tell_role_host() -> None:
    [task] = [task for task in load(ROOT / "roles/real/tasks/apply.yml") if "vars" in task]
    assert {name: variables_in(value) for name, value in task["vars"]["host_real"].items()} == {
        name: {"real_told" if name in ("tunnel", "probes_from") else f"real_{name}"}
        for name in options_of("host")["real"]["suboptions"]
    }
    assert variables_in(task["vars"]["host_mtu_check"]) == {"real_mtu_check"}
    assert default_of("real", "mtu_check", katran_mtu_check="off") == "off"
    assert default_of("real", "mtu_check") == default_of("host", "mtu_check") == "warn"
    [task] = [task for task in load(ROOT / "roles/balancer/tasks/prepare.yml") if "vars" in task]
    assert variables_in(task["vars"]["host_agent"]) == {"balancer_agent", "balancer_told"}
    assert variables_in(task["vars"]["host_sync"]) == {"balancer_agent", "balancer_sync", "balancer_told"}
    assert default_of("host", "packages", katran_host_packages=["mine"]) == ["mine"]
    assert default_of("host", "packages") == []


def test_a_review_plans_for_the_balancer_that_the_task_before_makes() -> None:
    planned = load(ROOT / "roles/balancer/vars/main.yml")["balancer_planned"]
    assert {name: variables_in(value) for name, value in planned.items()} == {
        name: {f"balancer_{name}"} for name in options_of("vips")["planned"]["suboptions"] if name != "applied"
    } | {"applied": {"balancer_attached"}}
    assert "'load the program' in balancer_attached.changes" in planned["applied"]


@pytest.mark.parametrize(("resource", "file"), [("vips", "run.yml"), ("", "tables.yml")])
def test_a_resource_that_no_variable_is_about_is_left_alone(resource: str, file: str) -> None:
    for task in load(ROOT / "roles/balancer/tasks" / file):
        name = next((word.removeprefix(PREFIX) for word in task if word.startswith(PREFIX)), "")
        if "config" in task.get(f"{PREFIX}{name}", {}):
            assert task["when"] == f"'{name}' in balancer_resources"
            assert task[f"{PREFIX}{name}"]["config"] == f"{{{{ balancer_resources.{name} }}}}"
            assert resource in ("", name)
