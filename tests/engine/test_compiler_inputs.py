# SPDX-License-Identifier: GPL-3.0-or-later
"""What reaches the compiler: the bytes that were checked and digested, and nothing that somebody put beside them."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.katran.fleet.plugins.module_utils._kernel.lock import LOCK_ROOT
from ansible_collections.katran.fleet.plugins.module_utils._model.bytecode import Bytecode
from ansible_collections.katran.fleet.plugins.module_utils._model.errors import ProgramError
from ansible_collections.katran.fleet.plugins.module_utils._program import compiler, sources
from ansible_collections.katran.fleet.plugins.module_utils._program.macros import balancer_macros
from ansible_collections.katran.fleet.plugins.module_utils._program.private_folder import private_folder
from ansible_collections.katran.fleet.plugins.module_utils._program.sources import (
    Sources,
    load_sources,
    require_trusted_file,
)
from ansible_collections.katran.fleet.plugins.module_utils._program.toolchain import HostToolchain
from ansible_collections.katran.fleet.tests.engine.host import Outcome, module
from ansible_collections.katran.fleet.tests.engine.life import LINK, changed_sources, wanted
from ansible_collections.katran.fleet.tests.engine.sandbox import BPF, GATEWAY, run, sandbox

COLLECTIONS = Path(__file__).resolve().parents[2] / "collections"
STRANGER = "/run/stranger"
MARK = 4277009102
"""A number that a planted header puts into a program."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _EXCHANGE = -100, 2

MACROS: dict[str, dict[str, int]] = {
    "balancer": balancer_macros(wanted().settings),
    "decap": {"GUE_PORT": 6080},
    "healthcheck": {"GUE_PORT": 6080},
    "root": {},
    "packet_counter": {},
    "server_id_option": {"SERVER_ID": 7},
}


@pytest.fixture(autouse=True)
def host() -> Iterator[None]:
    with sandbox(LINK):
        yield


@contextmanager
def inside(folder: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def plant(folder: str, text: str = "#error planted\n") -> str:
    """A header under every name that our programs or the kernel's headers ask for, wherever it may be looked for."""
    names = [path.name for path in Path(BPF).rglob("*.h")]
    names += [str(path.relative_to(f"{BPF}/include")) for path in Path(BPF, "include").rglob("*.h")]
    names += ["linux/types.h", "linux/bpf.h", "linux/ip.h", "asm/types.h", "include/linux/kconfig.h"]
    names += ["include/uapi/linux/bpf.h", "kernel/include/linux/kconfig.h", "helpers.h", "balancer.bpf.c"]
    for name in names:
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    run("chown", "-R", "1000:1000", folder)
    return folder


HOSTILE = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "BCC_KERNEL_SOURCE", "HOME", "TMPDIR")


@pytest.mark.parametrize("program", MACROS)
def test_what_lies_about_is_compiled_into_no_program(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = HostToolchain()
    plain = tools.compile(BPF, program, MACROS[program])
    plant(STRANGER)
    for name in HOSTILE:
        monkeypatch.setenv(name, STRANGER)
    with inside(STRANGER):
        there = sorted(os.listdir("."))
        found = tools.compile(BPF, program, MACROS[program])
        assert sorted(os.listdir(".")) == there
    assert found.instructions == plain.instructions
    assert os.listdir(LOCK_ROOT) == []


def arguments(name: str) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {
        "balancer": {"interfaces": [LINK], "gateway_mac": GATEWAY, "sizes": {"vips": 32, "ring": 1009, "flows": 4000}},
        "decap": {"interfaces": [LINK], "vips": ["198.51.100.1"]},
        "xdp_root": {"interfaces": [LINK]},
    }
    return {"source_dir": BPF, **found[name]}


@pytest.mark.parametrize("name", ["balancer", "decap", "xdp_root"])
def test_a_module_that_starts_among_planted_headers(name: str) -> None:
    run("ip", "link", "set", "lo", "up")
    plant(STRANGER)
    hostile = ["env", *(f"{each}={STRANGER}" for each in HOSTILE if each != "HOME")]

    def once(**options: Any) -> Outcome:
        with inside(STRANGER):
            return module(name, arguments(name), prefix=hostile, **options)

    foretold = once(check=True)
    assert once()["changes"] == foretold["changes"]
    assert once()["changed"] is False


@pytest.mark.parametrize("header", ["encap.h", "choose.h"])
def test_a_playbook_of_a_local_connection_that_starts_among_planted_headers(header: str, tmp_path: Path) -> None:
    """choose.h as a stranger would change it, so that it compiles."""
    plain = HostToolchain().compile(BPF, "balancer", MACROS["balancer"])
    os.makedirs(STRANGER)
    text = "#error planted\n"
    if header == "choose.h":
        text = Path(BPF, "include", header).read_text(encoding="utf-8").replace("0xffff0000", "0xff000000")
    Path(STRANGER, header).write_text(text, encoding="utf-8")
    options = {**arguments("balancer"), "interfaces": [LINK]}
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False}]
    play[0]["tasks"] = [{"katran.fleet.balancer": options}]  # type: ignore[assignment]
    book = tmp_path / "play.yml"
    book.write_text(json.dumps(play), encoding="utf-8")
    ansible = Path(sys.executable).with_name("ansible-playbook")
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [ansible, "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}", book],
        cwd=STRANGER,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kept = Path("/var/lib/katran-fleet/default/balancer.bytecode.json").read_text(encoding="utf-8")
    assert Bytecode.from_json(kept, "", "balancer").instructions == plain.instructions


