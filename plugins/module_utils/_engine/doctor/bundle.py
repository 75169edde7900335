# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a bug report needs of a host, in one file: without secrets, and without addresses where that is wanted.

It is read while the host works, one thing after the other, so parts may be of different moments.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import platform
import secrets
import tarfile
import time
import typing as t
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from ..._kernel.lock import LOCK_ROOT
from ..._kernel.report_file import file_text, printed, write_whole
from ..._kernel.state_folder import STATE_ROOT, instances, read_bpffs
from ..._model.bird_plan import CONF
from ..._model.doctor.masking import Masker, Secrets
from ..._model.errors import FleetError
from ..._model.tables import TABLES
from ..info import SUBSETS, gather_info
from ..real_status import read_real
from ..request import Request
from ..status import read_status
from .run import examine

LARGEST = 5_000_000
"""Bytes of a bundle, whatever the host has."""

PART = 256 * 1024
"""Bytes of each part, and four times as many of the journal; of what is larger, the part says so."""

_WHOLE = 64 << 20
"""Bytes of a file that is read for its secrets; none that has any is as large."""

_LOCK_SECONDS = 5.0
_JOURNAL = 4
_UNITS = ("katran-agent", "katran-restore", "katran-watch", "bird", "frr")
_BYTECODE = ".bytecode.json"

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "uname": ("uname", "-a"),
    "addresses": ("ip", "-d", "-s", "address"),
    "routes4": ("ip", "-4", "route", "show", "table", "all"),
    "routes6": ("ip", "-6", "route", "show", "table", "all"),
    "rules": ("ip", "rule"),
    "rules6": ("ip", "-6", "rule"),
    "next_hops": ("ip", "nexthop"),
    "neighbours": ("ip", "neighbour"),
    "tunnels": ("ip", "-d", "tunnel", "show"),
    "qdiscs": ("tc", "-s", "qdisc", "show"),
    "nftables": ("nft", "-a", "list", "ruleset"),
    "iptables": ("iptables-legacy-save", "-c"),
    "listening": ("ss", "-Hltun"),
    "kernel_counters": ("nstat", "-asz"),
    "kernel_parameters": (
        "sysctl",
        "-a",
        "-r",
        r"^net\.(core|ipv4\.(conf|fib|ip_|nexthop|tcp)|ipv6\.conf)|^kernel\.(bpf|unpriv)",
    ),
    "programs": ("bpftool", "prog", "show"),
    "maps": ("bpftool", "map", "show"),
    "network_programs": ("bpftool", "net", "show"),
    "units": ("systemctl", "--no-pager", "--full", "status", *_UNITS),
    "failed_units": ("systemctl", "--no-pager", "--failed"),
    "clock": ("timedatectl", "show"),
    "disks": ("df", "-h"),
    "memory": ("free", "-m"),
    "packages": (
        *("dpkg-query", "-W", "python3", "python3-bpfcc", "python3-netaddr", "python3-pyroute2", "python3-h11"),
        *("python3-dnspython", "python3-prometheus-client", "python3-cryptography", "bird2", "nftables", "bpftool"),
    ),
    "bird_protocols": ("birdc", "-r", "show", "protocols", "all"),
    "bird_routes": ("birdc", "-r", "show", "route", "count"),
}
"""Part → the command that prints it."""


@dataclass
class Bundle:
    """Parts by their names. `hosts`: names of hosts that are met, to be masked."""

    parts: dict[str, str] = field(default_factory=dict)
    secrets: Secrets = field(default_factory=Secrets)
    hosts: set[str] = field(default_factory=set)


def write_bundle(path: str, only: str | None = None, *, mask: bool = False, probes: bool = True) -> int:
    """Collect it, and write it to a file (0600); its size in bytes. EngineError where it cannot be written.

    `only`: one instance; None: all. `mask`: whether addresses, MACs and names of hosts are to be hidden.
    """
    masker = None
    size, most = LARGEST + 1, PART
    bundle = collect(only, probes=probes)
    if mask:
        masker = Masker(secrets.token_bytes(32), bundle.hosts)
    texts = {
        _cleaned(name, bundle.secrets, masker): _cleaned(text, bundle.secrets, masker)
        for name, text in bundle.parts.items()
    }
    data = b""
    while size > LARGEST:
        data = _packed(texts, most)
        size, most = len(data), most // 2
    write_whole(path, data)
    return size


def _cleaned(text: str, known: Secrets, masker: Masker | None) -> str:
    text = known.removed(text)
    return text if masker is None else masker.text(text)


