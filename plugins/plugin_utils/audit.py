# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs a play, and at which revision of its inventory: what the balancers' journals and histories are told."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import typing as t
import uuid
from collections.abc import Mapping

from jinja2.runtime import Context

from ansible_collections.katran.fleet.plugins.module_utils._model.audit import harmless

USERS = ("GITLAB_USER_LOGIN", "GITHUB_ACTOR", "SUDO_USER")
"""Environment variables that say who is behind the user of this process, the first before the others."""

AWX_USERS = ("awx_user_name", "tower_user_name")
"""Ansible variables by which AWX says who started a job."""

_SECONDS = 5


def audit_of(run: str, variables: Mapping[str, t.Any], environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Run, user and revision, "" where one is not known.

    `variables`: Ansible's, of any host; `inventory_dir` among them says whose revision counts.
    """
    found = os.environ if environment is None else environment
    folder = variables.get("inventory_dir")
    user = next((str(variables[name]) for name in AWX_USERS if variables.get(name)), "") or _user(found)
    revision = revision_of(str(folder), found) if folder else ""
    return {"run": run, "user": harmless(user, 64), "revision": harmless(revision, 128)}


def audit_here(context: Context) -> dict[str, str]:
    """The same of a run of its own. `context`: the variables of a template."""
    names = ("inventory_dir", *AWX_USERS)
    return audit_of(uuid.uuid4().hex, {name: context[name] for name in names if name in context})


def audit_text(told: Mapping[str, str]) -> str:
    """The same as the modules read it."""
    return json.dumps({name: told.get(name, "") for name in ("run", "user", "revision")})


def _user(environment: Mapping[str, str]) -> str:
    for name in USERS:
        if environment.get(name):
            return environment[name]
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        # A user without a name, as in a container.
        return str(os.getuid())


def revision_of(folder: str, environment: Mapping[str, str]) -> str:
    """The git revision of a folder, with +dirty where what is in it is not as committed; "" where there is none."""
    head = _git(folder, environment, "rev-parse", "--short=12", "HEAD")
    if not head:
        return ""
    # Of a large repository, only the folder is looked at.
    changed = _git(folder, environment, "status", "--porcelain", "--", ".")
    return f"{head}+dirty" if changed or changed is None else head


def _git(folder: str, environment: Mapping[str, str], *words: str) -> str | None:
    """What git says; None where it cannot."""
    # A hook's environment speaks of another repository.
    kept = {name: value for name, value in environment.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", folder, *words],
            env={**kept, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