def test_the_bytes_that_were_digested_are_compiled() -> None:
    """Whatever has become of the files by then."""
    tools = HostToolchain()
    changing = changed_sources("changing")
    digest = tools.digest(changing, "root", {})
    Path(changing, "root.bpf.c").write_text("#error changed\n", encoding="utf-8")
    assert tools.compile(changing, "root", {}).digest == digest
    # The next run sees them.
    assert tools.digest(changing, "root", {}) != digest
    with pytest.raises(ProgramError, match="changed"):
        tools.compile(changing, "root", {})


def exchange(one: str, other: str) -> None:
    """Swap two names at once (renameat2)."""
    if _LIBC.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2")


@contextmanager
def flipping(one: str, other: str) -> Iterator[None]:
    """Two names that trade places as fast as they can."""
    over = threading.Event()

    def flip() -> None:
        while not over.is_set():
            exchange(one, other)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture(name="evil")
def make_evil() -> str:
    """Sources that compile, with something in them, and do not belong to root."""
    evil = changed_sources("evil", root_bpf_c=("root_array.call(ctx, 0);", f"if (ctx->data == {MARK}) return 1;"))
    run("chown", "-R", "1000:1000", evil)
    return evil


def tries(source_dir: str, times: int = 60) -> tuple[int, int]:
    """Read again and again: how often that was refused, and how often what others wrote came through."""
    refused = won = 0
    for _turn in range(times):
        try:
            found = load_sources(source_dir)
        except ProgramError:
            refused += 1
        else:
            won += str(MARK).encode() in found.files["root.bpf.c"]
    return refused, won


def test_a_source_dir_that_flips_between_two_folders_is_resolved_once(evil: str) -> None:
    os.symlink(BPF, "/run/link")
    os.symlink(evil, "/run/other")
    with flipping("/run/link", "/run/other"):
        refused, won = tries("/run/link", 400)
        assert (refused > 0, won) == (True, 0)
        tools = HostToolchain()
        for _turn in range(6):
            try:
                digest = tools.digest("/run/link", "root", {})
            except ProgramError as error:
                assert "must be owned by root" in str(error)  # noqa: PT017  # either way is right, by what it met
                continue
            made = tools.compile("/run/link", "root", {})
            assert made.digest == digest
            assert MARK.to_bytes(4, "little") not in made.instructions


@pytest.mark.parametrize("place", ["", "include", "include/compiler.h", "root.bpf.c"])
def test_a_folder_or_file_that_trades_places_with_anothers_is_never_read(evil: str, place: str) -> None:
    victim = changed_sources("victim")
    with flipping(os.path.join(victim, place).rstrip("/"), os.path.join(evil, place).rstrip("/")):
        refused, won = tries(victim, 400)
    assert won == 0
    assert refused > 0


@pytest.mark.parametrize("place", ["include/encap.h", "include", "root.bpf.c", "kernel", "kernel/include/linux/log2.h"])
def test_links_among_the_sources_are_refused(place: str) -> None:
    linked = changed_sources("linked")
    path = os.path.join(linked, place)
    (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)
    os.symlink(os.path.join(BPF, place), path)
    with pytest.raises(ProgramError, match=f"^{path} is a symbolic link: sources must be files"):
        HostToolchain().digest(linked, "root", {})


def test_a_pipe_among_the_sources_is_refused_at_once() -> None:
    piped = changed_sources("piped")
    os.mkfifo(f"{piped}/include/pipe.h", 0o600)
    with pytest.raises(ProgramError, match=f"^{piped}/include/pipe.h is not a file: sources must be"):
        HostToolchain().digest(piped, "root", {})


@pytest.mark.parametrize(
    ("mode", "owner", "safe"), [(0o1777, 0, True), (0o1777, 1000, False), (0o777, 0, False), (0o755, 1000, False)]
)
def test_a_folder_above_the_sources_in_which_others_write(mode: int, owner: int, safe: bool) -> None:
    above = os.path.dirname(changed_sources("above/bpf"))
    Path(above).chmod(mode)
    os.chown(above, owner, 0)
    os.symlink(f"{above}/bpf", "/run/link")
    for place in (f"{above}/bpf", "/run/link", f"{above}/../above/bpf/."):
        if safe:
            assert load_sources(place).directory == f"{above}/bpf"
        else:
            with pytest.raises(ProgramError, match=f"^{above} must be owned by root and not writable by others"):
                load_sources(place)


