# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single variables of other hosts, as filters ask for them."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from contextlib import contextmanager

from ansible.errors import AnsibleFilterError
from jinja2.runtime import Context, Undefined

from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import is_omitted, told_of_facts

_remembered: dict[tuple[str, str], t.Any] | None = None


@contextmanager
def remembering() -> Iterator[None]:
    """Ask each host for each variable but once in this block, in which none may change.

    Ansible gathers all variables of a host anew for each question, and filters ask for every real of every VIP.
    """
    global _remembered  # noqa: PLW0603  # filters have no other place that lives longer than one template
    before, _remembered = _remembered, {}
    try:
        yield
    finally:
        _remembered = before


def host_variable(context: Context, host: str, name: str) -> t.Any:
    """A host's variable, None where it is not set or omitted.

    AnsibleFilterError for a host that the inventory does not have, and for a variable that cannot be templated.
    """
    if _remembered is None:
        return _ask(context, host, name)
    if (host, name) not in _remembered:
        _remembered[host, name] = _ask(context, host, name)
    return _remembered[host, name]


def _ask(context: Context, host: str, name: str) -> t.Any:
    hostvars = context["hostvars"]
    if host not in hostvars:
        raise AnsibleFilterError(f"katran.fleet: {host} is not a host of the inventory")
    value = hostvars[host].get(name)
    raw = hostvars.raw_get(host) if isinstance(value, Undefined) else {}
    if raw.get(name) is not None:
        reason = getattr(value, "_undefined_message", "cannot be templated")
        raise AnsibleFilterError(f"katran.fleet: host {host}: {name}: {told_of_facts(str(reason), raw, name)}")
    return None if isinstance(value, Undefined) or is_omitted(value) else value
