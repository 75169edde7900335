# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller as somebody has it who begins: Python, ssh that reaches hosts by their names, and the built collection.

Nothing of the clone is in its way: no venv, no ansible.cfg, no linked collections/.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from fleetlab.fleet import ansible, ansible_environment
from fleetlab.plan import PROJECT, Lab
from fleetlab.runs import TOOL

from docpages.run import Runner

# What somebody has in ~/.ssh/config, or gets by names that resolve and a key that hosts know.
_SSH = """\
Host {names}
  HostName %h.{lab}.invalid
  User root
  IdentityFile {key}
  ProxyCommand '{tool}' proxy %h %p
  ProxyUseFdpass yes
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
  LogLevel ERROR
"""


def artifact(place: Path) -> Path:
    """Build the collection as a release does; the file that Galaxy would have."""
    command = [ansible("ansible-galaxy"), "collection", "build", str(PROJECT), "--output-path", str(place)]
    subprocess.run(command, cwd=place, env=ansible_environment(""), check=True, capture_output=True)
    (built,) = place.glob("katran-fleet-*.tar.gz")
    return built


def tools(place: Path, lab: Lab) -> Path:
    """A directory for PATH with an ssh that knows the laboratory's hosts by their plain names."""
    directory = place / "bin"
    directory.mkdir()
    config = place / "ssh_config"
    names = " ".join(host.name for host in lab.hosts)
    config.write_text(_SSH.format(names=names, lab=lab.prefix, key=lab.key, tool=TOOL), encoding="utf-8")
    ssh = directory / "ssh"
    ssh.write_text(f"#!/bin/sh\nexec /usr/bin/ssh -F '{config}' \"$@\"\n", encoding="utf-8")
    ssh.chmod(0o755)
    return directory


def runner(place: Path, lab: Lab, say: Callable[[str], None]) -> Runner:
    """Who runs a page in an empty directory below `place`, with the collection built for KATRAN_ARTIFACT."""
    work = place / "work"
    work.mkdir(parents=True)
    elsewhere = [each for each in os.environ["PATH"].split(os.pathsep) if not each.startswith(str(PROJECT))]
    environment = {
        "PATH": os.pathsep.join([str(tools(place, lab)), *elsewhere]),
        "KATRAN_ARTIFACT": str(artifact(place)),
    }
    return Runner(work, lab.prefix, environment, say)
