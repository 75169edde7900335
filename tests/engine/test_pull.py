# SPDX-License-Identifier: GPL-3.0-or-later
"""What katran-pull does on a host: a real repository, real git, the real ansible-playbook."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jinja2 import Environment, StrictUndefined

ROLE = Path(__file__).resolve().parents[2] / "roles/pull"
PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        content: "{{ word }}"
        dest: "{{ playbook_dir }}/{{ inventory_hostname }}.txt"
        mode: "0644"
"""


class Site:
    """A repository, and a host that pulls it."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "origin"
        self.repository.mkdir()
        self.state = folder / "state"
        self.metrics = folder / "katran_pull.prom"
        self.settings = {
            "repository": str(self.repository),
            "branch": "main",
            "folder": str(folder / "state/checkout"),
            "state_folder": str(self.state),
            "inventory": "hosts.yml",
            "host": "lb1",
            "playbook": "site.yml",
            "arguments": [],
            "ansible_playbook": str(Path(sys.executable).with_name("ansible-playbook")),
            "collections_path": "",
            "verify": False,
            "allowed_signers": "",
            "metrics": str(self.metrics),
        }
        self.file = folder / "settings.json"
        self.key = folder / "key"
        self.git("init", "-q", "-b", "main", ".")
        (self.repository / "site.yml").write_text(PLAYBOOK)
        self.commit("one")

    def git(self, *words: str) -> None:
        person = ("-c", "user.name=t", "-c", "user.email=t@example.net", "-c", "gpg.format=ssh")
        subprocess.run(["git", *person, *words], cwd=self.repository, check=True, capture_output=True)

    def commit(self, word: str, *more: str) -> None:
        (self.repository / "hosts.yml").write_text(
            f"all: {{hosts: {{lb1: , lb2: {{ansible_connection: ssh}}}},"
            f" vars: {{word: {word}, ansible_python_interpreter: {sys.executable}}}}}\n"
        )
        self.git("add", ".")
        self.git("commit", "-qm", word, *more)

    def command(self) -> list[str]:
        self.file.write_text(json.dumps(self.settings))
        return [sys.executable, str(ROLE / "files/katran-pull"), str(self.file)]

    def pull(self) -> tuple[int, str]:
        """(exit status, its last line)."""
        done = subprocess.run(self.command(), capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stdout + done.stderr
        return done.returncode, done.stdout.strip().splitlines()[-1]

    def told(self, name: str) -> float:
        found = re.search(rf"^katran_pull_{name} (\S+)$", self.metrics.read_text(), re.MULTILINE)
        assert found is not None
        return float(found[1])

    @property
    def applied(self) -> str:
        return (self.state / "checkout/lb1.txt").read_text()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_it_applies_the_branch_to_this_host_alone_and_tells_failures(site: Site) -> None:
    status, line = site.pull()
    assert (status, site.applied) == (0, "one"), line
    assert not (site.state / "checkout/lb2.txt").exists()
    first = site.told("last_success_timestamp_seconds")
    assert (site.told("failed"), site.told("last_run_timestamp_seconds")) == (0, first)
    # What somebody does in the checkout, or to the branch's past, is nothing.
    (site.state / "checkout/site.yml").write_text("[]")
    site.commit("two", "--amend")
    assert (site.pull()[0], site.applied) == (0, "two")
    good = site.told("last_success_timestamp_seconds")
    site.commit("'{{ nowhere }}'")
    assert site.pull() == (1, "katran-pull: not applied: site.yml ended with status 2")
    assert (site.told("failed"), site.told("last_success_timestamp_seconds")) == (1, good)
    shutil.rmtree(site.repository)
    status, line = site.pull()
    assert status == 1
    assert line.startswith("katran-pull: not applied: git fetch: ")


def test_a_checkout_that_a_power_cut_left_is_mended(site: Site) -> None:
    (site.repository / "site.yml").write_text("[{hosts: all, gather_facts: false}]")
    site.commit("quick")
    folder = site.state / "checkout/.git"
    assert site.pull()[0] == 0
    for name in ("index.lock", "shallow.lock"):
        (folder / name).touch()
    status, line = site.pull()
    assert status == 0, line
    for path in folder.glob("objects/??/*"):
        path.chmod(0o644)
        path.write_bytes(b"")
    (site.state / "last.json").write_text("[]")
    status, line = site.pull()
    assert status == 0, line


@pytest.mark.parametrize(
    ("name", "text", "sentence"), [("none.yml", "", "the repository has no none.yml"), ("bad.yml", "a: [", "status 1")]
)
def test_an_inventory_that_cannot_be_read_is_a_failure(site: Site, name: str, text: str, sentence: str) -> None:
    if text:
        (site.repository / name).write_text(text)
        site.commit("one")
    site.settings["inventory"] = name
    (site.state).mkdir()
    (site.state / "last.json").write_text("[]")
    status, line = site.pull()
    assert (status, site.told("failed")) == (1, 1), line
    assert sentence in line


def test_what_nobody_signed_is_not_even_checked_out(site: Site) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(site.key)], check=True)
    public = site.key.with_suffix(".pub").read_text()
    signers = site.key.with_suffix(".signers")
    signers.write_text(f"t@example.net {public}")
    site.settings |= {"verify": True, "allowed_signers": str(signers)}
    status, line = site.pull()
    assert (status, "has no signature that counts here" in line) == (1, True)
    assert not (site.state / "checkout/site.yml").exists()
    site.git("-c", f"user.signingkey={site.key}", "commit", "--amend", "-S", "-qm", "signed")
    status, line = site.pull()
    assert (status, site.applied) == (0, "one"), line


def test_one_run_at_a_time_and_one_that_is_stopped_has_failed(site: Site) -> None:
    site.state.mkdir()
    with (site.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert site.pull() == (0, "katran-pull: another run is at it")
    assert not site.metrics.exists()
    (site.repository / "site.yml").write_text("[{hosts: all, gather_facts: false, tasks: [{pause: {seconds: 50}}]}]")
    site.commit("slow")
    with subprocess.Popen(site.command(), stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert run.stdout is not None
        assert "is to be as commit" in run.stdout.readline()
        time.sleep(0.5)
        # As systemd does: the command first, then what is left of the group.
        run.terminate()
        rest = run.stdout
        deadline = time.monotonic() + 20
        while not site.metrics.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(run.pid, 9)
        assert "not applied: stopped by SIGTERM" in rest.read()
    assert (site.told("failed"), site.told("last_success_timestamp_seconds")) == (1, 0)


def test_the_units_are_valid(tmp_path: Path) -> None:
    values = {"pull_interval": "1h", "pull_delay": "15min", "pull_timeout": "30min"}
    for name in ("katran-pull.service", "katran-pull.timer"):
        text = (ROLE / "templates" / f"{name}.j2").read_text()
        (tmp_path / name).write_text(
            Environment(undefined=StrictUndefined, autoescape=True).from_string(text).render(values)
        )
    verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / "katran-pull.timer")]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
