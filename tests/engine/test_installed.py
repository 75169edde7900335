# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules take the engine that is installed on the host only where it is the payload's own, and root's alone."""

from __future__ import annotations

import fcntl
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "ansible_collections/katran/fleet/plugins/module_utils"
ROOMS = ("_model", "_kernel", "_program", "_engine")
ASK = """
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, PAYLOAD)
from ansible_collections.katran.fleet.plugins.module_utils._ansible.installed import prefer_installed
used = prefer_installed(ENGINE, LOCK)
from ansible_collections.katran.fleet.plugins.module_utils._model import ids
from ansible_collections.katran.fleet.plugins.module_utils._engine import restore
from ansible_collections.katran.fleet.plugins.module_utils._ansible import diffs
print(used, getattr(ids, "PLANTED", ""), ids.__file__, restore.__file__, diffs.__file__)
"""


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Ansible sends, as far as it matters: a zip with the engine's files, and empty packages above."""
    path = tmp_path_factory.mktemp("payload") / "module.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for depth in range(1, len(PACKAGE.split("/")) + 1):
            archive.writestr("/".join([*PACKAGE.split("/")[:depth], "__init__.py"]), "")
        for room in (*ROOMS, "_ansible"):
            for source in sorted((ROOT / "plugins/module_utils" / room).glob("*.py")):
                archive.write(source, f"{PACKAGE}/{room}/{source.name}")
    return path


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """The same files as they are installed. Every folder above a test's own is root's alone but /tmp."""
    place = Path("/var/lib") / f"katran-installed-{os.getpid()}"
    folder = place / PACKAGE
    for room in ROOMS:
        (folder / room).mkdir(parents=True)
        for source in (ROOT / "plugins/module_utils" / room).glob("*.py"):
            (folder / room / source.name).write_bytes(source.read_bytes())
    subprocess.run(["chown", "-R", "root:root", place], check=True)
    subprocess.run(["chmod", "-R", "go-w", place], check=True)
    yield folder  # type: ignore[misc]
    subprocess.run(["rm", "-rf", place], check=True)


def ask(payload: Path, engine: Path) -> list[str]:
    """Whether the installed engine is used, and where its modules and ours came from."""
    names = {"PAYLOAD": str(payload), "ENGINE": str(engine), "LOCK": str(engine.parent / "lock")}
    code = ASK
    for name, value in names.items():
        code = code.replace(name, repr(value), 1) if name == "PAYLOAD" else code.replace(name, repr(value))
    done = subprocess.run(["/usr/bin/python3", "-I", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n").split(" ")


def test_the_same_engine_is_taken_from_the_host(payload: Path, engine: Path) -> None:
    used, _planted, ids, restore, diffs = ask(payload, engine)
    assert used == "True"
    assert ids == f"{engine}/_model/ids.py"
    assert restore == f"{engine}/_engine/restore.py"
    # What glues it to Ansible is the payload's.
    assert diffs.startswith(str(payload))


def change_a_byte(engine: Path) -> None:
    path = engine / "_model/ids.py"
    path.write_text(path.read_text() + "\n")


def remove_a_file(engine: Path) -> None:
    (engine / "_model/ids.py").unlink()


def let_a_group_write(engine: Path) -> None:
    (engine / "_engine/restore.py").chmod(0o664)


def let_all_write_a_folder(engine: Path) -> None:
    (engine / "_engine").chmod(0o777)


def let_all_write_above(engine: Path) -> None:
    engine.parents[2].chmod(0o777)


def give_it_to_nobody(engine: Path) -> None:
    os.chown(engine / "_kernel/bpf.py", 65534, 65534)


def link_a_file(engine: Path) -> None:
    path = engine / "_model/ids.py"
    path.rename(engine / "elsewhere.py")
    path.symlink_to(engine / "elsewhere.py")


def link_a_folder(engine: Path) -> None:
    (engine / "_model").rename(engine / "elsewhere")
    (engine / "_model").symlink_to(engine / "elsewhere")


@pytest.mark.parametrize(
    "spoil",
    [
        change_a_byte,
        remove_a_file,
        let_a_group_write,
        let_all_write_a_folder,
        let_all_write_above,
        give_it_to_nobody,
        link_a_file,
        link_a_folder,
    ],
)
def test_any_doubt_means_the_payload(payload: Path, engine: Path, spoil: Callable[[Path], None]) -> None:
    spoil(engine)
    used, _planted, *places = ask(payload, engine)
    assert used == "False"
    assert all(place.startswith(str(payload)) for place in places)


def test_nothing_is_installed(payload: Path, tmp_path: Path) -> None:
    assert ask(payload, tmp_path / "nowhere/x")[0] == "False"


def test_while_it_is_being_installed_the_payload_is_used(payload: Path, engine: Path) -> None:
    with open(engine.parent / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ask(payload, engine)[0] == "False"
    assert ask(payload, engine)[0] == "True"


def test_a_compiled_file_never_stands_for_another_source(payload: Path, engine: Path) -> None:
    """As module host compiles them: the hash of the source is compared at each import."""
    source = engine / "_model/ids.py"
    kept = source.read_bytes()
    source.write_bytes(kept + b"\nPLANTED = 'planted'\n")
    compile_all = ["/usr/bin/python3", "-I", "-m", "compileall", "-qq", "--invalidation-mode", "checked-hash"]
    subprocess.run([*compile_all, str(engine)], check=True)
    times = source.stat()
    source.write_bytes(kept)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    used, planted, *_places = ask(payload, engine)
    assert (used, planted) == ("True", "")
