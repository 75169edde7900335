# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel cannot say back: state.json, the ids, and the lock around every read-compare-write.

The file is written to a temporary name, synced and renamed, so a reader sees the old or the new one, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import time
import typing as t
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields

STATE_ROOT = "/var/lib/katran-fleet"
LOCK_ROOT = "/run/katran-fleet"
SCHEMA = 1
_VIPS = '"vips": '


class StateError(Exception):
    """state.json or the lock cannot be used; the text is one sentence for the operator."""


@dataclass
class Ids:
    """Numbers assigned once and kept: a key's number, and freed numbers, oldest first, awaiting reuse.

    `first` is the lowest number ever given out. A number that is both was given out again by a run that has not ended:
    what it had before is still to be cleared away.
    """

    first: int
    assigned: dict[str, int] = field(default_factory=dict)
    quarantine: list[int] = field(default_factory=list)

    def copy(self) -> Ids:
        """An independent copy: planning changes ids, check mode must not."""
        return Ids(self.first, dict(self.assigned), list(self.quarantine))

    def assign(self, keys: Iterable[str], limit: int) -> list[str]:
        """Give each key without a number one below `limit`; returns the keys for which there was no room.

        Numbers never used come first, then the one that was freed longest ago.
        """
        used = set(self.assigned.values())
        taken = used.union(self.quarantine)
        fresh = (number for number in range(self.first, limit) if number not in taken)
        freed = (number for number in list(self.quarantine) if number < limit and number not in used)
        left = []
        for key in keys:
            if key in self.assigned:
                continue
            number = next(fresh, None)
            if number is None:
                number = next(freed, None)
            if number is None:
                left.append(key)
                continue
            self.assigned[key] = number
        return left

    def free(self, key: str) -> int | None:
        """Take the key's number away into quarantine; returns it."""
        number = self.assigned.pop(key, None)
        if number is not None:
            if number in self.quarantine:
                self.quarantine.remove(number)
            self.quarantine.append(number)
        return number

    def adopted(self, found: Iterable[tuple[str, int]]) -> Ids:
        """A copy with the keys and numbers that the kernel has, where neither is taken.

        A number that a killed run gave out again, but that the kernel shows with its old key, is taken back.
        """
        pairs = list(found)
        ids = self.copy()
        owners = {number: key for key, number in ids.assigned.items()}
        promised = set(ids.quarantine).difference(number for key, number in pairs if ids.assigned.get(key) == number)
        for key, number in pairs:
            owner = owners.get(number)
            if key in ids.assigned or number < ids.first or (owner is not None and number not in promised):
                continue
            if owner is not None:
                del ids.assigned[owner]
            if number in ids.quarantine:
                ids.quarantine.remove(number)
            promised.discard(number)
            ids.assigned[key] = number
            owners[number] = key
        return ids

    def reused(self) -> list[int]:
        """The numbers that are both assigned and in quarantine, sorted."""
        return sorted(set(self.assigned.values()).intersection(self.quarantine))

    def settled(self) -> Ids:
        """A copy in which no assigned number is in quarantine: what is saved when a run ends."""
        used = set(self.assigned.values())
        return Ids(self.first, dict(self.assigned), [number for number in self.quarantine if number not in used])


def _real_ids() -> Ids:
    return Ids(1)


def _vip_numbers() -> Ids:
    return Ids(0)


