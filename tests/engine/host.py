# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the engine do to the balancer in their sandbox: apply, look, and spoil."""

from __future__ import annotations

import gc
import hashlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common import warnings
from ansible.module_utils.testing import patch_module_args

from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request, Result
from ansible_collections.katran.fleet.plugins.module_utils._engine.resource import apply_resource
from ansible_collections.katran.fleet.plugins.module_utils._kernel.maps import KernelMaps
from ansible_collections.katran.fleet.plugins.module_utils._kernel.state_files import STATE_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._model import map_specs
from ansible_collections.katran.fleet.plugins.module_utils._model.entries import Asked
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import ARRAY, HASH, LPM_TRIE
from ansible_collections.katran.fleet.tests.engine.sandbox import BPFFS

Entry = dict[str, Any]

SIZES = {
    "vips": 16,
    "cidr_vips": 4,
    "reals": 64,
    "ring": 1009,
    "flows": 2000,
    "global_flows": 1000,
    "server_ids": 3000,
    "source_routes": 200,
    "source_filters": 50,
}
FEATURES = ["cidr_vips", "inline_decap", "local_delivery", "source_filter", "source_routing", "udp_flow_migration"]
MAPS = f"{BPFFS}/katran/default/maps"
STATE = Path(STATE_ROOT, "default", "state.json")
RUNNER = str(Path(__file__).with_name("run_module.py"))
RESOURCES = ("vips", "reals", "source_routes", "server_ids", "decap_destinations")


def vip(address: str, *reals: Entry, port: int = 80, **options: Any) -> Entry:
    return {"address": address, "port": port, "protocol": "tcp", "reals": list(reals), **options}


def real(address: str, weight: int = 1, **options: Any) -> Entry:
    return {"address": address, "weight": weight, **options}


def world() -> dict[str, list[Entry]]:
    """A configuration that puts something into every map."""
    return {
        "vips": [
            vip("198.51.100.1", real("10.0.0.1"), real("10.0.0.2", 2), deny=["203.0.113.0/24", "198.18.7.1/32"]),
            vip("2001:db8::1", real("fc00::1"), real("fc00::2", 3), flags=["no_lru"], deny=["2001:db8:bad::/48"]),
            vip(
                "198.51.100.2",
                real("10.0.0.1"),
                real("10.0.0.3", state="down"),
                real("10.0.0.4", local=True),
                protocol="udp",
                flags=["udp_flow_migration"],
            ),
            vip("203.0.113.0/24", real("10.0.0.5"), port=0, flags=["hash_dst_port_only"], allow=["10.0.0.0/8"]),
            vip(
                "2001:db8:1::/48", real("fc00::1"), protocol="udp", flags=["udp_flow_migration"], down_reals=["fc00::9"]
            ),
        ],
        "reals": [{"address": "10.0.0.5", "state": "active"}],
        "source_routes": [
            {"prefix": "192.0.2.0/24", "real": "10.0.0.6"},
            {"prefix": "2001:db8:9::/48", "real": "fc00::1"},
        ],
        "server_ids": [{"id": 7, "real": "10.0.0.1"}, {"id": 2999, "real": "10.0.0.7"}],
        "decap_destinations": [{"address": "198.51.100.9", "egress": True}, {"address": "fc00::99", "egress": True}],
    }


def apply(
    resource: str, config: Sequence[Entry] | None, state: str = "overridden", check: bool = False, timeout: float = 10
) -> Result:
    """One run of a resource's module, in this process."""
    return apply_resource(resource, Request("default", BPFFS, timeout, check), Asked(config, state, allow_empty=True))


def apply_all(configurations: Mapping[str, Sequence[Entry]]) -> list[Result]:
    """Every resource; a real that one lets go of may go with a later one's run, hence twice."""
    for resource in RESOURCES:
        apply(resource, configurations.get(resource, []))
    return [apply(resource, configurations.get(resource, [])) for resource in RESOURCES]


