# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventories beside that of the run: by path, as ansible-inventory saved them, or as a git revision has them.

An inventory is code: reading one runs its executable scripts, its inventory plugins and, when variables are templated,
its lookups, as `ansible-playbook -i` does. Whoever reads a revision has to trust who wrote it.
"""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ansible.cli import CLI
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import AnsibleVaultError, EncryptedString
from ansible.template import Templar, trust_as_template
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from ansible_collections.katran.fleet.plugins.module_utils._model.inventory import GROUPS
from ansible_collections.katran.fleet.plugins.plugin_utils.host_values import remembering
from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import HostVariables, VariableError
from ansible_collections.katran.fleet.plugins.plugin_utils.revisions import Repository, is_revision_text
from ansible_collections.katran.fleet.plugins.plugin_utils.sealed import Seals
from ansible_collections.katran.fleet.plugins.plugin_utils.whole_fleet import Inventory, Whole, read_whole

NOTHING = os.devnull
"""As an inventory: one without hosts."""

_DEPTH = 5
"""How often a variable that is missing may lead to the next."""


@dataclass
class Loaded:
    """An inventory that was read. `name`: what people call it; `notes`: what they should know of how it was read.

    `seals`: the encrypted values and files that no secret opens.
    """

    name: str
    inventory: Inventory
    seals: Seals = field(default_factory=Seals)
    notes: list[str] = field(default_factory=list)


class _Loader(DataLoader):
    """A loader for which a file that no secret opens is empty."""

    def __init__(self, seals: Seals) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # ansible-core's own
        self._seals = seals

    def load_from_file(self, file_name: str, *arguments: t.Any, **options: t.Any) -> t.Any:
        try:
            return super().load_from_file(file_name, *arguments, **options)
        except AnsibleVaultError:
            self._seals.files.add(file_name)
            return {}


class _Manager(InventoryManager):
    """An inventory that knows which of its sources nobody could read."""

    def __init__(self, loader: DataLoader, sources: list[str]) -> None:
        self.unread: list[str] = []
        super().__init__(loader=loader, sources=sources)  # type: ignore[no-untyped-call]  # ansible-core's own

    def parse_source(self, source: str, cache: bool = False) -> bool:
        parsed = bool(super().parse_source(source, cache=cache))  # type: ignore[no-untyped-call]  # ansible-core's own
        if not parsed and source in self._sources:
            self.unread.append(source)
        return parsed


def of_run(templar: t.Any, loader: t.Any, everything: dict[str, t.Any]) -> Loaded:
    """The inventory of the run."""
    found = Inventory.of_run(templar, loader, everything)
    found.patterns = _patterns(found.variables, found.groups)
    return Loaded("the inventory of this run", found)


@contextmanager
def opened(told: str, sources: Sequence[str], loader: t.Any) -> Iterator[Loaded]:
    """The inventory that a text names, for as long as its files are needed. AnsibleError says why there is none.

    `told`: the path of an inventory or of a saved one; else a git revision, alone for the `sources` of the run as they
    are there, or as REVISION:PATH. `loader`: that of the run, for its vault secrets.
    """
    if told == NOTHING or os.path.exists(told):
        yield _read(told, told, loader)
        return
    revision, colon, path = told.partition(":")
    if not is_revision_text(revision):
        raise AnsibleError(f"{told} is neither a path nor a git revision")
    if colon:
        repository = Repository.around(os.getcwd())
        inside, outside = [os.path.join(repository.top, path)], []
    else:
        files = [os.path.realpath(each) for each in sources if "," not in each and os.path.exists(each)]
        if not files:
            raise AnsibleError(
                f"{told} is no path, and as a git revision it needs an inventory to look for: give -i, or REVISION:PATH"
            )
        repository = Repository.around(files[0])
        inside = [each for each in files if _is_inside(each, repository.top)]
        outside = [each for each in sources if os.path.realpath(each) not in inside]
    with repository.checked_out(revision) as tree:
        places = [os.path.join(tree, os.path.relpath(each, repository.top)) for each in inside]
        for here, place in zip(inside, places, strict=True):
            if not _is_inside(os.path.normpath(place), tree) or not os.path.exists(place):
                raise AnsibleError(f"{revision} has no {os.path.relpath(here, repository.top)}")
        found = _read_sources([*places, *outside], told, loader)
        found.notes += [f"{each} is not in {repository.top}: taken as it is" for each in outside]
        yield found


def _is_inside(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def _read(path: str, name: str, loader: t.Any) -> Loaded:
    """An inventory by its path."""
    if path == NOTHING:
        return _read_sources([], name, loader)
    saved = _saved(path)
    if saved is None:
        return _read_sources([os.path.abspath(path)], name, loader)
    own, seals = _own_loader(loader)
    manager = InventoryManager(loader=own, sources=[])
    _fill(manager, saved, path)
    return _loaded(manager, own, seals, name)


def _read_sources(sources: list[str], name: str, loader: t.Any) -> Loaded:
    own, seals = _own_loader(loader)
    try:
        manager = _Manager(own, sources)
    except AnsibleError as error:
        raise AnsibleError(f"{name} cannot be read as an inventory: {error}") from error
    if manager.unread:
        raise AnsibleError(f"{name} cannot be read as an inventory: {manager.unread[0]}")
    return _loaded(manager, own, seals, name)


def _own_loader(loader: t.Any) -> tuple[DataLoader, Seals]:
    seals = Seals()
    own = _Loader(seals)
    own.set_vault_secrets(loader._vault.secrets)  # noqa: SLF001  # the secrets of the run have no public name
    own.set_basedir(loader.get_basedir())
    return own, seals


def _loaded(manager: InventoryManager, loader: DataLoader, seals: Seals, name: str) -> Loaded:
    manager_of_variables = VariableManager(loader, manager, version_info=CLI.version_info(gitinfo=False))
    hostvars = HostVars(manager, manager_of_variables, loader)
    variables = HostVariables(Templar(loader), hostvars)
    groups = manager.get_groups_dict()

    def match(pattern: str) -> list[str]:
        try:
            return [host.name for host in manager.get_hosts(pattern, ignore_limits=True, ignore_restrictions=True)]
        except AnsibleError:
            # With host_pattern_mismatch = error Ansible raises where nobody matches; inventory_hostnames, which reads
            # the inventory of the run, answers with nobody then.
            return []

    found = Inventory(variables, loader, groups, _patterns(variables, groups), match)
    return Loaded(name, found, seals)


def _patterns(variables: HostVariables, groups: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """As GROUPS. These are variables of the whole fleet, and any host's."""
    found = dict(GROUPS)
    for host in list(groups.get("all", ()))[:1]:
        for variable in GROUPS:
            try:
                found[variable] = str(variables.get(host, variable, found[variable]))
            except VariableError as error:
                raise AnsibleError(str(error)) from error
    return found