@dataclass
class State:
    """Everything of one balancer that its maps cannot say back.

    `settings`: the options of module balancer. `vips`, `overlay`: the last applied configuration, in config's own
    form; resources that may be large have a file of their own. `references`: resource → the reals it refers to.
    `rings`: VIP → [digest of the ring's inputs, digest of its slots in the map]. `program`: what is loaded, and where.
    `learned`: the names of all VIPs that ever learned flows; `learning`: of those that a run was about to make visible.
    `interrupted`: the resources whose run began to write and has not ended.
    `recovered`: the file was lost and is made of what the kernel showed, until all VIPs are told.
    """

    instance: str
    bpffs: str
    settings: dict[str, t.Any] = field(default_factory=dict)
    program: dict[str, t.Any] = field(default_factory=dict)
    vips: list[dict[str, t.Any]] = field(default_factory=list)
    overlay: list[dict[str, t.Any]] = field(default_factory=list)
    references: dict[str, list[str]] = field(default_factory=dict)
    real_ids: Ids = field(default_factory=_real_ids)
    vip_numbers: Ids = field(default_factory=_vip_numbers)
    rings: dict[str, list[str]] = field(default_factory=dict)
    learned: list[str] = field(default_factory=list)
    learning: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    recovered: bool = False
    lost: bool = field(default=False, compare=False)

    def to_json(self, vips: str | None = None) -> str:
        """The file's text: one line per top-level key, so that it can be read and diffed.

        `vips`: the text of the VIPs where the caller has it; of all, they take the longest to write down.
        """
        lines = [f'"schema": {SCHEMA}']
        for name in (item.name for item in fields(self) if item.name != "lost"):
            value = getattr(self, name)
            text = vips if name == "vips" and vips is not None else json.dumps(value, default=vars)
            lines.append(f'"{name}": {text}')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def begun(self, resource: str) -> list[str]:
        """`interrupted` while a resource's run writes."""
        return sorted({*self.interrupted, resource})

    def ended(self, resource: str) -> list[str]:
        """`interrupted` once it has."""
        return [name for name in self.interrupted if name != resource]

    def is_sure_of(self, resource: str) -> bool:
        """Whether what a resource's own maps have beside this was somebody else's doing."""
        return not self.lost and resource not in self.interrupted

    @property
    def is_sure(self) -> bool:
        """Whether that holds for the reals, which all resources share."""
        return not (self.lost or self.interrupted)

    @classmethod
    def from_json(cls, text: str, path: str) -> State:
        """Read the file's text; StateError says why it is none."""
        try:
            data = json.loads(text)
            schema = data.pop("schema")
            if schema != SCHEMA:
                raise StateError(f"{path} has schema {schema}, but this version of katran.fleet reads schema {SCHEMA}")
            for name in ("real_ids", "vip_numbers"):
                data[name] = Ids(**data[name])
            known = {item.name for item in fields(cls)}
            return cls(**{key: value for key, value in data.items() if key in known})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(path, error) from error


def damaged(path: str, error: Exception) -> StateError:
    """What to say of a file that cannot be one of ours."""
    return StateError(f"{path} is damaged ({error}): move it away, and the next run adopts what the kernel has")