def test_a_header_that_came_from_elsewhere_is_named() -> None:
    """A way in that nobody thought of: here, the system's own headers are a stranger's."""
    run("mount", "-t", "tmpfs", "tmpfs", "/mnt")
    shutil.copytree("/usr/include/linux", "/mnt/linux")
    run("mount", "--bind", "/mnt/linux", "/usr/include/linux")
    os.chown("/usr/include/linux/if_packet.h", 1000, 0)
    with pytest.raises(ProgramError, match=r"^/usr/include/linux/if_packet\.h must be owned by root"):
        HostToolchain().compile(BPF, "root", {})
    os.chown("/usr/include/linux/if_packet.h", 0, 0)
    HostToolchain().compile(BPF, "root", {})


def test_every_source_is_among_the_headers_that_were_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler tells of every header it reads, those that bcc includes by itself too."""
    seen: list[str] = []

    def spy(headers: Any, copy: str, files: Any) -> None:
        seen.extend(os.path.relpath(os.path.normpath(f"{copy}/kernel/{each}"), copy) for each in headers)
        assert files

    monkeypatch.setattr(compiler, "_require_known", spy)
    HostToolchain().compile(BPF, "root", {})
    assert {"kernel/include/linux/kconfig.h", "kernel/include/asm/page.h"} <= set(seen)


def test_sources_that_include_what_is_nobodys_business() -> None:
    """An absolute path in the sources leads to root's files alone."""
    os.makedirs(STRANGER)
    Path(STRANGER, "own.h").write_text("/* nothing */\n", encoding="utf-8")
    os.chown(STRANGER, 1000, 1000)
    asking = changed_sources("asking")
    main = Path(asking, "root.bpf.c")
    main.write_text(f'#include "{STRANGER}/own.h"\n' + main.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ProgramError, match=f"^{STRANGER} must be owned by root"):
        HostToolchain().compile(asking, "root", {})


# The folder of the compiler


def test_the_compilers_folder_is_nobody_elses_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/tmp")
    before = os.umask(0)
    try:
        with private_folder({"a/b.h": b"text"}) as folder:
            assert os.path.dirname(folder) == LOCK_ROOT
            assert [os.stat(path).st_mode & 0o777 for path in (LOCK_ROOT, folder)] == [0o700, 0o700]
            assert Path(folder, "a/b.h").read_bytes() == b"text"
    finally:
        os.umask(before)
    assert os.listdir(LOCK_ROOT) == []


def test_what_a_killed_compiler_left_is_swept() -> None:
    """And not what another run works in, wherever its process ids are counted."""
    os.makedirs(f"{LOCK_ROOT}/compile-left/sources")
    with private_folder({}) as mine, private_folder({}) as other:
        assert sorted(os.listdir(LOCK_ROOT)) == sorted(map(os.path.basename, (mine, other)))
    assert os.listdir(LOCK_ROOT) == []


@pytest.mark.parametrize(("mode", "owner"), [(0o777, 0), (0o1777, 0), (0o700, 1000)])
def test_a_place_in_which_others_write_is_no_place_for_it(mode: int, owner: int) -> None:
    os.makedirs(LOCK_ROOT)
    Path(LOCK_ROOT).chmod(mode)
    os.chown(LOCK_ROOT, owner, 0)
    with pytest.raises(ProgramError, match=f"^{LOCK_ROOT} must be owned by root"):
        HostToolchain().compile(BPF, "root", {})


def test_no_room_for_it_is_a_sentence() -> None:
    os.makedirs(LOCK_ROOT)
    run("mount", "-t", "tmpfs", "-o", "size=8k,mode=700", "tmpfs", LOCK_ROOT)
    with pytest.raises(ProgramError, match="No space left on device"):
        HostToolchain().compile(BPF, "root", {})
    assert os.listdir(LOCK_ROOT) == []


def test_a_trusted_file_is_roots_by_its_whole_path() -> None:
    os.makedirs("/run/a/b")
    Path("/run/a/b/c.h").write_bytes(b"")
    os.symlink("/run/a/b", "/run/l")
    require_trusted_file("/run/l/c.h")
    for path in ("/run/a", "/run/a/b", "/run/a/b/c.h"):
        os.chown(path, 1000, 0)
        with pytest.raises(ProgramError, match=f"^{path} must be owned by root"):
            require_trusted_file("/run/l/c.h")
        os.chown(path, 0, 0)
    with pytest.raises(FileNotFoundError):
        require_trusted_file("/run/l/d.h")


def test_digests_are_of_the_same_files_as_ever() -> None:
    """A host whose sources did not change compiles nothing for the way in which they are read."""
    found = load_sources(BPF)
    assert sorted(found.files) == sorted(
        os.path.relpath(path, BPF) for path in Path(BPF).rglob("*") if path.suffix in (".c", ".h")
    )
    assert found.digests() == sources.read_sources(BPF)
    given = Sources(BPF, found.files)
    assert sources.source_digest(given, "root", {}) == sources.source_digest(BPF, "root", {})