# What ansible-inventory --list saved


def _saved(path: str) -> dict[str, t.Any] | None:
    """The output of ansible-inventory --list in a file; None where the file is none."""
    if os.path.isdir(path) or os.access(path, os.X_OK):
        return None
    try:
        with open(path, encoding="utf-8") as source:
            if source.read(256).lstrip()[:1] != "{":
                return None
            source.seek(0)
            found = json.load(source)
    except (OSError, ValueError, RecursionError):
        # Whatever else it is, an inventory plugin says what is wrong with it.
        return None
    meta = found.get("_meta") if isinstance(found, dict) else None
    return found if isinstance(meta, dict) and isinstance(meta.get("hostvars"), dict) else None


def _fill(manager: InventoryManager, saved: Mapping[str, t.Any], path: str) -> None:
    """Make the groups, hosts and variables that were saved."""
    data = manager._inventory  # noqa: SLF001  # the manager passes on hosts and groups, but neither children nor variables
    try:
        groups = {name: group for name, group in saved.items() if name != "_meta"}
        for name in groups:
            data.add_group(name)
        for name, group in groups.items():
            for host in group.get("hosts", ()):
                data.add_host(host, name)
            for child in group.get("children", ()):
                data.add_group(child)
                data.add_child(name, child)
            for variable, value in group.get("vars", {}).items():
                data.set_variable(name, variable, _trusted(value))
        for host, variables in saved["_meta"]["hostvars"].items():
            data.add_host(host)
            for variable, value in variables.items():
                data.set_variable(host, variable, _trusted(value))
    except (AttributeError, TypeError, AnsibleError) as error:
        raise AnsibleError(f"{path} is not what ansible-inventory --list --export prints: {error}") from error
    manager.reconcile_inventory()


def _trusted(value: t.Any) -> t.Any:
    """A saved value, whose texts are templates as they were in the inventory."""
    if isinstance(value, str):
        return trust_as_template(value) if "{" in value else value
    if isinstance(value, list):
        return [_trusted(each) for each in value]
    if isinstance(value, dict):
        if len(value) == 1:
            if isinstance(sealed := value.get("__ansible_vault"), str):
                return EncryptedString(ciphertext=sealed)
            if isinstance(unsafe := value.get("__ansible_unsafe"), str):
                return unsafe
        return {key: _trusted(each) for key, each in value.items()}
    return value


# Encrypted values


def read_sealed(loaded: Loaded) -> Whole:
    """Ask every host of an inventory, with stand-ins for the encrypted values that no secret opens."""
    stand_ins: dict[str, str] = {}
    found = _read_whole(loaded, stand_ins)
    for _turn in range(_DEPTH):
        sentences = [each for faults in found.fleet.faults.values() for each in faults]
        missing = loaded.seals.missing(sentences) - set(stand_ins)
        if not missing:
            break
        files = " ".join(sorted(loaded.seals.files))
        stand_ins = {**stand_ins, **{name: loaded.seals.stand_in(f"{name} in {files}") for name in missing}}
        found = _read_whole(loaded, stand_ins)
    loaded.notes += [f"{path} is encrypted, and no secret opens it" for path in sorted(loaded.seals.files)]
    return found


def _read_whole(loaded: Loaded, stand_ins: Mapping[str, str]) -> Whole:
    variables = loaded.inventory.variables
    variables.forget()
    for host in {host for hosts in loaded.inventory.members().values() for host in hosts}:
        variables.use(host, {**stand_ins, **loaded.seals.opened(variables.raw(host))})
    with remembering():
        return read_whole(loaded.inventory)
