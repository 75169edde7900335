# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module drift_info: the reviews of all modules that a deploy runs on this host, in one process."""

from __future__ import annotations

import gc
import time
import typing as t
from collections.abc import Callable, Mapping
from functools import partial

from .._engine.bgp import ensure_bgp
from .._engine.drain import read_drain
from .._engine.drift import Times, compared, route_findings
from .._engine.host import HostRequest, ensure_host, read_record
from .._kernel.lock import leave_nothing
from .._kernel.state_folder import StateFolder
from .._model.announcement import drain_effect
from .._model.bgp_settings import BGP
from .._model.decap_record import DecapRecord
from .._model.decap_settings import parse_real
from .._model.drift_finding import CHANGED, UNKNOWN, Finding, findings_of, settings_ahead
from .._model.errors import ConfigError, FleetError, refusal
from .._model.host_plan import HOST
from .._model.options import COMMON, Spec, parse_instance
from .._model.server_id_record import ServerIdRecord
from .._model.server_id_settings import parse_server_id
from .agent import run_agent
from .balancer import run_balancer
from .bgp import _request
from .borrowed import Borrowed, borrowed, validated
from .decap import run_decap
from .healthcheck import run_healthcheck
from .host import wanted_of
from .module import Strict, _use_system_python
from .request import request_of
from .resource import run_resource
from .server_id_option import run_server_id_option
from .vips import run_vips

MODULES: Mapping[str, Callable[[], None]] = {
    "balancer": run_balancer,
    "vips": run_vips,
    "source_routes": partial(run_resource, "source_routes"),
    "server_ids": partial(run_resource, "server_ids"),
    "decap_destinations": partial(run_resource, "decap_destinations"),
    "healthcheck": run_healthcheck,
    "agent": run_agent,
    "decap": run_decap,
    "server_id_option": run_server_id_option,
}
"""What is reviewed by the whole work of a module."""

_RECORDS: Mapping[str, tuple[t.Any, Callable[[Mapping[str, t.Any]], t.Any], tuple[str, ...]]] = {
    "decap": (DecapRecord, parse_real, ("vips", "sources", "gue_port", "server_id", "how")),
    "server_id_option": (ServerIdRecord, parse_server_id, ("server_id", "fallback_id", "entries")),
}
"""Programs whose runs tell what was there instead of what was asked: their record, and the settings to compare."""

_FOREIGN = " that is not ours "
"""What a run says of somebody else's program in our place, which it does not touch."""

_OF_KERNEL = ("net/", "MTU ", "MSS ")
"""How sentences about what a real needs of its kernel begin, of which the last run's settings are on record."""

SPEC: Spec = {**COMMON, "preflight": {"type": "dict"}, "applied": {"type": "list", "elements": "dict"}}


def run_drift_info() -> None:
    """The whole of module drift_info."""
    # Options of other modules are among its own, secrets too: none is logged.
    module = Strict(SPEC, no_log=True)
    _use_system_python()
    gc.disable()
    leave_nothing()
    try:
        parse_instance(module.params["instance"], module.params["bpffs"])
        if module.params["applied"] is None:
            raise ConfigError("applied: is missing; the action plugin of this module makes it of preflight")
    except ConfigError as error:
        module.fail_json(msg=str(error), invocation={})
    began = time.monotonic()
    found = Drift(module.params).found()
    module.exit_json(changed=False, seconds=round(time.monotonic() - began, 3), invocation={}, **found)


