# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every host of the fleet has: packages, the library, units, and what a real needs of the kernel.

Read all of it, plan, and in a run do what differs. At boot katran-restore does so with the settings of the last run.
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from py_compile import PycInvalidationMode

from .._kernel.durable import write_durably
from .._kernel.lock import LOCK_ROOT, locked
from .._kernel.loopback import loopback_addresses
from .._kernel.nft import has_nft, read_mss, set_mss
from .._kernel.parameters import read_mtu, read_sysctl, write_mtu, write_sysctl
from .._kernel.private import close_folder, make_private, open_folders, read_private, require_folder
from .._kernel.state_folder import STATE_ROOT
from .._kernel.tree import (
    make_link,
    read_command,
    read_digests,
    read_link,
    remove_files,
    remove_folders,
    remove_tree,
    write_file,
)
from .._kernel.units import change_unit, link_unit, read_units, reload_units, unlink_unit
from .._model import host_command
from .._model.errors import HostError, PartialError, StateError
from .._model.host_plan import (
    LIBRARY,
    RETIRED,
    UNITS_FOLDER,
    HostPlan,
    HostSnapshot,
    HostWanted,
    Step,
    is_parameter,
    plan_absence,
    plan_host,
    units_of,
)
from .._model.host_record import HostRecord
from .._model.options import is_instance

SYSTEM_PYTHON = "/usr/bin/python3"
RECORD = os.path.join(STATE_ROOT, "host.json")
LIBRARY_LOCK = os.path.join(LOCK_ROOT, "library.lock")
"""Held shared by whoever runs the library's engine, and alone by whoever writes it."""

METRICS_SOCKET = os.path.join(LOCK_ROOT, "metrics.sock")
"""The agent's; who kills it leaves it behind."""

LOCK_SECONDS = 60.0
_MODULES = {"bcc": "python3-bpfcc", "netaddr": "python3-netaddr", "pyroute2": "python3-pyroute2"}
"""What every host needs of Python → what Debian calls it."""

_OF_AGENT = {
    "h11": "python3-h11",
    "dns": "python3-dnspython",
    "prometheus_client": "python3-prometheus-client",
    "cryptography": "python3-cryptography",
}
_OF_SYNC = {"numpy": "python3-numpy"}
_HEADER = "/usr/include/linux/bpf.h"
_HEADERS = "linux-libc-dev"
_NFTABLES = "nftables"


@dataclass(frozen=True)
class HostRequest:
    """What module host is asked for. `packages` empty: the distribution's. `contents`: of the library's files."""

    wanted: HostWanted
    packages: tuple[str, ...] = ()
    contents: Mapping[str, str] | None = None
    check: bool = False
    absent: bool = False
    leaving: tuple[str, ...] = ()
    boot: bool = False
    """Do what can be done where an interface is missing."""


@dataclass
class HostOutcome:
    """What was, or in check mode would be, done. `needs`: what the caller has to bring before anything can be done."""

    changes: list[str]
    warnings: list[str]
    packages: list[str]
    files: list[str]
    missing: list[str] = field(default_factory=list)

    @property
    def needs(self) -> bool:
        """Whether nothing was done yet."""
        return bool(self.packages or self.files)


def ensure_host(request: HostRequest) -> HostOutcome:
    """Compare the host with what it is to be, and make it so; HostError where that cannot be."""
    with locked(".host", not request.check, LOCK_SECONDS):
        record = read_record()
        if request.boot:
            request = replace(request, wanted=HostWanted(real=record.real))
        there = read_host(request, record)
        if request.absent:
            plan = plan_absence(there, request.leaving)
        else:
            wanted = request.wanted
            if wanted.files is not None:
                wanted = replace(wanted, units=units_of(wanted.agent, there.units))
            plan = plan_host(wanted, there, request.boot)
        if plan.faults:
            raise HostError("; ".join(plan.faults))
        outcome = HostOutcome(plan.changes, plan.warnings, [], [], plan.missing)
        if plan.subjects("install"):
            outcome.packages = list(request.packages) or distribution_packages(request.wanted)
            at = next(index for index, step in enumerate(plan.steps) if step.verb == "install")
            lacking = plan.changes[at].partition(": ")[2]
            outcome.changes[at] = f"install {', '.join(outcome.packages)} ({lacking})"
        if request.check:
            return outcome
        contents = request.contents or {}
        outcome.files = [path for path in plan.subjects("write") if path not in contents]
        if not outcome.needs:
            _execute(plan, request, record, contents)
        return outcome