class StateFile:
    """The directory of one balancer's state."""

    def __init__(self, instance: str, bpffs: str, root: str = STATE_ROOT) -> None:
        self.instance = instance
        self.bpffs = bpffs
        self.directory = os.path.join(root, instance)
        self.path = os.path.join(self.directory, "state.json")
        self._remembered: dict[str, str] = {}
        self._vips: tuple[list[dict[str, t.Any]], str] | None = None

    def read(self) -> State:
        """The state; a fresh one with `lost` set where there is no file."""
        try:
            with open(self.path, encoding="utf-8") as source:
                text = source.read()
            state = State.from_json(text, self.path)
        except FileNotFoundError:
            return State(self.instance, self.bpffs, lost=True)
        except OSError as error:
            raise StateError(f"{self.path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise damaged(self.path, error) from error
        line = next((line for line in text.splitlines() if line.startswith(_VIPS)), None)
        if line is not None:
            self._vips = state.vips, line.removeprefix(_VIPS).removesuffix(",")
        if state.bpffs != self.bpffs:
            raise StateError(
                f"balancer {self.instance} lives in the bpffs {state.bpffs}, not in {self.bpffs}:"
                " give that as bpffs, or remove the balancer first"
            )
        return state

    def write(self, state: State) -> None:
        """Replace the file; StateError where the disk does not take it, with the old one kept."""
        for name, text in self._remembered.items():
            self.write_file(name, text)
        self._remembered.clear()
        # Between a run's intent and its result, and in most runs of other resources, the VIPs are the same list.
        if self._vips is None or self._vips[0] is not state.vips:
            self._vips = state.vips, json.dumps(state.vips)
        self.write_file("state.json", state.to_json(self._vips[1]))

    def write_file(self, name: str, text: str) -> None:
        """Replace one file of the directory (0600), durably."""
        temporary = os.path.join(self.directory, f".{name}.{os.getpid()}")
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as target:
                    target.write(text)
                    target.flush()
                    os.fsync(target.fileno())
                os.rename(temporary, os.path.join(self.directory, name))
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise StateError(f"{self.directory}/{name} cannot be written: {error.strerror}") from error

    def remember(self, name: str, text: str) -> None:
        """Take this as the text of a file of the directory, to be written with the next state."""
        self._remembered[name] = text

    def read_file(self, name: str) -> str | None:
        """The text of one file of the directory, None where there is none."""
        if name in self._remembered:
            return self._remembered[name]
        try:
            with open(os.path.join(self.directory, name), encoding="utf-8") as source:
                return source.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{self.directory}/{name} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise damaged(f"{self.directory}/{name}", error) from error

    def remove(self, names: Iterable[str]) -> None:
        """Remove these files, and the directory unless another program of the instance keeps its state there."""
        try:
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.directory, name))
        except OSError as error:
            raise StateError(f"{self.directory} cannot be cleared: {error.strerror}") from error
        self.sweep()
        self.remove_if_empty()

    def rename(self, name: str, target: str) -> None:
        """Give one file of the directory another name, in place of what had that; no failure where it is not there."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(os.path.join(self.directory, name), os.path.join(self.directory, target))

    def remove_if_empty(self) -> None:
        """Remove the directory unless another program of the instance keeps its state there."""
        try:
            os.rmdir(self.directory)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise StateError(f"{self.directory} cannot be removed: {error.strerror}") from error

    def sweep(self) -> None:
        """Remove temporary files that a killed run left; only under the exclusive lock."""
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(self.directory):
                if name.startswith("."):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(self.directory, name))


def read_bpffs(instance: str, root: str = STATE_ROOT) -> str:
    """The bpffs that an instance's state names; the usual one where it names none."""
    for name in ("state.json", "decap.json", "root.json", "healthcheck.json"):
        with (
            contextlib.suppress(OSError, ValueError, KeyError, TypeError),
            open(os.path.join(root, instance, name), encoding="utf-8") as source,
        ):
            return str(json.load(source)["bpffs"])
    return "/sys/fs/bpf"


def _holders(descriptor: int) -> list[int]:
    """Process ids that hold a flock on the open file, from /proc/locks."""
    status = os.fstat(descriptor)
    inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    found = []
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii") as source:
        for line in source:
            words = line.split()
            if "->" not in words and "FLOCK" in words and inode in words:
                found.append(int(words[4]))
    return sorted(set(found) - {os.getpid()})


@contextlib.contextmanager
def locked(instance: str, exclusive: bool, timeout: float, root: str = LOCK_ROOT) -> Iterator[None]:
    """Hold the balancer's lock: exclusive to change, shared to look. `timeout` in seconds.

    StateError names the process that holds it once the time is up.
    """
    path = os.path.join(root, f"{instance}.lock")
    deadline = time.monotonic() + timeout
    operation = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
    while True:
        try:
            os.makedirs(root, mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"the lock {path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, operation)
            # A removal of the balancer may have unlinked the file while this run waited for it: then it guards nothing.
            if os.fstat(descriptor).st_nlink:
                break
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                os.close(descriptor)
                raise StateError(f"the lock {path} cannot be taken: {error.strerror}") from error
            if time.monotonic() >= deadline:
                pids = " and ".join(map(str, _holders(descriptor))) or "unknown"
                os.close(descriptor)
                raise StateError(
                    f"balancer {instance} is locked by another run (pid {pids}): waited {timeout:g} s (lock_timeout)"
                ) from error
            time.sleep(0.02)
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


def remove_lock(instance: str, root: str = LOCK_ROOT) -> None:
    """Remove the lock file of a balancer that is gone; its holder keeps the lock until it ends."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(root, f"{instance}.lock"))