class Drift:
    """What one host has that it would not have after a deploy."""

    def __init__(self, params: Mapping[str, t.Any]) -> None:
        self.params = params
        self.request = request_of(params, True)
        self.times = Times(self.request.instance, self.request.bpffs)
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.timings: dict[str, float] = {}

    def found(self) -> dict[str, t.Any]:
        """Findings, notes, and what this host is compared by."""
        areas = [task["module"] for task in self.params["applied"]]
        for task in self.params["applied"]:
            self._timed(task["module"], partial(self._review, task["module"], task["options"]))
        told: dict[str, t.Any] = {}
        if "agent" in areas:
            self._timed("routes", lambda: self.findings.extend(route_findings(self.request.instance)))
        if "balancer" in areas:
            self._timed("compared", lambda: told.update(compared(self.request)))
            self._drained()
        return {
            "findings": [{**each._asdict(), "since": each.since._asdict()} for each in dict.fromkeys(self.findings)],
            "notes": list(dict.fromkeys(self.notes)),
            "compared": told,
            "timings": self.timings,
        }

    def _drained(self) -> None:
        """A person's word on the balancer itself is no drift, as one on a real is none."""
        drain = read_drain(StateFolder(self.request.instance, self.request.bpffs))
        if drain is not None:
            what = drain_effect(drain.withdraw)
            since = f" since {drain.since}" if drain.since else ""
            self.notes.append(
                f"balancer {self.request.instance} is drained by {drain.by}{since}: {what} (katran undrain ends it)"
            )

    def _timed(self, name: str, work: Callable[[], None]) -> None:
        """Do one part. What keeps it from being done is a finding too: the rest is compared all the same."""
        began = time.monotonic()
        try:
            work()
        except FleetError as error:
            self.findings.append(Finding(name, CHANGED if _FOREIGN in str(error) else UNKNOWN, str(error)))
        except OSError as error:
            reason = refusal(error)
            self.findings.append(Finding(name, UNKNOWN, reason))
        self.timings[name] = round(self.timings.get(name, 0.0) + time.monotonic() - began, 3)

    def _review(self, name: str, options: Mapping[str, t.Any]) -> None:
        if name == "host":
            self._host(options)
        elif name == "bgp":
            self._bgp(options)
        elif name in MODULES:
            with borrowed(options) as module:
                MODULES[name]()
            self._note(module, name)
        else:
            raise ConfigError(f"applied: {name} is no module that drift knows")

    def _note(self, module: Borrowed, name: str) -> None:
        result = module.result
        same = None
        if name in _RECORDS:
            same = self._recorded(name, module.params)
        elif name != "agent" and "drift" not in result:
            same = _same(result)
        if same is False and name not in _RECORDS:
            # A plan's steps say what is done about it, and not which setting is another.
            self.findings += settings_ahead(name, result["before"], result["after"], self.times.since(name, ""))
        self._add(name, result.get("changes", ()), result.get("drift"), same)
        self.notes += result.get("warnings", ())

    def _add(self, area: str, changes: t.Sequence[str], drift: t.Collection[str] | None, same: bool | None) -> None:
        self.findings += findings_of(area, changes, drift, same, partial(self.times.since, area))

    def _recorded(self, name: str, params: Mapping[str, t.Any]) -> bool | None:
        """Whether the last run of a program was asked for the same; None where there was none."""
        kind, parse, fields = _RECORDS[name]
        known = StateFolder(self.request.instance, self.request.bpffs).read_record(kind, name).settings
        asked = parse(params)
        if known is None:
            return None
        return all(_plain(getattr(known, field)) == _plain(getattr(asked, field)) for field in fields)

    def _host(self, options: Mapping[str, t.Any]) -> None:
        params = validated(options, HOST)
        wanted = wanted_of(params)
        outcome = ensure_host(HostRequest(wanted, tuple(params["packages"]), None, True))
        kernel = [line for line in outcome.changes if line.startswith(_OF_KERNEL)]
        self._add("host", kernel, None, None if wanted.real is None else read_record().real == wanted.real)
        self._add("host", [line for line in outcome.changes if line not in kernel], None, None)
        self.notes += outcome.warnings

    def _bgp(self, options: Mapping[str, t.Any]) -> None:
        request, warnings = _request(validated(options, BGP), True)
        outcome = ensure_bgp(request)
        self._add("bgp", outcome.changes, None, None)
        self.notes += warnings


def _same(result: Mapping[str, t.Any]) -> bool | None:
    """Whether the settings that are asked for are those of the last run; None where there was none."""
    before, after = result.get("before"), result.get("after")
    if "before" not in result:
        return None
    return before == after


def _plain(value: t.Any) -> t.Any:
    return sorted(value) if isinstance(value, (list, tuple)) else value
