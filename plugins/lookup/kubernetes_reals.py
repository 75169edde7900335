# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: kubernetes_reals
short_description: The nodes or pods of a Kubernetes cluster as reals of a VIP
version_added: 0.1.0
author:
  - The katran.fleet authors (@katran-fleet)
description:
  - Turns what C(kubectl get nodes -o json) and C(kubectl get endpointslices -o json) printed into the entries of
    O(katran.fleet.vips#module:config[].reals). It reads files on the controller, and reaches no cluster.
  - A node is V(active) where it is ready, V(draining) where it is cordoned or going away, and V(down) where it is not.
    Its real is the first C(InternalIP) of each family. Nodes with the label
    C(node.kubernetes.io/exclude-from-external-load-balancers) are left out.
  - A warning names what is left out because it does not say where it is, such as a node without an C(InternalIP), or
    an endpoint on a node that no file has.
  - An endpoint is V(active) where it is ready, V(draining) where it still serves while it ends, and V(down) otherwise.
options:
  _terms:
    description: Files, of nodes, of endpoints, or both. A relative path begins in C(files) or beside the playbook.
    required: true
  service:
    description:
      - The service whose endpoints count, by its name, or by namespace, a slash and name. It has to be said where the
        files have several.
    type: str
    default: ""
  policy:
    description:
      - What the service's C(externalTrafficPolicy) is. With V(cluster), every node takes its packets. With V(local),
        nodes with a ready endpoint do; others are V(down), or V(draining) where all endpoints there are ending.
      - With V(pods), the endpoints themselves are the reals, which have to take tunnels then.
    type: str
    choices: [cluster, local, pods]
    default: cluster
  weigh:
    description: With O(policy=local), a node weighs as many as it has ready endpoints. Otherwise each weighs 1.
    type: bool
    default: false
  family:
    description: Take only addresses of this family. Default is both.
    type: str
    choices: [ipv4, ipv6]
  labels:
    description: Take only nodes with these labels, names and values.
    type: dict
    default: {}
  max_age:
    description:
      - Seconds. A warning says of a file that is older how old it is, as what it says may long be otherwise. V(0) is
        for no warning.
    type: int
    default: 3600
"""

EXAMPLES = r"""
- name: An ingress at those nodes that have one
  ansible.builtin.set_fact:
    katran_vips:
      - addresses: [198.51.100.1, "2001:db8::1"]
        port: 443
        protocol: tcp
        reals: >-
          {{ query('katran.fleet.kubernetes_reals', 'nodes.json', 'endpointslices.json', service='ingress/nginx',
                   policy='local') }}
"""

RETURN = r"""
_raw:
  description: Address, and state and weight where they are not the defaults.
  type: list
  elements: dict
"""

import json
import os
import time
import typing as t

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display

from ansible_collections.katran.fleet.plugins.plugin_utils.host_variables import plain
from ansible_collections.katran.fleet.plugins.plugin_utils.kubernetes import (
    Asked,
    Cluster,
    KubernetesError,
    left_out,
    reals_of,
)

_MAX_BYTES = 256 << 20


class LookupModule(LookupBase):
    """Finds the reals of a cluster in what was saved of it."""

    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        self.set_options(var_options=variables, direct=kwargs)
        policy, family, labels = (self.get_option(name) for name in ("policy", "family", "labels"))
        asked = Asked(
            service=self.get_option("service"),
            ipv6=None if family is None else family == "ipv6",
            local=policy == "local",
            weigh=self.get_option("weigh"),
            pods=policy == "pods",
            labels={str(name): str(value) for name, value in plain(labels).items()},
        )
        cluster = Cluster()
        try:
            for term in terms:
                cluster.add(self._saved(str(term), variables), str(term))
            found = reals_of(cluster, asked)
            for told in left_out(cluster, asked):
                Display().warning(f"katran.fleet.kubernetes_reals: {', '.join(map(str, terms))}: {told}")
            return found
        except KubernetesError as error:
            raise AnsibleLookupError(f"katran.fleet.kubernetes_reals: {error}") from error

    def _saved(self, term: str, variables: dict[str, t.Any] | None) -> t.Any:
        """What a file has. KubernetesError where that cannot be read."""
        path = self.find_file_in_search_path(variables, "files", term, ignore_missing=True)
        found, age = read_saved(path or "", term)
        told = age_warning(term, age, self.get_option("max_age"))
        if told:
            Display().warning(told)
        return found


def read_saved(path: str, term: str) -> tuple[t.Any, float]:
    """What a file of JSON has, and its age in seconds; `term`: what it is called. KubernetesError where it has none."""
    if not os.path.isfile(path):
        raise KubernetesError(f"{term}: there is no such file")
    try:
        with open(path, encoding="utf-8") as source:
            found = os.fstat(source.fileno())
            if found.st_size > _MAX_BYTES:
                raise KubernetesError(f"{term} has more than {_MAX_BYTES >> 20} MiB")
            return json.load(source), time.time() - found.st_mtime
    except OSError as error:
        raise KubernetesError(f"{term} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise KubernetesError(f"{term} is no JSON: {error}") from error


def age_warning(term: str, age: float, most: int) -> str:
    """That a file is older than that, in seconds; empty where it is not, or where nobody asks."""
    if not most or age <= most:
        return ""
    return f"katran.fleet.kubernetes_reals: {term} is {_ago(age)} old: the cluster may be otherwise by now"


def _ago(seconds: float) -> str:
    for name, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {name}"
    return f"{seconds:.0f} seconds"
