# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One cause in place of its symptoms: what several hosts say of one fault becomes one finding. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..addresses import Address
from ..faults import counted
from ..vips import VipName
from ..written import visible
from .finding import Finding, in_order
from .fleet import Inventory, Report, fleet_findings

SYMPTOMS = {
    "service_refuses": ("refused", "failing"),
    "service_silent": ("silent", "failing"),
    "decap_missing": ("silent",),
    "real_unreachable": ("unreachable",),
    "mtu_real": (),
}
"""What a balancer finds of a real by probe flows, whatever the cause → the results of such flows, none: any."""

OF_A_REAL = (
    *("interface_down", "mtu_real", "rp_filter", "vip_not_on_lo", "vip_answers_arp", "decap_missing"),
    *("decap_instance", "decap_sources", "firewall_drops", "source_unreachable", "service_refuses", "service_silent"),
    *("real_address", "host_unreachable"),
)
"""Causes at a real that make a probe flow fail."""

_OF_SILENCE = frozenset(
    ("interface_down", "rp_filter", "firewall_drops", "source_unreachable", "real_address", "host_unreachable")
)
"""Those of them for which the real does not answer at its own address either, outside of the tunnel."""

_SHADOWED = {
    # Without a link the kernel takes routes and addresses of IPv6 away.
    "interface_down": ("source_unreachable", "mtu_real", "real_address"),
    "decap_missing": ("decap_sources",),
    "decap_instance": ("decap_sources",),
    "real_address": ("server_id_clash",),
}
"""Cause → what it brings about on the same host."""


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with the fleet, errors first.

    `explained`: symptoms that a finding explains. `vips`, `balancers`, `reals`: how many were looked at.
    """

    findings: tuple[Finding, ...]
    explained: tuple[Finding, ...] = ()
    vips: int = 0
    balancers: int = 0
    reals: int = 0

    @property
    def errors(self) -> list[Finding]:
        """Those that lose packets, or are about to."""
        return [finding for finding in self.findings if finding.error]

    @property
    def summary(self) -> str:
        """The whole in a sentence."""
        hosts = (
            f"{counted(self.vips, 'VIP')} over {counted(self.balancers, 'balancer')} and {counted(self.reals, 'real')}"
        )
        if not self.findings:
            return f"OK: {hosts}"
        errors = len(self.errors)
        return f"{counted(errors, 'error')} and {counted(len(self.findings) - errors, 'warning')} ({hosts})"

    @property
    def lines(self) -> list[str]:
        """For people, a finding a line and the summary below."""
        return [*map(_line, self.findings), self.summary]


def _line(finding: Finding) -> str:
    about = f" {finding.about}" if finding.about else ""
    said = f"{finding.host}: {finding.name}{about}: {finding.cause}; {finding.remedy}"
    return visible(said if finding.error else f"{said} (warning)")


@dataclass
class _Case:
    """All that is known while causes are looked for. `owners`: address → the real that has it, or is to have it."""

    reports: Sequence[Report]
    found: list[Finding]
    owners: Mapping[str, str]
    arrived: Mapping[str, int]
    explained: list[Finding] = field(default_factory=list)


def diagnose(inventory: Inventory, reports: Sequence[Report], arrived: Mapping[str, int] | None = None) -> Diagnosis:
    """The findings of all hosts and those between them, without what others of them explain.

    `arrived`: real → the packets that its decap took out of tunnels while balancers sent probe flows.
    """
    found = [finding._replace(host=report.host) for report in reports for finding in report.findings]
    found += fleet_findings(inventory, reports)
    case = _Case(reports, list(dict.fromkeys(found)), _owners(inventory, reports), arrived or {})
    for pass_over in (_shadowed, _symptoms, _rings, _kept_in):
        explained = set(pass_over(case))
        case.explained += [each for each in case.found if each in explained]
        case.found = [each for each in case.found if each not in explained]
    case.found = list(_merged(case))
    balancers = [report for report in reports if report.shared is not None]
    return Diagnosis(
        tuple(in_order(case.found)),
        tuple(case.explained),
        len({name for report in balancers for name in (report.shared or {})["vips"]}),
        len(balancers),
        sum(report.real is not None for report in reports),
    )


def _owners(inventory: Inventory, reports: Sequence[Report]) -> dict[str, str]:
    found = {
        address: report.host
        for report in reports
        for address in (report.real or {}).get("addresses", ())
        if not address.startswith(("127.", "fe80:")) and address != "::1"
    }
    return {**found, **{each: host for host, addresses in inventory.addresses.items() for each in addresses}}


def _shadowed(case: _Case) -> Iterator[Finding]:
    for cause in case.found:
        for each in case.found:
            same = each.host == cause.host and each.name in _SHADOWED.get(cause.name, ())
            if same and cause.error and not (cause.name == "decap_instance" and not cause.about):
                yield each


def _words(text: str) -> set[str]:
    return {word.strip(",;:()") for word in text.split()}


def _is_symptom(case: _Case, finding: Finding) -> bool:
    """Whether it is what a balancer says of a real, which may say more of itself."""
    return finding.name in SYMPTOMS and finding.about in case.owners and bool(_pairs(case, finding))


def _pairs(case: _Case, finding: Finding) -> list[tuple[str, str]]:
    """The (VIP, real) pairs of probe flows that a finding of a balancer is about."""
    report = next((each for each in case.reports if each.host == finding.host), None)
    probes = (report.seen.get("balancer") or {}).get("probes") or {} if report is not None else {}
    results = SYMPTOMS[finding.name]
    rows = [
        (row["vip"], row["real"])
        for row in probes.get("results", ())
        if row["real"] == finding.about and (not results or row["result"] in results)
    ]
    told = _words(finding.cause)
    return [row for row in rows if row[0] in told] or rows


def _symptoms(case: _Case) -> Iterator[Finding]:
    causes: dict[str, list[Finding]] = {}
    for each in case.found:
        if each.name in OF_A_REAL and each.error and not _is_symptom(case, each):
            causes.setdefault(each.host, []).append(each)
    for each in case.found:
        if not _is_symptom(case, each):
            continue
        pairs = _pairs(case, each)
        owners = [(vip, case.owners.get(real, "")) for vip, real in pairs]
        if pairs and all(any(_covers(cause, each, vip) for cause in causes.get(owner, ())) for vip, owner in owners):
            yield each


def _covers(cause: Finding, symptom: Finding, vip: str) -> bool:
    """Whether a cause at a real makes probe flows to a VIP fail like this: what is about another VIP does not."""
    if symptom.name == "real_unreachable" and cause.name not in _OF_SILENCE:
        return False
    name = VipName.read(vip)
    text = getattr(name.host, "text", "") if name is not None else ""
    if cause.name == "source_unreachable":
        return (":" in text) == (cause.about == "IPv6")
    if cause.name == "real_address":
        return (":" in text) <= (":" in cause.about)
    if cause.about.startswith("*:"):
        return name is not None and cause.about == f"*:{name.port}/{name.protocol}"
    about = _words(cause.about)
    named = {each for each in about if isinstance(getattr(VipName.read(each), "host", None), Address)}
    # Of a list that is cut short, it may be any.
    return not named or "more" in about or not named.isdisjoint((vip, text))


def _ill(case: _Case) -> set[str]:
    """Reals with a cause of their own, or of which a balancer tells a symptom."""
    own = {each.host for each in case.found if each.name in OF_A_REAL and each.error}
    return own | {case.owners[each.about] for each in case.found if _is_symptom(case, each)}


def _rings(case: _Case) -> Iterator[Finding]:
    """Rings that differ for what a cause at a real, or a drain by hand that is told, has done."""
    ill = _ill(case)
    balancers = {report.host for report in case.reports if report.shared is not None}
    blind = {each.host for each in case.found if each.name == "source_unreachable" and each.host in balancers}
    for each in case.found:
        if each.name != "rings_differ":
            continue
        if not each.error and (each.host in blind or not blind.isdisjoint(_words(each.cause))):
            yield each
            continue
        told = _words(each.cause)
        by_hand = any(other.name == "drained_by_hand" and other.about in told for other in case.found if other.about)
        at_real = not each.error and any(case.owners.get(word, "") in ill for word in told if word in case.owners)
        if (by_hand and "by hand" in each.cause) or at_real:
            yield each


def _kept_in(case: _Case) -> Iterator[Finding]:
    """VIPs whose floor keeps in reals that fail, where it is told of each why it fails."""
    ill = _ill(case)
    for each in case.found:
        if each.name == "health_and_overlay":
            owners = {case.owners[word] for word in _words(each.cause) if word in case.owners}
            if owners and owners <= ill:
                yield each


def _merged(case: _Case) -> Iterator[Finding]:
    """Symptoms without a cause: each once for all balancers, with what the real counted."""
    said: dict[tuple[str, str], list[Finding]] = {}
    for each in case.found:
        if _is_symptom(case, each) or each.name == "health_and_overlay":
            said.setdefault((each.name, each.about), []).append(each)
        else:
            yield each
    for several in said.values():
        first = several[0]
        more = list(dict.fromkeys(each.host for each in several if each.host != first.host))
        others = f" ({', '.join(more)} too)" if more else ""
        words = _arrival(case, first, case.owners.get(first.about, ""), {each.host for each in several})
        yield first._replace(cause=f"{first.cause}{others}{words}")


def _arrival(case: _Case, finding: Finding, owner: str, hosts: set[str]) -> str:
    """What the real counted meanwhile. `hosts`: the balancers that get no answer of it; it tells nobody's apart."""
    if owner not in case.arrived or finding.name not in ("service_silent", "real_unreachable"):
        return ""
    if case.arrived[owner]:
        others = any(report.shared is not None and report.host not in hosts for report in case.reports)
        whose = ", of other balancers or of this one" if others else ""
        return f"; at {owner}, {case.arrived[owner]} packets came out of tunnels meanwhile{whose}"
    return f"; at {owner}, nothing came out of a tunnel: what is sent is lost on the way there"
