# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""katran doctor: examine this host, and say what is wrong, why, and what to do, each in a sentence."""

from __future__ import annotations

import argparse
import json
import sys
import typing as t
from collections.abc import Sequence

from .._engine.doctor.examiner import Probing
from .._engine.request import Request
from .._kernel.state_folder import instances, read_bpffs
from .._model.addresses import read_address
from .._model.doctor.finding import Finding, in_order
from .._model.errors import EngineError
from .._model.faults import counted, some
from .._model.options import is_instance
from .._model.which import read_which, unknown
from .._model.written import visible
from .command import Command
from .tables import RED, YELLOW, painted, table
from .values import whole

if t.TYPE_CHECKING:
    from .._engine.doctor.run import Examination

_LOCK_SECONDS = 10.0
_NOTHING = "there is nothing of katran.fleet on this host, neither balancer nor real"
_WORDS = {True: ("error", RED), False: ("warning", YELLOW)}


def run(options: argparse.Namespace) -> int:
    """Examine all instances, or one, and show what was found; the worst of their exit status."""
    if options.bundle:
        return _bundle(options)
    # Who asks for help need not wait until all that doctor needs is imported.
    from .._engine.doctor.run import NothingThereError, examine  # pylint: disable=import-outside-toplevel

    probing = _probing(options)
    found = []
    for name in _instances(options.instance):
        try:
            found.append(examine(Request(name, read_bpffs(name), _LOCK_SECONDS, True), probing, proves=options.compile))
        except NothingThereError:
            # Another program of ours alone is there, such as program healthcheck.
            if options.instance is not None:
                raise
    if not found:
        raise EngineError(_NOTHING)
    probed = any(each.seen.get("balancer", {}).get("probes", {}).get("results") for each in found)
    if isinstance(probing, Probing) and not probed:
        _require_there(probing, found)
    if options.json:
        sys.stdout.write(json.dumps([_data(each) for each in found], indent=2) + "\n")
    else:
        sys.stdout.write(_text(found))
    return max((each.status for each in found), key=(0, 2, 1).index)


def _require_there(probing: Probing, found: Sequence[Examination]) -> None:
    """EngineError where no balancer here has the VIP or the real that probe flows were asked for."""
    from .._engine.status import names_of  # pylint: disable=import-outside-toplevel  # only where it is told

    vips, reals = names_of(each.seen["instance"] for each in found if "balancer" in each.seen["roles"])
    if probing.vip and not any(map(read_which(probing.vip).means_vip, vips)):
        raise unknown(read_which(probing.vip), vips, ())
    if probing.real and probing.real not in reals:
        raise EngineError(f"no VIP of this host has real {probing.real}; there are {some(reals) or 'none'}")


def _bundle(options: argparse.Namespace) -> int:
    """Write what a bug report needs to a file."""
    from .._engine.doctor.bundle import write_bundle  # pylint: disable=import-outside-toplevel

    if options.instance is not None:
        _instances(options.instance)
    size = write_bundle(options.bundle, options.instance, mask=options.mask, probes=not options.no_probes)
    hint = "addresses are masked" if options.mask else "addresses are in it, --mask hides them"
    sys.stdout.write(f"{options.bundle}: {size} bytes; secrets are left out, {hint}\n")
    return 0


def _instances(name: str | None) -> list[str]:
    if name is not None and not is_instance(name):
        raise EngineError(f"{visible(name)} is not the name of an instance")
    there = instances()
    if name is not None and name not in there:
        raise EngineError(f"there is no instance {name} on this host")
    if not there:
        raise EngineError(_NOTHING)
    return there if name is None else [name]


def _probing(options: argparse.Namespace) -> bool | Probing:
    """Which probe flows are asked for. EngineError where the VIP or real is no such name."""
    if options.no_probes:
        return False
    if options.vip:
        # Whether it is a name at all; whether something is called so, _require_there tells.
        read_which(options.vip)
    address = read_address(options.real) if options.real else None
    if options.real and address is None:
        raise EngineError(f"{visible(options.real)} is not the address of a real")
    return Probing(options.vip, address.text if address else "", options.probes)


def _data(found: Examination) -> dict[str, t.Any]:
    return {
        "instance": found.seen["instance"],
        "status": found.status,
        "findings": [finding._asdict() for finding in found.findings],
        "seen": found.seen,
    }


def _text(found: list[Examination]) -> str:
    findings = in_order(finding for each in found for finding in each.findings)
    lines = [_line(finding) for finding in findings]
    several = len(found) > 1
    for each in found:
        probes = each.seen.get("balancer", {}).get("probes", {})
        rows = [(row["vip"], row["real"], row["result"], row["detail"]) for row in probes.get("results", [])]
        title = f"instance {each.seen['instance']}: " if several else ""
        if rows:
            lines.append(table(("VIP", "REAL", "PROBE", "ANSWER"), rows))
        if probes.get("left"):
            left = counted(probes["left"], "pair")
            lines.append(f"{title}{left} of VIP and real left out (--probes, --vip and --real choose)\n")
    errors = sum(finding.error for finding in findings)
    told = f"{counted(errors, 'error')}, {counted(len(findings) - errors, 'warning')}"
    roles = sorted({role for each in found for role in each.seen["roles"]})
    return "".join(lines) + f"{' and '.join(roles)}: {told if findings else 'nothing is wrong'}\n"


def _line(finding: Finding) -> str:
    """A finding in one line: what, where, why, and what to do."""
    word, colour = _WORDS[finding.error]
    about = f" {finding.about}" if finding.about else ""
    return (
        f"{painted(word, colour)} {finding.name}{visible(about)}: {visible(finding.cause)}; {visible(finding.remedy)}\n"
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--instance", metavar="NAME", help="one instance of this host; all of them without it")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--vip", default="", metavar="VIP", help="probe flows to it alone: 198.51.100.1 or :443")
    parser.add_argument("--real", default="", metavar="ADDRESS", help="probe flows to this real alone")
    parser.add_argument(
        "--probes", type=whole(1, 65536), default=Probing.most, metavar="N", help=f"so many at most ({Probing.most})"
    )
    parser.add_argument(
        "--bundle", metavar="FILE", help="write all that a bug report needs to FILE (.tar.gz), without secrets"
    )
    parser.add_argument("--mask", action="store_true", help="in a bundle, hide addresses, MACs and names of hosts")
    parser.add_argument("--compile", action="store_true", help="compile, load and run the smallest program as well")
    parser.add_argument("--no-probes", action="store_true", help="send no packet: look at this host alone")


COMMAND = Command(
    "doctor",
    "What is wrong with this host, why, and what to do. Changes nothing.",
    _arguments,
    run,
    "Exit status: 0 nothing is wrong, 1 something was found, be it a warning, 2 something could not be examined.",
)
