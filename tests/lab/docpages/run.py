# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages, run: a working directory as readers have it, and each command of a page in it or on a host."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fleetlab.fleet import ansible_environment
from fleetlab.plan import PROJECT
from fleetlab.runs import TOOL

from docpages.match import missing
from docpages.page import Page, PageError, Skip, Step, Text

# More on a machine that has other work.
_TIMEOUT = float(os.environ.get("KATRAN_PAGE_SECONDS") or 400)
# What a command leaves in the shell (directory, variables, functions) is there for the next one.
_SHELL = """\
[ ! -f "$DOCPAGES_STATE" ] || . "$DOCPAGES_STATE" 2>/dev/null
__docpages_keep() {{
    __docpages_status=$?
    # What bash does not let go is declared in vain.
    {{ declare -p; declare -f; printf 'cd %q\\n' "$PWD"; }} >"$DOCPAGES_STATE"
    exit $__docpages_status
}}
trap __docpages_keep EXIT
{mode}
{command}
"""


class NotSoError(Exception):
    """A command did not do what its page says; the text has the command, what was expected, and what was seen."""


def working_directory(place: Path) -> Path:
    """Make the directory in which pages run: the laboratory's inventory, in a git repository with one commit.

    `inventory/` is inventories/lab, `ansible.cfg` the clone's; branch main is pushed
    to a remote, so that origin/main is known.
    """
    work = place / "work"
    copied = work / "inventory"
    copied.parent.mkdir(parents=True)
    subprocess.run(["cp", "-r", "--", PROJECT / "inventories/lab", copied], check=True)
    connection = copied / "group_vars/all/connection.yml"
    text = connection.read_text(encoding="utf-8")
    here = text.replace("{{ inventory_dir }}/../../tests/lab/lab", TOOL)
    assert here != text, f"{connection} does not name the proxy as it did"
    connection.write_text(here, encoding="utf-8")
    config = (PROJECT / "ansible.cfg").read_text(encoding="utf-8")
    config = re.sub(r"(?m)^collections_path = .*$", f"collections_path = {PROJECT}/collections", config)
    config = re.sub(r"(?m)^callback(_plugins|s_enabled) = .*\n", "", config)
    (work / "ansible.cfg").write_text(config, encoding="utf-8")
    environment = os.environ | _GIT
    for words in (
        ("init", "-q", "-b", "main"),
        ("add", "."),
        ("commit", "-q", "-m", "The fleet as it is"),
        ("clone", "-q", "--bare", ".", str(place / "origin.git")),
        ("remote", "add", "origin", str(place / "origin.git")),
        ("push", "-q", "-u", "origin", "main"),
    ):
        subprocess.run(["git", *words], cwd=work, env=environment, check=True)
    return work


_GIT = {
    **{f"GIT_{who}_{what}": text for who in ("AUTHOR", "COMMITTER") for what, text in
       (("NAME", "Jane"), ("EMAIL", "jane@example.net"))},
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}  # fmt: skip


def merged(text: str, block: str) -> str:
    """A YAML file's text with the top-level keys of a block: in the place of those of that name, else at the end."""
    if not text.strip():
        return block
    pieces = _top_level(text)
    for name, part in _top_level(block)[1:]:
        at = next((number for number, piece in enumerate(pieces) if piece[0] == name), None)
        if at is None:
            pieces[-1] = (pieces[-1][0], pieces[-1][1].rstrip("\n") + "\n")
            pieces.append((name, part))
        else:
            pieces[at] = (name, part)
    return "".join(part for _, part in pieces)


def _top_level(text: str) -> list[tuple[str, str]]:
    """Top-level keys, each with its lines; what stands before the first one has no name."""
    pieces = [("", "")]
    for line in text.splitlines(keepends=True):
        key = re.match(r"^(['\"]?)([A-Za-z_][\w.-]*)\1\s*:", line)
        if key:
            pieces.append((key[2], line))
        else:
            pieces[-1] = (pieces[-1][0], pieces[-1][1] + line)
    return pieces


