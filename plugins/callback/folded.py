# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = """
name: folded
type: stdout
short_description: Prints what is the same on many hosts once
version_added: 0.1.0
author: the katran.fleet authors (@katran-fleet)
description:
  - Prints what callback P(ansible.builtin.default#callback) prints, and takes its options; what is the same on many
    hosts of a task is printed once, with their names in place of one name, as C(lb1–lb48, lb50). So a review by
    C(--check --diff) and a run of a fleet are as long as what differs in them.
  - Only what is the same to the byte but for the host's own name in front is folded; two diffs that differ in one
    address are two diffs. Paths of Ansible's own temporary files in the headings of diffs do not count, nor do the
    times of commands, which are printed from C(-vvv) on.
  - The results of a task are printed once all of its hosts are done, ordered by the names of hosts. A failure, a host
    that does not answer, and a retry are printed at once; where others follow with the same, they are named at the end
    of the task. With the strategies V(free) and V(host_pinned), where tasks have no common end, results are
    printed after O(hold) seconds at the latest.
  - The recap has one line for all hosts with the same numbers.
  - Works with ansible-core 2.19 and newer.
options:
  hold:
    description:
      - Seconds for which results are held back with the strategies V(free) and V(host_pinned), so that others with the
        same result can join them.
    type: float
    default: 5.0
    env:
      - name: KATRAN_FOLDED_HOLD
    ini:
      - section: callback_folded
        key: hold
  most_held:
    description:
      - MiB of different output of one task that are held back at the most. Beyond that, what there is gets printed, and
        what comes later is folded anew.
    type: int
    default: 16
    env:
      - name: KATRAN_FOLDED_MOST_HELD
    ini:
      - section: callback_folded
        key: most_held
extends_documentation_fragment:
  - ansible.builtin.default_callback
  - ansible.builtin.result_format_callback
requirements:
  - set as stdout_callback in ansible.cfg, or E(ANSIBLE_STDOUT_CALLBACK=katran.fleet.folded)
seealso:
  - plugin: ansible.builtin.default
    plugin_type: callback
"""

import atexit
import os
import time
import typing as t

from ansible.plugins.callback.default import CallbackModule as Default

from ansible_collections.katran.fleet.plugins.module_utils._model.folding import fold, names_text
from ansible_collections.katran.fleet.plugins.plugin_utils.folding import HOST, Recorder, TaskOutput, told_again

FREE = ("free", "host_pinned", "ansible.builtin.free", "ansible.builtin.host_pinned")
MIB = 1 << 20
_ALL = 3
"""The verbosity with which all of a result is printed."""

_TIMES = frozenset(("start", "end", "delta"))
Result = t.Any
"""Ansible's CallbackTaskResult."""


class FoldedStats:
    """The numbers of a run, of all hosts with the same ones under one name."""

    def __init__(self, stats: t.Any) -> None:
        self.custom = stats.custom
        numbers = {host: stats.summarize(host) for host in stats.processed}
        groups = fold((host, tuple(sorted(found.items()))) for host, found in numbers.items())
        self._numbers = {each.names: dict(each.said) for each in groups}
        self.processed = dict.fromkeys(self._numbers, 1)

    def summarize(self, name: str) -> dict[str, int]:
        """The numbers of the hosts that `processed` has under this name."""
        return self._numbers[name]


class CallbackModule(Default):
    """Has the default callback write to a recorder, host by host, and prints what was recorded folded."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "katran.fleet.folded"
    _display: t.Any

    def __init__(self) -> None:
        super().__init__()
        self._outputs: dict[str, TaskOutput] = {}
        self._process = os.getpid()
        # What is held back is shown also where a run ends without its end, as by ^C.
        atexit.register(self._at_exit)

    @staticmethod
    def host_label(result: Result) -> str:
        """A stand-in for the host's name, to which the host that a task is delegated to is added as ever."""
        name, label = result.host.get_name(), str(Default.host_label(result))
        return HOST + label[len(name) :]

    # what is held back

    def v2_runner_on_ok(self, result: Result) -> None:
        self._hold(result, super().v2_runner_on_ok, ends=True)

    def v2_runner_on_skipped(self, result: Result) -> None:
        self._hold(result, super().v2_runner_on_skipped, ends=True)

    def v2_runner_item_on_ok(self, result: Result) -> None:
        self._hold(result, super().v2_runner_item_on_ok)

    def v2_runner_item_on_skipped(self, result: Result) -> None:
        self._hold(result, super().v2_runner_item_on_skipped)

    def v2_on_file_diff(self, result: Result) -> None:
        self._hold(result, super().v2_on_file_diff)

    # what is told at once

    def v2_runner_on_failed(self, result: Result, ignore_errors: bool = False) -> None:
        self._tell(result, super().v2_runner_on_failed, ignore_errors)
        self._output(result).end(result.host.get_name())

    def v2_runner_on_unreachable(self, result: Result) -> None:
        self._tell(result, super().v2_runner_on_unreachable)
        self._output(result).end(result.host.get_name())

    def v2_runner_item_on_failed(self, result: Result) -> None:
        self._tell(result, super().v2_runner_item_on_failed)

    def v2_runner_retry(self, result: Result) -> None:
        self._tell(result, super().v2_runner_retry)

    # before what comes next

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        self._flush()
        super().v2_playbook_on_play_start(play)

    def v2_playbook_on_task_start(self, task: t.Any, is_conditional: bool) -> None:
        self._between_tasks()
        super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task: t.Any) -> None:
        self._between_tasks()
        super().v2_playbook_on_handler_task_start(task)

    def v2_playbook_on_include(self, included_file: t.Any) -> None:
        self._between_tasks()
        names = names_text(host.name for host in included_file._hosts)
        super().v2_playbook_on_include(_Included(included_file, names))

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        self._flush()
        super().v2_playbook_on_no_hosts_remaining()

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        self._flush()
        super().v2_playbook_on_stats(FoldedStats(stats))

    # how

    def _output(self, result: Result) -> TaskOutput:
        task = result.task
        if task._uuid not in self._outputs:
            self._outputs[task._uuid] = TaskOutput(task, time.monotonic())
        return self._outputs[task._uuid]

    def _record(self, result: Result, render: t.Callable[..., None], *more: t.Any) -> list[t.Any]:
        """What the default callback prints of a result, with a stand-in for the host's name and without a heading."""
        if self._display.verbosity < _ALL and result.result.keys() >= _TIMES:
            # When a command began and ended is another moment on each host, and seldom why somebody looks.
            for name in _TIMES:
                del result.result[name]
        display, banner = self._display, self._last_task_banner
        self._display = recorder = Recorder(display, result.host.get_name())
        self._last_task_banner = result.task._uuid
        try:
            render(result, *more)
        finally:
            self._display, self._last_task_banner = display, banner
        return recorder.calls

    def _hold(self, result: Result, render: t.Callable[..., None], ends: bool = False) -> None:
        output = self._output(result)
        output.add(result.host.get_name(), self._record(result, render))
        if ends:
            output.end(result.host.get_name())
        if output.held > self.get_option("most_held") * MIB:
            self._show(output)
        elif self._is_free():
            self._show_old()

    def _tell(self, result: Result, render: t.Callable[..., None], *more: t.Any) -> None:
        output, calls = self._output(result), self._record(result, render, *more)
        if calls and output.is_new(result.host.get_name(), calls):
            self._head(output.task)
            for call in calls:
                call.replay(self._display, result.host.get_name())
        if self._is_free():
            self._show_old()

    def _is_free(self) -> bool:
        """Whether tasks have no common end."""
        return self._play is not None and self._play.strategy in FREE

    def _show_old(self) -> None:
        oldest = time.monotonic() - self.get_option("hold")
        for output in [each for each in self._outputs.values() if each.since <= oldest]:
            self._show(output)
            output.since = time.monotonic()

    def _between_tasks(self) -> None:
        if self._is_free():
            self._show_old()
        else:
            self._flush()

    def _flush(self) -> None:
        """Print all that is held back."""
        outputs, self._outputs = self._outputs, {}
        for output in outputs.values():
            self._show(output, whole=True)

    def _show(self, output: TaskOutput, whole: bool = False) -> None:
        """Print what is held back of a task; `whole`: also of hosts that are not done."""
        for names, calls in output.take(whole):
            self._head(output.task)
            for call in calls:
                call.replay(self._display, names)
        for names, first, calls in output.take_told():
            self._head(output.task)
            for call in told_again(calls, first):
                call.replay(self._display, names)

    def _head(self, task: t.Any) -> None:
        if self._last_task_banner != task._uuid:
            self._print_task_banner(task)

    def _at_exit(self) -> None:
        # Workers are copies of this process and have nothing to say.
        if os.getpid() == self._process:
            self._flush()


class _Included:
    """An included file, for all of its hosts under one name."""

    def __init__(self, included: t.Any, names: str) -> None:
        self._filename = included._filename
        self._vars = included._vars
        self._hosts = [_Named(names)]


class _Named(t.NamedTuple):
    name: str