def read_host(request: HostRequest, record: HostRecord) -> HostSnapshot:
    """The host as it is, as far as it matters to what is wanted."""
    wanted = request.wanted
    real = record.real if request.absent else wanted.real
    names = [*units_of(wanted.agent, {}), *RETIRED]
    whole = wanted.files is not None or request.absent
    sysctls, interfaces = set(real.sysctls() if real else ()), set(real.interfaces if real else ())
    if request.absent:
        # Also of interfaces that a later run did not name any more.
        sysctls |= {name for name in record.before if is_parameter(name)}
        interfaces |= {name for name in record.before if not is_parameter(name)}
    return HostSnapshot(
        lacks=[] if request.absent or not whole else lacks(wanted),
        files=read_digests(LIBRARY) if whole else {},
        units=read_units(names) if whole else {},
        sysctls={name: read_sysctl(name) for name in sysctls},
        mtus={name: read_mtu(name) for name in interfaces},
        mss=read_mss() if real or (request.absent and has_nft()) else None,
        before=record.before,
        kept=record.real,
        open_folders=open_folders((STATE_ROOT, LOCK_ROOT)),
        command=read_command(host_command.PATH) if wanted.command or request.absent else None,
        pages={path: read_link(path) for path in host_command.LINKS} if wanted.command or request.absent else {},
        instances=_instances() if request.absent else (),
    )


def _instances() -> list[str]:
    """What keeps state on this host."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(name for name in os.listdir(STATE_ROOT) if is_instance(name))
    return []


def lacks(wanted: HostWanted) -> list[str]:
    """What the packages bring and this host has not."""
    found = [f"Python's {name}" for name in _missing_modules(modules_of(wanted))]
    if not os.path.exists(_HEADER):
        found.append("the kernel's headers for programs")
    if wanted.real is not None and wanted.real.mss and not has_nft():
        found.append("nftables")
    return found


def modules_of(wanted: HostWanted) -> dict[str, str]:
    """What a host needs of Python → what Debian calls it."""
    agent = _OF_AGENT | (_OF_SYNC if wanted.sync else {})
    return _MODULES | (agent if wanted.agent else {})


def _missing_modules(names: Iterable[str]) -> list[str]:
    """Those of these modules that the system's Python cannot import."""
    names = list(names)
    if os.path.realpath(sys.executable) == os.path.realpath(SYSTEM_PYTHON) and sys.prefix == sys.base_prefix:
        return [name for name in names if importlib.util.find_spec(name) is None]
    code = f"import importlib.util as u; print(*(n for n in {names!r} if u.find_spec(n) is None))"
    asked = subprocess.run([SYSTEM_PYTHON, "-I", "-c", code], capture_output=True, text=True, check=False)
    return asked.stdout.split() if not asked.returncode else names


def distribution_packages(wanted: HostWanted) -> list[str]:
    """The packages by the names of this host's distribution. HostError where that is unknown."""
    try:
        with open("/etc/os-release", encoding="utf-8") as source:
            release = dict(line.strip().split("=", 1) for line in source if "=" in line)
    except OSError:
        release = {}
    words = {word for name in ("ID", "ID_LIKE") for word in release.get(name, "").strip('"').split()}
    modules = modules_of(wanted)
    if "debian" in words:
        more = (_NFTABLES,) if wanted.real is not None and wanted.real.mss else ()
        return [*modules.values(), _HEADERS, *more]
    distribution = release.get("NAME", "this distribution").strip('"')
    raise HostError(
        f"{distribution} is not known to katran.fleet: give the packages that hold {', '.join(modules)} for Python 3 as"
        " katran_host_packages"
    )