def _packed(texts: Mapping[str, str], most: int) -> bytes:
    """A compressed tar archive, in which the time of day is the only one."""
    target = io.BytesIO()
    now = int(time.time())
    with (
        gzip.GzipFile(fileobj=target, mode="wb", compresslevel=6, mtime=now, filename="") as packer,
        tarfile.open(fileobj=packer, mode="w") as archive,
    ):
        for name, text in texts.items():
            data, share = text.encode(), most * (_JOURNAL if name.startswith("journal/") else 1)
            if len(data) > share:
                note = f"\n(cut: {share} of {len(data)} bytes, so that the whole is no larger than {LARGEST})\n"
                data = (data[-share:] if name.startswith("journal/") else data[:share]) + note.encode()
            entry = tarfile.TarInfo(f"katran-bundle/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, now
            archive.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def collect(only: str | None = None, *, probes: bool = True) -> Bundle:
    """Read everything; what cannot be read says so in its place. `probes`: whether doctor sends its flows."""
    bundle = Bundle()
    bundle.hosts |= _host_names()
    _learn(bundle)
    bundle.parts["versions.json"] = _json(_versions())
    for instance in instances() if only is None else [only]:
        for name, text in _of_instance(instance, probes):
            bundle.parts[f"{instance}/{name}"] = text
    for name, path in _files():
        read = file_text(path, PART)
        if read is not None:
            bundle.parts[name] = read
    for name, command in COMMANDS.items():
        bundle.parts[f"host/{name}.txt"] = f"$ {' '.join(command)}\n{printed(command, PART)}"
    units = [word for unit in _UNITS for word in ("-u", unit)]
    bundle.parts["journal/units.txt"] = printed(
        ["journalctl", "--no-pager", "-o", "short-iso-precise", "-n", "20000", *units], PART * _JOURNAL, last=True
    )
    bundle.parts["journal/kernel.txt"] = printed(["journalctl", "--no-pager", "-k", "-n", "2000"], PART, last=True)
    for text in list(bundle.parts.values()):
        bundle.hosts |= _asked_names(text)
    return bundle


def _learn(bundle: Bundle) -> None:
    """Every secret that a file of this host holds, before anything is written: a journal may have it too."""
    tables = {table.file for table in TABLES.values()}
    for folder, _folders, files in os.walk(STATE_ROOT):
        for name in files:
            if name.endswith(".json") and not name.endswith(_BYTECODE) and name not in tables:
                bundle.secrets.learn(file_text(os.path.join(folder, name), _WHOLE) or "")
    bundle.secrets.learn(file_text(CONF, _WHOLE) or "")


def _of_instance(instance: str, probes: bool) -> Iterator[tuple[str, str]]:
    request = Request(instance, read_bpffs(instance), _LOCK_SECONDS, True)

    def read(what: Callable[[], t.Any]) -> str:
        try:
            return _json(what())
        except (FleetError, OSError) as error:
            return f"({error})\n"
        # A bug report is of what does not work: that a part of it fails belongs to it.
        except Exception as error:  # noqa: BLE001  # pylint: disable=broad-exception-caught
            return f"({type(error).__name__}: {error})\n"

    def examined() -> t.Any:
        found = examine(request, probes)
        return {"findings": [each._asdict() for each in found.findings], "seen": found.seen}

    yield "doctor.json", read(examined)
    yield "status.json", read(lambda: read_status(instance).to_data())
    yield "real.json", read(lambda: read_real(instance).to_data())
    for word in SUBSETS:
        yield f"info/{word}.json", read(partial(gather_info, request, [word]))


def _files() -> Iterator[tuple[str, str]]:
    """Part → path of the files that go in as they are, secrets left out."""
    for root, part in ((STATE_ROOT, "state"), (LOCK_ROOT, "run")):
        for folder, _folders, files in os.walk(root):
            for name in sorted(files):
                if name.endswith(".json") and not name.endswith(_BYTECODE) and not name.startswith("."):
                    path = os.path.join(folder, name)
                    yield f"{part}/{os.path.relpath(path, root)}", path
    yield "host/bird.conf", CONF
    yield "host/os-release", "/etc/os-release"
    yield "host/interrupts.txt", "/proc/interrupts"
    yield "host/softnet.txt", "/proc/net/softnet_stat"
    yield "host/meminfo.txt", "/proc/meminfo"


def _host_names() -> set[str]:
    """Of this host, and of those that it has in files of its own."""
    found = {os.uname().nodename, os.uname().nodename.partition(".")[0]}
    for line in (file_text("/etc/hosts", PART) or "").splitlines():
        found |= {word for word in line.partition("#")[0].split()[1:] if not word.startswith(("ip6-", "localhost"))}
    for line in (file_text("/etc/resolv.conf", PART) or "").splitlines():
        words = line.split()
        if words and words[0] in ("search", "domain"):
            found |= set(words[1:])
    return {each for each in found if each and each != "localhost"}


_NAMED = ("host", "query", "server_name")
"""Fields of checks that hold a name of a host."""


def _asked_names(text: str) -> set[str]:
    try:
        value = json.loads(text) if text.startswith(("{", "[")) else None
    except (ValueError, RecursionError):
        return set()
    found: set[str] = set()
    rest: list[t.Any] = [value]
    while rest:
        each = rest.pop()
        if isinstance(each, dict):
            found |= {each[name] for name in _NAMED if isinstance(each.get(name), str) and "." in each[name]}
            rest += each.values()
        elif isinstance(each, list):
            rest += each
    return found


def _versions() -> dict[str, t.Any]:
    return {"kernel": os.uname().release, "machine": os.uname().machine, "python": platform.python_version()}


def _json(value: t.Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, default=str) + "\n"
