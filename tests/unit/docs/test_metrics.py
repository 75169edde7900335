# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/monitoring/metrics.md has every metric, docs/counters.md every counter, and none that there is not."""

from __future__ import annotations

import re
import time
from pathlib import Path

from ansible_collections.katran.fleet.plugins.module_utils._agent import sync_process
from ansible_collections.katran.fleet.plugins.module_utils._agent.families import Of, families
from ansible_collections.katran.fleet.plugins.module_utils._agent.sync import Sync
from ansible_collections.katran.fleet.plugins.module_utils._agent.view import InstanceView, View
from ansible_collections.katran.fleet.plugins.module_utils._engine.counters import Counted
from ansible_collections.katran.fleet.plugins.module_utils._engine.rates import TOTALS
from ansible_collections.katran.fleet.plugins.module_utils._engine.request import Request
from ansible_collections.katran.fleet.plugins.module_utils._model import layout
from ansible_collections.katran.fleet.plugins.module_utils._model.counters import DENIED, GLOBAL_COUNTERS
from ansible_collections.katran.fleet.plugins.module_utils._model.map_specs import DECAP_COUNTERS, HEALTHCHECK_COUNTERS
from ansible_collections.katran.fleet.plugins.module_utils._model.server_id_record import COUNTED
from ansible_collections.katran.fleet.plugins.module_utils._model.sync_settings import SyncSettings

ROOT = Path(__file__).resolve().parents[3]
METRICS, COUNTERS = ROOT / "docs/monitoring/metrics.md", ROOT / "docs/counters.md"
REQUEST = Request("default", "/nowhere", 1, False)
SETTINGS = SyncSettings("192.0.2.1", 9464, ("192.0.2.2",), bytes(range(32)))


def named(page: Path) -> dict[str, list[str]]:
    """Heading → what stands in backquotes in the first column of its tables, without labels."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith(("## ", "### ")):
            heading = line.lstrip("# ")
        elif line.startswith("| `"):
            names = re.findall(r"`([a-z_A-Z0-9*]+)(?:\{[^`]*)?`", line.split(" | ")[0])
            found.setdefault(heading, []).extend(names)
    return found


def sync_names() -> set[str]:
    """What balancers that tell each other of flows export: names that are always there, and those of events."""
    loop = sync_process.Loop(SETTINGS, REQUEST, lambda _datagram, _peer: None, time.monotonic)
    names = set(loop.report()["stats"]) | set(Sync("default", "/nowhere", SETTINGS, print).stats())
    source = Path(sync_process.__file__).read_text(encoding="utf-8")
    names |= {f"{name}_total" for name in re.findall(r'self\.counts\["(\w+)"\]', source)}
    return {f"katran_sync_{name}" for name in names} | {
        f"katran_sync_{kind}_CAUSE_total" for kind in ("refused", "not_held")
    }


def exported() -> set[str]:
    """Every name that the agent exports, and katran-pull."""
    each = Of(InstanceView("default"), Counted(named={"frames_seen": 1}), {})
    found = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families(View(0.0, "1"), [each], each_real=True)
    }
    pull = (ROOT / "roles/pull/files/katran-pull").read_text(encoding="utf-8")
    return found | sync_names() | set(re.findall(r'(?:"|TYPE )(katran_pull_\w+)[" ]', pull))


def test_every_metric_has_its_row() -> None:
    told = named(METRICS)
    used = told.pop("Where each is used")
    rows = [name for names in told.values() for name in names if name != "up"]
    assert sorted(rows) == sorted(set(rows))
    assert set(rows) == exported()
    assert set(used) <= {*rows, "up"}


def test_every_counter_has_its_row() -> None:
    told = named(COUNTERS)
    assert told["Of the whole balancer"] == [*(name for pair in GLOBAL_COUNTERS for name in pair if name), DENIED]
    assert set(told["QUIC"]) == set(layout.QUIC_COUNTERS)
    assert set(told["TCP, with feature `tcp_server_id`"]) == set(layout.TPR_COUNTERS)
    assert set(told["UDP, with flag `udp_stable_routing`"]) == set(layout.STABLE_RT_COUNTERS)
    assert told["On a real"] == ["v4", "v6", "total", "tpr_total", "tpr_misrouted", *COUNTED]
    assert set(told["On a real"]) == {*DECAP_COUNTERS, *COUNTED}
    assert told["Health checks of a balancer"] == list(HEALTHCHECK_COUNTERS)


def test_top_s_rates_have_their_counters() -> None:
    rows = re.search(r"## katran top\n(.*?)\n\n[^|]", COUNTERS.read_text(encoding="utf-8"), re.DOTALL)
    assert rows
    found = dict(re.findall(r"^\| `(\w+)` \| `(\w+)`", rows[1], re.MULTILINE))
    assert found == {word: name for name, word in TOTALS.items()}


def test_the_readers_of_metrics_find_no_other_page_needed() -> None:
    """What rules.yml is about is told where metrics are."""
    rules = (ROOT / "docs/monitoring/rules.yml").read_text(encoding="utf-8")
    told = {name for names in named(METRICS).values() for name in names}
    assert set(re.findall(r"\bkatran_\w+", " ".join(re.findall(r"expr: (.*)", rules)))) <= told