def read_record() -> HostRecord:
    """What the last run left; nothing where there was none."""
    require_folder(STATE_ROOT)
    try:
        source = read_private(RECORD)
    except UnicodeDecodeError as error:
        raise StateError(f"{RECORD} cannot be read: {error}") from error
    return HostRecord() if source is None else HostRecord.from_json(source, RECORD)


def restore_host() -> list[str]:
    """At boot: bring back what the kernel forgot; one line for each thing done.

    PartialError where an interface is missing.
    """
    if read_record().real is None:
        return []
    done = ensure_host(HostRequest(HostWanted(), boot=True))
    if done.missing:
        raise PartialError("; ".join(done.missing), done.changes)
    return done.changes


def _execute(plan: HostPlan, request: HostRequest, record: HostRecord, contents: Mapping[str, str]) -> None:
    real = request.wanted.real or record.real
    if real is not None and real.vips is None:
        real = replace(real, vips=record.real.vips if record.real else None)
    after = HostRecord(real, plan.before)
    if request.absent:
        after = HostRecord()
    elif after != record:
        # Before the first step: what a value was before is known from here on, also to a run after one that was killed.
        write_durably(RECORD, after.to_json())
    with _library() if plan.subjects("write") or plan.subjects("remove") else contextlib.nullcontext():
        for step in (step for step in plan.steps if step.verb in ("write", "remove")):
            _do(step, plan, contents)
        if plan.subjects("write"):
            _compile()
        if request.absent:
            remove_tree(LIBRARY)
    for step in plan.steps:
        if step.verb not in ("write", "remove"):
            _do(step, plan, contents)
    if request.absent:
        remove_files(RECORD, os.path.join(LOCK_ROOT, ".host.lock"), LIBRARY_LOCK, METRICS_SOCKET)
        # Of folders, those in which nothing is left of anybody's.
        remove_folders(STATE_ROOT, LOCK_ROOT)


@contextlib.contextmanager
def _library() -> Iterator[None]:
    """Nobody runs the library's engine meanwhile. HostError after LOCK_SECONDS."""
    make_private(LOCK_ROOT)
    descriptor = os.open(LIBRARY_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise HostError(f"{LIBRARY} is in use: waited {LOCK_SECONDS:g} s to change it") from error
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def _compile() -> None:
    """Compile the engine for the system's Python. A cache holds its source's hash, so it never stands for another."""
    if os.path.realpath(sys.executable) == os.path.realpath(SYSTEM_PYTHON):
        compileall.compile_dir(LIBRARY, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    else:
        command = [SYSTEM_PYTHON, "-I", "-m", "compileall", "-qq", "--invalidation-mode", "checked-hash", LIBRARY]
        subprocess.run(command, capture_output=True, check=False)


def _do(step: Step, plan: HostPlan, contents: Mapping[str, str]) -> None:
    match step.verb:
        case "write":
            write_file(os.path.join(LIBRARY, step.subject), contents[step.subject])
        case "remove":
            os.unlink(os.path.join(LIBRARY, step.subject))
        case "close":
            close_folder(step.subject)
        case "link":
            link_unit(step.subject, f"{LIBRARY}/{UNITS_FOLDER}/{step.subject}")
        case "unlink":
            unlink_unit(step.subject)
        case "reload":
            reload_units()
        case "sysctl":
            write_sysctl(step.subject, step.value)
        case "mtu":
            write_mtu(step.subject, step.value)
        case "command" if step.value:
            write_file(step.subject, step.value, runs=True)
        case "command":
            remove_files(step.subject)
        case "page" if step.value:
            make_link(step.subject, step.value)
        case "page":
            remove_files(step.subject)
        case "mss":
            set_mss(int(step.value), plan.bounded_vips(loopback_addresses() if plan.known_vips else ()))
        case "enable" | "disable" | "start" | "restart" | "stop":
            change_unit(step.verb, step.subject)
