# SPDX-License-Identifier: GPL-3.0-or-later
"""katran.fleet.plan as operators and pipelines run it: what it says, where it writes it, and its exit status."""

from __future__ import annotations

import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ansible_collections.katran.fleet.tests.engine.playbooks import ROOT, Done, run_playbook

INVENTORY = """
all:
  vars:
    ansible_connection: local
    ansible_python_interpreter: /bin/false
    katran_interfaces: [eth0]
    katran_vips:
      - {address: 198.51.100.1, port: 443, protocol: tcp, reals: "{{ groups['reals'] | katran.fleet.reals }}"}
      - {address: 198.51.100.2, port: 443, protocol: tcp, reals: "{{ groups['reals'] | katran.fleet.reals }}"}
  children:
    balancers:
      hosts: {lb1: , lb2: , lb3: }
      vars: {katran_sync_key: "{{ vault_sync_key }}"}
    reals:
      hosts:
        r1: {katran_real_address: 10.0.0.1}
        r2: {katran_real_address: 10.0.0.2}
        r3: {katran_real_address: 10.0.0.3}
"""
WORD = "correct horse"
VALUE = "c2l4dGVlbiBieXRlcyBvciB0aGlydHktdHdvIGhlcmU="


def plan(folder: Path, *arguments: str, **environment: str) -> Done:
    # Display wraps what it says to the width of a terminal.
    more = {"COLUMNS": "500", "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), **environment}
    return run_playbook("katran.fleet.plan", *arguments, cwd=folder, timeout=120, **more)


def git(folder: Path, *words: str) -> str:
    person = ("-c", "user.name=t", "-c", "user.email=t@example.net")
    return subprocess.run(["git", *person, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose branch main has an inventory with an encrypted file that nobody here can open."""
    inventory = tmp_path / "site"
    (inventory / "group_vars/balancers").mkdir(parents=True)
    (inventory / "hosts.yml").write_text(INVENTORY)
    secret = tmp_path / "secret"
    secret.write_text(WORD)
    vault = inventory / "group_vars/balancers/vault.yml"
    vault.write_text(f"vault_sync_key: {VALUE}\n")
    encrypt = [sys.executable, "-m", "ansible", "vault", "encrypt", "--vault-password-file", str(secret), str(vault)]
    subprocess.run(encrypt, check=True, capture_output=True)
    git(tmp_path, "init", "-q", "-b", "main", ".")
    git(tmp_path, "add", "site")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def weigh(repository: Path, weight: int) -> None:
    hosts = repository / "site/hosts.yml"
    hosts.write_text(hosts.read_text().replace("10.0.0.2}", f"10.0.0.2, katran_real_weight: {weight}}}"))


def test_a_branch_against_main(repository: Path) -> None:
    left = set(glob.glob(f"{tempfile.gettempdir()}/katran-plan-*"))
    secret = ("--vault-password-file", "secret", "-i", "site", "-e", "katran_plan_old=main")
    same = plan(repository, *secret)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "nothing changes" in same.stdout
    weigh(repository, 4)
    written = ("-e", "katran_plan_json=plan.json", "-e", "katran_plan_markdown=plan.md")
    done = plan(repository, *secret, *written)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "all 3 balancers: lb1–lb3" in done.stdout
    assert re.search(r"2 VIPs \(.*\): weight of 10\.0\.0\.2 1 → 4; \d+\.\d % of their flows move", done.stdout)
    told = json.loads((repository / "plan.json").read_text())
    assert (told["exit_status"], told["hosts"]) == (2, {"balancer": 3, "real": 3})
    (delta,) = told["deltas"]
    assert delta["hosts"] == ["lb1", "lb2", "lb3"]
    assert delta["operations"]["vips"]["ch_rings"] == sum(vip["moved"] for vip in delta["vips"])
    assert delta["changes"]["vips"] == [f"vip 198.51.100.{n}:443/tcp: weight of 10.0.0.2 1 → 4" for n in (1, 2)]
    markdown = (repository / "plan.md").read_text()
    assert markdown.startswith("### katran.fleet plan: changes\n\n```text\nplan: main → ")
    # Neither a folder nor a worktree is left.
    assert set(glob.glob(f"{tempfile.gettempdir()}/katran-plan-*")) == left
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert git(repository, "status", "--porcelain", "site").strip() == "M site/hosts.yml"


def test_without_the_secret_and_without_a_run_s_inventory(repository: Path) -> None:
    weigh(repository, 4)
    git(repository, "commit", "-qam", "second")
    done = plan(repository, "-e", "katran_plan_old=HEAD~1:site", "-e", "katran_plan_new=HEAD:site")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "weight of 10.0.0.2 1 → 4" in done.stdout
    assert "is encrypted, and no secret opens it" in done.stdout


def test_all_faults_of_the_new_one_are_told(repository: Path) -> None:
    hosts = repository / "site/hosts.yml"
    hosts.write_text(
        hosts.read_text().replace("lb2: ,", "lb2: {katran_udp_timeout: -1},").replace("10.0.0.3}", "10.0.0.300}")
    )
    done = plan(repository, "--vault-password-file", "secret", "-i", "site", "-e", "katran_plan_old=main")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "  lb2: udp_timeout: -1 is not in 1 to 86400" in done.stdout
    assert re.search(r"^  r3: katran_real_address.*10\.0\.0\.300", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-i", "site"], "katran_plan_old is missing: give what to compare with"),
        (["-i", "site", "-e", "katran_plan_old=nowhere"], "nowhere is no path, and no revision of"),
        (["-e", "katran_plan_old=main"], "main is no path, and as a git revision it needs an inventory"),
        (["-e", "katran_plan_old=main:nowhere", "-e", "katran_plan_new=site"], "main has no nowhere"),
        (["-e", "katran_plan_old=--output=x:site", "-e", "katran_plan_new=site"], "neither a path nor a git revision"),
        (["-i", "site", "-e", "katran_plan_old=main", "-e", "katran_plan_json=no/such/x.json"], "no folder no/such"),
        (["-i", "site", "-e", "katran_plan_old=main", "-e", "katran_plan_json=site"], "site is a folder"),
    ],
)
def test_what_cannot_be_compared_is_an_error(repository: Path, arguments: list[str], sentence: str) -> None:
    done = plan(repository, "--vault-password-file", "secret", *arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_saved_inventories_with_names_that_mean_harm(repository: Path) -> None:
    secret = ("--vault-password-file", "secret")
    export = [sys.executable, "-m", "ansible", "inventory", "-i", "site", "--list", "--export", *secret]
    weigh(repository, 4)
    saved = subprocess.run(export, cwd=repository, check=True, capture_output=True, text=True).stdout
    (repository / "new.json").write_text(saved)
    found = json.loads(saved)
    found["balancers"]["hosts"].append("lb9````</details>@all\x1b[2J\u202e")
    found["balancers"]["vars"]["vault_sync_key"] = {"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n6136\n"}
    (repository / "old.json").write_text(json.dumps(found))
    written = ("-e", "katran_plan_markdown=plan.md", "-e", "katran_plan_json=plan.json")
    done = plan(repository, "-e", "katran_plan_old=old.json", "-e", "katran_plan_new=new.json", *written)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "1 balancer removed: lb9````</details>@all\\u001b[2J\\u202e" in done.stdout
    markdown = (repository / "plan.md").read_text().splitlines()
    assert (markdown[2], markdown[-1]) == ("`````text", "`````")
    # The key is another, and nobody reads it.
    assert "sync_key: changed" in done.stdout
    everything = done.stdout + done.stderr + (repository / "plan.json").read_text() + "\n".join(markdown)
    assert VALUE not in everything


def test_a_limit_is_a_limit(repository: Path) -> None:
    weigh(repository, 4)
    told = ("--vault-password-file", "secret", "-i", "site", "-e", "katran_plan_old=main")
    done = plan(repository, *told, "--limit", "lb2")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "\n1 balancer: lb2\n" in done.stdout
    assert "lb1" not in done.stdout
    assert plan(repository, *told, "--syntax-check").returncode == 0


def test_the_folder_of_a_plan_that_is_killed_goes(tmp_path: Path) -> None:
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from ansible_collections.katran.fleet.plugins.plugin_utils.revisions import swept_folder\n"
        "with swept_folder() as folder:\n"
        "    print(folder, flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(ROOT / "collections")]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
        holder.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()