def snapshot() -> dict[str, Any]:
    """Everything that is configuration in the maps, rings as digests."""
    program_writes = {"clock_tick"}
    found: dict[str, Any] = {}
    with KernelMaps(MAPS) as maps:
        for spec in map_specs.MAPS:
            name = spec.name
            if name in maps.names() - program_writes and spec.type in (ARRAY, HASH, LPM_TRIE) and name != "ch_rings":
                found[name] = maps.entries(name)
        for number in range(SIZES["vips"]):
            found[f"ring {number}"] = hashlib.sha256(maps.ring(number)).hexdigest()
        found["vip_to_down_reals_map"] = maps.down_sets()
    return found


def pins() -> list[str]:
    """Every pin and folder of ours in the bpffs; some kernels put two files of their own there."""
    found = (os.path.join(folder, name) for folder, dirs, files in os.walk(BPFFS) for name in (*dirs, *files))
    return sorted(path for path in found if not path.endswith(".debug"))


def state_files() -> list[str]:
    """Files of the instance, without its history."""
    return sorted(path.name for path in STATE.parent.iterdir() if path.is_file()) if STATE.parent.exists() else []


@dataclass(frozen=True)
class Outcome:
    """What a module said. `failed` and `msg` as Ansible shows them."""

    status: int
    result: dict[str, Any]
    errors: str

    @property
    def msg(self) -> str:
        """The one sentence of a module that failed."""
        assert self.status == 1, self
        assert self.result["failed"] is True
        assert "exception" not in self.result, self.result["exception"]
        assert "Traceback" not in self.errors, self.errors
        message = self.result["msg"]
        assert isinstance(message, str)
        assert "\n" not in message
        return message

    def __getitem__(self, name: str) -> Any:
        assert self.status == 0, (self.result, self.errors)
        return self.result[name]


def module(
    name: str, arguments: Mapping[str, Any], *, check: bool = False, diff: bool = False, prefix: Sequence[str] = ()
) -> Outcome:
    """Run a module in a process of its own; `prefix`: a command that starts it, such as strace."""
    arguments = {"_ansible_check_mode": check, "_ansible_diff": diff, **arguments}
    # The venv's own interpreter: it has Ansible, and sees the system's bcc.
    done = subprocess.run(
        [*prefix, sys.executable, RUNNER, name],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == 1, (done.stdout, done.stderr)
    return Outcome(done.returncode, json.loads(lines[0]), done.stderr)


def module_here(name: str, arguments: Mapping[str, Any], *, check: bool = False, diff: bool = False) -> Outcome:
    """Run a module in this process: that takes half a second less, where nobody looks at the process itself."""
    output = io.StringIO()
    main = importlib.import_module(f"ansible_collections.katran.fleet.plugins.modules.{name}").main
    # Of a module that ran here before.
    warnings._global_warnings.clear()
    warnings._global_deprecations.clear()
    given = {"_ansible_check_mode": check, "_ansible_diff": diff, **arguments}
    with patch_module_args(given), redirect_stdout(output), pytest.raises(SystemExit) as ended:
        main()
    # A module that ends leaves it off.
    gc.enable()
    (line,) = (line for line in output.getvalue().splitlines() if line.startswith("{"))
    return Outcome(int(ended.value.code or 0), json.loads(line), "")


def bpftool(*words: str) -> str:
    """Run bpftool."""
    return subprocess.run(["bpftool", *words], check=True, capture_output=True, text=True).stdout


def hexadecimal(data: bytes) -> list[str]:
    return ["hex", *(f"{byte:02x}" for byte in data)]


def put(name: str, key: bytes, value: bytes) -> None:
    """Write a map's entry behind the engine's back."""
    bpftool("map", "update", "pinned", f"{MAPS}/{name}", "key", *hexadecimal(key), "value", *hexadecimal(value))


def drop(name: str, key: bytes) -> None:
    """Remove a map's entry behind the engine's back."""
    bpftool("map", "delete", "pinned", f"{MAPS}/{name}", "key", *hexadecimal(key))


WRITES = re.compile(r"bpf\(BPF_MAP_(UPDATE_ELEM|UPDATE_BATCH|DELETE_ELEM|DELETE_BATCH)\b")


def count_writes(trace: Path) -> int:
    """Map writes that strace saw."""
    return len(WRITES.findall(trace.read_text(encoding="utf-8")))


def count_calls(trace: Path) -> int:
    """All bpf(2) calls that strace saw."""
    return len(re.findall(r"\bbpf\(", trace.read_text(encoding="utf-8")))
