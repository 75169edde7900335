# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.plugins.action import ActionBase

from ansible_collections.katran.fleet.plugins.module_utils._model.rollout import Host, Ruling, rule, told

OPTIONS = {
    "preflight": {"type": "dict", "required": True},
    "phase": {"type": "str", "choices": ["judge", "end", "sum"], "default": "judge"},
    "failed": {"type": "str", "default": "balancer_failed"},
    "before": {"type": "str", "default": "balancer_before"},
    "judged": {"type": "str", "default": "balancer_batch"},
    "reverted": {"type": "str", "default": "balancer_reverted"},
    "playbook": {"type": "str", "default": "katran.fleet.deploy"},
}
Results = Mapping[str, t.Any]


class ActionModule(ActionBase):
    """Judges a batch by what its hosts have registered, on the controller."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        # Ansible annotates little of itself.
        _validated, arguments = t.cast(t.Any, self).validate_argument_spec(OPTIONS)
        everything = task_vars or {}
        look = _Look(everything["hostvars"], arguments["preflight"]["run"], arguments)
        play = list(everything["ansible_play_hosts_all"])
        if arguments["phase"] == "sum":
            return _sum(look.judged(play), arguments["playbook"])
        if arguments["phase"] == "end":
            return self._end(look, play, everything["inventory_hostname"], arguments["playbook"])
        batch, answering = everything["ansible_play_batch"], set(everything["ansible_play_hosts"])
        earlier = look.judged(play)
        known = _hosts(earlier)
        # Who fell silent is in no batch any more: of those whose turn has not come, nobody can have.
        silent = [host for host in play if host not in answering and host not in known]
        hosts = [look.host(host, host not in silent) for host in play if host in batch or host in silent]
        failed_before = sum(len(ruling["failures"]) for ruling in earlier)
        found = rule(hosts, failed_before, int(arguments["preflight"]["rollout"]["max_failed"]))
        return {"changed": False, "run": look.run, "hosts": list(found.done), **found.to_data()}

    def _end(self, look: _Look, play: list[str], host: str, playbook: str) -> dict[str, t.Any]:
        """Tell of the batch that this host is in; fail where the run ends with it."""
        ruling, others = look.ruling(host), look.judged(play)
        earlier = [other for other in others if not _same(other, ruling.to_data())]
        done = [name for other in earlier for name in other["done"]]
        seen = _hosts(others)
        # In a review, nothing was done that could be taken back.
        back = {} if self._task.check_mode else {name: look.went_back(name) for name in ruling.revert}
        lines = told(ruling, back, [name for name in play if name not in seen], playbook, done)
        if not ruling.stop:
            self._display.warning("\n".join(lines))
        return {"changed": False, "failed": ruling.stop, "msg": "\n".join(lines), "lines": lines}


def _sum(rulings: list[Results], playbook: str) -> dict[str, t.Any]:
    """Fail where a host did that the run was to go on without."""
    failed = {host: why for ruling in rulings for host, why in ruling["failures"].items()}
    if not failed:
        return {"changed": False}
    why = "; ".join(f"{host}: {reason}" for host, reason in failed.items())
    return {
        "changed": False,
        "failed": True,
        "msg": f"balancers that failed, no more than katran_max_failed lets: {len(failed)} ({why}). Mend the cause and"
        f" run {playbook} again: what is done already costs nothing",
    }


def _hosts(rulings: list[Results]) -> set[str]:
    """The hosts that rulings are about."""
    return {host for ruling in rulings for host in (*ruling["done"], *ruling["failures"], *ruling["back"])}


def _same(one: Results, two: Results) -> bool:
    """Whether two rulings are of one batch: each host is in one."""
    return all(list(one[name]) == list(two[name]) for name in ("done", "failures", "back"))


class _Look:
    """What hosts have registered in this run."""

    def __init__(self, hostvars: t.Any, run: str, names: Mapping[str, str]) -> None:
        self._hostvars = hostvars
        self._names = names
        self.run = run

    def _result(self, host: str, name: str) -> Results:
        found = self._hostvars.raw_get(host).get(self._names[name])
        return found if isinstance(found, Mapping) else {}

    def judged(self, hosts: list[str]) -> list[Results]:
        """The rulings of batches in this run, each once."""
        found: list[Results] = []
        for host in hosts:
            one = self._result(host, "judged")
            if one.get("run") == self.run and not any(_same(one, two) for two in found):
                found.append(one)
        return found

    def ruling(self, host: str) -> Ruling:
        """That of the batch that a host is in."""
        return Ruling.from_data(self._result(host, "judged"))

    def host(self, name: str, reached: bool) -> Host:
        """What became of a host in its batch."""
        before = self._result(name, "before")
        failed = self._result(name, "failed")
        why = ""
        if failed.get("run") == self.run:
            why = f"{failed['task']}: {failed['why']}" if failed["why"] else str(failed["task"])
        reached = reached and not before.get("unreachable")
        return Host(name, why, reached, not before.get("sample", {}).get("loaded", True))

    def went_back(self, host: str) -> str:
        """Empty where a host went back to what it was, else why not."""
        found = self._result(host, "reverted")
        return str(found["why"]) if found.get("run") == self.run else "it does not answer"
