# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring every balancer and real of this host back at boot, from state.json and the kept bytecode.

Runs on the host without Ansible and without a compiler, before the routing daemon announces the host. It goes the way
that the modules go: maps and program, then the resources, then the attachment, so that no packet meets an empty one.
"""

from __future__ import annotations

import argparse
import os
import sys
import typing as t
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from .._kernel.lock import locked
from .._kernel.private import require_folder
from .._kernel.state_files import StateFile
from .._kernel.state_folder import STATE_ROOT, instances, read_bpffs
from .._model.entries import Asked
from .._model.errors import FleetError, PartialError, StateError
from .._model.tables import BALANCER_TABLES
from .._model.wanted import kept_wanted
from .._program.requirements import require_bpffs, require_capabilities
from .balancer import Balancer
from .decap import Real
from .healthcheck import restore_healthcheck
from .host import restore_host
from .request import Request, Result
from .resource import apply_locked
from .run import run_locked
from .server_id_option import restore_server_ids
from .xdp_root import restore_root

LOCK_SECONDS = 60.0


def restore_balancer(file: StateFile) -> list[str]:
    """Bring one balancer to what state.json says; returns one line for each thing done."""
    with locked(file.instance, True, LOCK_SECONDS):
        state = file.read()
        if not state.program.tag:
            if state.recovered:
                raise StateError(f"{file.path} was lost and does not say which program is to run: run a deploy")
            return []
        if not state.settings:
            raise StateError(f"{file.path} is damaged (settings: is empty, but a program is on record): run a deploy")
        require_capabilities()
        require_bpffs(file.bpffs)
        wanted = replace(kept_wanted(state), boot=True)
        balancer = Balancer(file.instance, file.bpffs, file)
        request = Request(file.instance, file.bpffs, LOCK_SECONDS, check=False, kept=True)
        done = [
            run_locked(balancer.ensuring(replace(wanted, attach_later=True)), False),
            apply_locked("vips", request, Asked(file.read().vips, "overridden", allow_empty=True)),
        ]
        tables = [name for name, table in BALANCER_TABLES.items() if file.read_file(table.file) is not None]
        done += [apply_locked(name, request, Asked(None)) for name in tables]
        done.append(run_locked(balancer.ensuring(wanted), False))
        warnings = dict.fromkeys(f"warning: {warning}" for each in done for warning in each.warnings)
        changes = [*(line for each in done for line in each.changes), *warnings]
        return Result(changes, missing=done[-1].missing).lines()


def restore_shared(file: StateFile) -> list[str]:
    """Bring program root back, before what belongs in its slots."""
    return restore_root(file, LOCK_SECONDS)


def restore_checker(file: StateFile) -> list[str]:
    """Bring the health-check program back, or let it follow addresses and the gateway's MAC."""
    return restore_healthcheck(file, LOCK_SECONDS)


def restore_real(file: StateFile) -> list[str]:
    """Bring decap and the loopback addresses of a real back."""
    real = Real(file.instance, file.bpffs, file)
    if file.read_file(real.home.record_file) is None:
        return []
    return real.ensure(None, False, LOCK_SECONDS).lines()


def restore_option(file: StateFile) -> list[str]:
    """Bring the program back by which servers name themselves and clients echo that."""
    return restore_server_ids(file, LOCK_SECONDS)


def refresh_gateway(file: StateFile) -> list[str]:
    """Follow the gateway's MAC where gateway_mac is auto; returns one line if it changed."""
    return Balancer(file.instance, file.bpffs, file).follow_gateway(False, LOCK_SECONDS).changes


def main(arguments: Sequence[str] | None = None) -> int:
    """The command katran-restore; exit status 1 if anything could not be brought back."""
    parser = argparse.ArgumentParser(prog="katran-restore", description=__doc__)
    parser.add_argument("--refresh", action="store_true", help="only follow the gateway's MAC")
    options = parser.parse_args(arguments)
    try:
        names = instances()
    except StateError as error:
        sys.stderr.write(f"katran-restore: {error}\n")
        return 1
    failed = False
    if not options.refresh:
        # First what the kernel's settings are: packets of reals come through them.
        failed = not _told("host", restore_host)
    work: dict[str, t.Callable[[StateFile], list[str]]]
    work = {
        "root.json": restore_shared,
        "state.json": restore_balancer,
        "decap.json": restore_real,
        "healthcheck.json": restore_checker,
        "server_id_option.json": restore_option,
    }
    if options.refresh:
        work = {"state.json": refresh_gateway, "healthcheck.json": restore_checker}
    # Step by step over all instances: one's balancer may have its place in another's root.
    for file, step in work.items():
        for instance in names:
            # One that fails is no reason not to bring the others back.
            failed |= not _told(instance, partial(_of_instance, step, instance, file))
    return 1 if failed else 0


def _of_instance(step: t.Callable[[StateFile], list[str]], instance: str, first: str) -> list[str]:
    require_folder(os.path.join(STATE_ROOT, instance), closed=True)
    return step(StateFile(instance, read_bpffs(instance, first)))


def _told(subject: str, step: t.Callable[[], list[str]]) -> bool:
    """Take one step and say what it did, or why it could not: then False."""
    lines: list[str] = []
    try:
        lines = step()
        return True
    except PartialError as error:
        lines = error.done
        sys.stderr.write(f"katran-restore: {subject}: {error}\n")
        return False
    except (FleetError, OSError) as error:
        sys.stderr.write(f"katran-restore: {subject}: {error}\n")
        return False
    # pylint: disable-next=broad-exception-caught
    except Exception as error:  # noqa: BLE001  # what nobody thought of is no reason to leave the rest of the host down
        sys.stderr.write(f"katran-restore: {subject}: unexpected {type(error).__name__}: {error}\n")
        return False
    finally:
        for line in lines:
            sys.stdout.write(f"katran-restore: {subject}: {line}\n")
