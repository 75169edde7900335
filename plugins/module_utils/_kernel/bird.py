# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bird on this host: its file, its daemon, and what it would say of a configuration."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import hashlib
import os
import pwd
import shutil
import socket
import stat
import struct
import subprocess
import time
import typing as t

from .._model.bird_plan import CONF, MODE, OWNER, Owner
from .._model.errors import HostError

CONTROL = "/run/bird/bird.ctl"
PROGRAM = "bird"
DEFAULTS = ("/usr/share/bird2/bird.conf", "/usr/share/bird3/bird.conf")
_UCF = "/var/lib/ucf/hashfile"
_TEMPORARY = os.path.join(os.path.dirname(CONF), ".bird.conf.katran")
_SECONDS = 20.0
_READ = range(3, 6)
"""bird's codes (doc/reply_codes in its sources): reconfigured, in progress, queued behind one in progress."""

_SIOCGIFADDR = 0x8915


def find_bird() -> str | None:
    """Where the daemon's program is; Ansible's path may not have /usr/sbin."""
    return shutil.which(PROGRAM, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def read_text(path: str) -> str | None:
    """A file's text, None where there is none; what is no text in it is replaced."""
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}") from error


def identity_of(path: str) -> str:
    """Which file this is: another for each that was written or changed; "" where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_mtime_ns}:{found.st_size}"


def owner_of(path: str) -> Owner | None:
    """Whose a file is; None where there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    user, group = str(found.st_uid), str(found.st_gid)
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(found.st_uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(found.st_gid).gr_name
    return Owner(user, group, stat.S_IMODE(found.st_mode))


def packaged_text() -> str | None:
    """The text of the package's own bird.conf, None where no package brings one."""
    return next((text for text in map(read_text, DEFAULTS) if text is not None), None)


def is_packaged(text: str | None) -> bool:
    """Whether a bird.conf is the package's own, of the version that is installed or of the one that put it there."""
    if text is None:
        return False
    if text == packaged_text():
        return True
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return any(line.split() == [digest, CONF] for line in (read_text(_UCF) or "").splitlines())


def judge(text: str) -> None:
    """HostError with bird's words where it does not take a configuration; nothing is left of it."""
    program = find_bird()
    if program is None:
        return
    done = subprocess.run(
        [program, "-p", "-c", "/dev/stdin"], input=text, capture_output=True, text=True, check=False, cwd="/"
    )
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split()).replace("/dev/stdin", CONF)
        raise HostError(f"bird does not take the configuration, and nothing was changed: {said[-300:]}")


def write_conf(text: str) -> None:
    """Replace bird.conf, whole at any time, for root and bird alone."""
    try:
        group = grp.getgrnam(OWNER.group).gr_gid
    except KeyError as error:
        raise HostError(f"this host has no group {OWNER.group}, as which bird reads {CONF}") from error
    try:
        os.makedirs(os.path.dirname(CONF), exist_ok=True)
        with _open_new(_TEMPORARY, "w", "utf-8") as target:
            os.fchown(target.fileno(), 0, group)
            os.fchmod(target.fileno(), MODE)
            target.write(text)
            target.flush()
            os.fsync(target.fileno())
        os.rename(_TEMPORARY, CONF)
    except OSError as error:
        raise HostError(f"{CONF} cannot be written: {error.strerror}") from error


def keep_conf(path: str) -> None:
    """Keep bird.conf under another name too, with its owner and mode."""
    temporary = f"{path}.katran"
    with open(CONF, "rb") as source, _open_new(temporary, "wb") as target:
        found = os.fstat(source.fileno())
        shutil.copyfileobj(source, target)
        target.flush()
        os.fchown(target.fileno(), found.st_uid, found.st_gid)
        os.fchmod(target.fileno(), stat.S_IMODE(found.st_mode))
        os.utime(target.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
    os.rename(temporary, path)


def _open_new(path: str, mode: str, encoding: str | None = None) -> t.IO[t.Any]:
    """A file that is root's alone, in place of what is there.

    The folder is bird's own: what it may have put there is not followed.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), mode, encoding=encoding)


def free_name(path: str) -> str:
    """This name or one made of it that no file has."""
    name, number = path, 1
    while os.path.lexists(name):
        name, number = f"{path}.{number}", number + 1
    return name


def configure(path: str = CONTROL, seconds: float = _SECONDS) -> None:
    """Have the daemon read its file; HostError with its words where it refuses.

    Sessions go on whose own settings are the same. The daemon says in numbers what became of it.
    """
    deadline = time.monotonic() + seconds
    with _connected(path, deadline) as control:
        control.settimeout(max(0.1, deadline - time.monotonic()))
        try:
            answers = control.makefile("rb")
            _final(answers.readline)
            control.sendall(b"configure\n")
            code, said = _final(answers.readline)
        except OSError as error:
            raise HostError(f"bird does not answer at {path}: {error.strerror or error}") from error
    if code not in _READ:
        raise HostError(f"bird did not take {CONF}: {said}")


def _connected(path: str, deadline: float) -> socket.socket:
    """A connection to the daemon, which may be about to start."""
    while True:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            control.connect(path)
        except OSError as error:
            control.close()
            starting = error.errno in (errno.ENOENT, errno.ECONNREFUSED)
            if not starting or time.monotonic() > deadline:
                raise HostError(f"bird does not answer at {path}: {error.strerror}") from error
            time.sleep(0.05)
        else:
            return control


def _final(readline: t.Callable[[], bytes]) -> tuple[int, str]:
    """The last line of an answer: its number, behind which no more is to come, and its words."""
    while True:
        line = readline()
        if not line:
            raise OSError(errno.ECONNRESET, "it closed the connection")
        if line[:4].isdigit() and line[4:5] in (b" ", b"\n"):
            return int(line[:4]), line[5:].decode(errors="replace").strip()


# Addresses of this host, which need no library: the review of a fresh host has none


def interface_names() -> list[str]:
    """The interfaces of this host."""
    return [name for _index, name in socket.if_nameindex()]


def local_ipv4() -> dict[str, str]:
    """Interface, but the loopback → its first IPv4 address."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for name in interface_names():
            request = struct.pack("256s", name.encode()[:15])
            with contextlib.suppress(OSError):
                address = socket.inet_ntoa(fcntl.ioctl(one.fileno(), _SIOCGIFADDR, request)[20:24])
                if not address.startswith(("127.", "169.254.")):
                    found[name] = address
    return found


def source_towards(address: str) -> str | None:
    """The IPv4 address from which this host would send there; no packet is sent. None where no route leads there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, contextlib.suppress(OSError):
        one.connect((address, 179))
        return str(one.getsockname()[0])
    return None