@dataclass
class Runner:
    """Runs a page's parts in a working directory, against a laboratory by its name (none: no host is there).

    *tools*: a directory of commands that come before all others.
    """

    work: Path
    lab: str
    environment: dict[str, str] = field(default_factory=dict)
    say: Callable[[str], None] = lambda _text: None
    tools: str = ""
    _groups: list[int] = field(default_factory=list)

    def page(self, page: Page, name: str) -> None:
        """Run a page to its end. NotSoError at the first command that does not do what the page says."""
        try:
            for part in page.parts:
                match part:
                    case Skip(line, reason):
                        self.say(f"{name}:{line}: skipped: {reason}")
                    case Text():
                        self.write(part, name)
                    case Step():
                        self.step(part, name)
        finally:
            self._end()

    def write(self, text: Text, name: str) -> None:
        """Write a block to its file in the working directory."""
        path = self.work / text.path
        beside = path.with_suffix("")
        if path.suffix in {".yml", ".yaml", ".json"} and beside.is_dir() and "_vars" in text.path:
            raise PageError(f"{name}:{text.line}: Ansible reads {beside.name}/ and not {path.name}: name a file in it")
        path.parent.mkdir(parents=True, exist_ok=True)
        content = text.content
        if text.merge:
            content = merged(path.read_text(encoding="utf-8") if path.exists() else "", content)
        path.write_text(content, encoding="utf-8")
        if content.startswith("#!"):
            path.chmod(0o755)
        self.say(f"{name}:{text.line}: {'merged into' if text.merge else 'wrote'} {text.path}")

    def step(self, step: Step, name: str) -> str:
        """Run a command until it does what its page shows, or its time is up; returns what was seen."""
        begin = time.monotonic()
        while True:
            status, seen = self._command(step)
            absent = missing(step.shown, seen)
            if (status == step.status and not absent) or time.monotonic() - begin >= step.within:
                break
            time.sleep(0.5)
        prompt = f"{step.host}# " if step.host else "$ "
        self.say(f"{name}:{step.line}: {time.monotonic() - begin:5.1f} s  {prompt}{step.command.splitlines()[0]}")
        if status != step.status or absent:
            what = f"exit status {status}, not {step.status}" if status != step.status else f"not seen: {absent}"
            expected = "\n".join(f"    {line}" for line in step.shown) or "    (nothing in particular)"
            raise NotSoError(
                f"{name}:{step.line}: {what}\n  command:\n    {prompt}{step.command}\n"
                f"  expected (exit status {step.status}):\n{expected}\n"
                f"  seen (exit status {status}):\n" + "\n".join(f"    {line}" for line in seen.splitlines()[-150:])
            )
        return seen

    def _command(self, step: Step) -> tuple[int, str]:
        if step.host:
            words = [TOOL, "--lab", self.lab, "shell", step.host, step.command]
        else:
            mode = "set -euo pipefail" if step.strict else ""
            words = ["bash", "--noprofile", "--norc", "-c", _SHELL.format(mode=mode, command=step.command)]
        output = self.work.parent / "output"
        # Not a pipe: what a command leaves running would keep it open.
        with open(output, "wb") as file:
            process = subprocess.Popen(
                words,
                cwd=self.work,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.append(process.pid)
            try:
                status = process.wait(_TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                status = process.wait()
                file.write(f"\n(ended after {_TIMEOUT:g} s)\n".encode())
        return status, output.read_text(encoding="utf-8", errors="replace")

    def _environment(self) -> dict[str, str]:
        home = self.work.parent / "home"
        home.mkdir(exist_ok=True)
        bin_ = PROJECT / ".cache/venv/bin"
        around = {
            name: value
            for name, value in ansible_environment(self.lab).items()
            if not name.startswith(("KATRAN_WORK", "PYTEST", "PYTHON", "VIRTUAL_ENV"))
        }
        return around | _GIT | {
            "HOME": str(home),
            "PATH": os.pathsep.join(filter(None, (self.tools, str(bin_), os.environ["PATH"]))),
            "COLUMNS": "160",
            "LANG": "C.UTF-8",
            "CLONE": str(PROJECT),
            "NO_COLOR": "1",
            "DOCPAGES_STATE": str(self.work.parent / "shell"),
            **self.environment,
        }  # fmt: skip

    def _end(self) -> None:
        """End what commands left running."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self._groups.clear()
