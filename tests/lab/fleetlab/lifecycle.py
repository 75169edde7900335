# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a laboratory up and take it down. Both may be repeated, and both start from whatever is there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from fleetlab import cgroup, host, image, limits, network, safety, xdp_pass
from fleetlab.plan import EVERY_HOST, RUN, Host, Lab, LabError, names
from fleetlab.system import Progress, run
from fleetlab.system import network as entered

_STATE = "lab.json"
# How many hosts boot at a time: those of the default plan all at once.
_WAVE = 8


@contextlib.contextmanager
def _locked(directory: Path, progress: Progress, what: str) -> Iterator[None]:
    """Hold *directory*, which is made if missing, against other runs of this tool."""
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"waiting for another run that holds {what}")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The run that held it may have removed it.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == directory.stat().st_ino:
                break
        os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hold(lab: Lab, owner: str) -> Iterator[None]:
    """Claim a laboratory that is up for the length of a with block: meanwhile `down` and a rebuild are refused.

    LabError when somebody else has it.
    """
    path = lab.directory / "in-use"
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LabError(f"laboratory {lab.prefix} is in use by {file.read().strip() or 'another run'}") from None
        file.truncate(0)
        file.write(f"{owner} (pid {os.getpid()})")
        file.flush()
        yield
        file.truncate(0)


def _refuse_if_held(lab: Lab) -> None:
    if (lab.directory / "in-use").exists():
        with hold(lab, "a run that takes it down"):
            pass


def _digest() -> str:
    """Of the tool itself: a laboratory that another version built is built anew."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def read_state(lab: Lab) -> dict[str, object] | None:
    """What `up` wrote when the laboratory was complete, or None."""
    with contextlib.suppress(OSError, ValueError):
        state = json.loads((lab.directory / _STATE).read_text(encoding="utf-8"))
        return state if isinstance(state, dict) else None
    return None


def running_hosts(lab: Lab) -> tuple[Host, ...]:
    """The hosts the laboratory was brought up with; none if it is not up."""
    state = read_state(lab) or {}
    listed = state.get("hosts")
    return tuple(h for h in EVERY_HOST if isinstance(listed, list) and h.name in listed)


def require_up(lab: Lab) -> Lab:
    """The laboratory with the hosts it has; LabError if it is not up."""
    hosts = running_hosts(lab)
    if not hosts:
        raise LabError(f"laboratory {lab.prefix} is not up (tests/lab/lab up)")
    return Lab(lab.prefix, hosts)


def _is_whole(lab: Lab) -> bool:
    state = read_state(lab)
    if not state or state.get("digest") != _digest() or not set(lab.hosts) <= set(running_hosts(lab)):
        return False
    hosts = running_hosts(lab)
    return all(cgroup.alive(lab, h) for h in hosts) and len(host.answering(lab, hosts)) == len(hosts)


def up(lab: Lab, progress: Progress, *, rebuild_image: bool = False) -> None:
    """Build the laboratory, unless it is there and whole already."""
    if os.geteuid() != 0:
        raise LabError("the laboratory makes namespaces and mounts: run as root")
    begin = time.monotonic()
    with _locked(lab.directory, progress, f"laboratory {lab.prefix}"):
        with _locked(RUN, progress, "the list of laboratories"):
            safety.close_ranges()
        root = image.ready(progress, rebuild=rebuild_image)
        if _is_whole(lab) and not rebuild_image:
            progress.say(f"is up: {names(running_hosts(lab))} ({time.monotonic() - begin:.1f} s)")
            return
        _clear(lab, progress)
        with progress.step(f"network: {len(lab.hosts)} hosts, {len(lab.with_role('balancer'))} of them balancers"):
            network.build(lab)
        _make_key(lab)
        with _locked(RUN, progress, "the list of laboratories"):
            limits.make_room(lab)
            network.keep_flows(lab)
        for first in range(0, len(lab.hosts), _WAVE):
            wave = lab.hosts[first : first + _WAVE]
            with progress.step(f"hosts boot and answer: {names(wave)}"):
                for one in wave:
                    host.start(lab, one, root)
                host.wait(lab, wave)
        state = {"version": 1, "hosts": [h.name for h in lab.hosts], "digest": _digest(), "image": str(root)}
        (lab.directory / _STATE).write_text(json.dumps(state), encoding="utf-8")
    progress.say(f"up ({time.monotonic() - begin:.1f} s)")


def _make_key(lab: Lab) -> None:
    for path in (lab.key, lab.key.with_suffix(".pub")):
        path.unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"laboratory {lab.prefix}", "-f", str(lab.key)])
    (lab.directory / "ssh").mkdir(mode=0o700, exist_ok=True)


def _clear(lab: Lab, progress: Progress) -> bool:
    """Remove processes, namespaces and files of the laboratory; returns whether there were any."""
    _refuse_if_held(lab)
    if not (cgroup.alive(lab) or network.leftovers(lab) or any(lab.directory.iterdir())):
        cgroup.kill(lab)
        return False
    with progress.step("remove hosts and network"):
        (lab.directory / _STATE).unlink(missing_ok=True)
        close_connections(lab)
        cgroup.kill(lab)
        network.remove(lab)
        with _locked(RUN, progress, "the list of laboratories"):
            limits.give_back(lab)
        for path in lab.directory.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    return True


def close_connections(lab: Lab) -> None:
    """End the ssh connections that Ansible keeps open.

    A new host of the same name would be taken for the old one.
    """
    for path in lab.directory.glob("ssh/*"):
        subprocess.run(["ssh", "-F", "none", "-O", "exit", "-S", path, "lab.invalid"], capture_output=True, check=False)


def down(lab: Lab, progress: Progress) -> None:
    """Remove the laboratory and every trace of it."""
    if not lab.directory.exists() and not network.leftovers(lab) and not cgroup.alive(lab):
        progress.say("is not up")
        return
    with _locked(lab.directory, progress, f"laboratory {lab.prefix}"):
        _clear(lab, progress)
        with _locked(RUN, progress, "the list of laboratories"):
            lab.directory.rmdir()
            if not any(RUN.iterdir()):
                safety.open_ranges()
                RUN.rmdir()
    progress.say("down")


def power_cycle(lab: Lab, one: Host, progress: Progress) -> None:
    """End a host as a power cut would, and boot it again: its files stay, what its kernel held does not."""
    with _locked(lab.directory, progress, f"laboratory {lab.prefix}"), progress.step(f"power-cycle {one.name}"):
        state = read_state(lab) or {}
        cgroup.kill(lab, one)
        # The network namespace outlives the host here; a real host's programs go with its kernel.
        if one.role != "router":
            with entered(lab.namespace_path(one)):
                xdp_pass.detach("eth1")
        host.start(lab, one, Path(str(state["image"])))
        host.wait(lab)
