# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reals of what `kubectl get nodes -o json` and `kubectl get endpointslices -o json` printed. Pure: no I/O.

Fields are those of Node (core/v1) and EndpointSlice (discovery.k8s.io/v1).
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.katran.fleet.plugins.module_utils._model.addresses import Address, read_host
from ansible_collections.katran.fleet.plugins.module_utils._model.faults import counted, some

STATES = ("active", "draining", "down")
"""From the best to the worst."""

EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
"""The label of nodes to which no load balancer may send."""

_SERVICE = "kubernetes.io/service-name"
_LOCAL_TYPES = ("InternalIP",)


class KubernetesError(Exception):
    """What was saved is not what kubectl prints; the text says what is wrong with it."""


@dataclass
class Cluster:
    """What was saved of a cluster: nodes, and slices of endpoints; None where nothing was saved of that kind."""

    nodes: list[Mapping[str, t.Any]] | None = None
    slices: list[Mapping[str, t.Any]] | None = None

    def add(self, saved: t.Any, where: str) -> None:
        """What kubectl printed, a list or one object. KubernetesError for what is neither nodes nor slices."""
        found: dict[str, list[Mapping[str, t.Any]]] = {"Node": [], "EndpointSlice": []}
        items = _items(saved, where)
        for index, item in enumerate(items):
            kind = item.get("kind")
            place = f"{where}: items[{index}]"
            # Whatever it is: a list is the key of no dictionary.
            if kind not in tuple(found):
                raise KubernetesError(f"{place} is neither a Node nor an EndpointSlice, but {kind!s:.60}")
            _name(item, place)
            found[kind].append(item)
        # An empty list says of which kind it is only where kubectl had more than one item to name.
        empty = saved.get("kind") if not items else None
        if found["Node"] or empty == "NodeList":
            self.nodes = [*(self.nodes or ()), *found["Node"]]
        if found["EndpointSlice"] or empty == "EndpointSliceList":
            self.slices = [*(self.slices or ()), *found["EndpointSlice"]]


def _items(saved: t.Any, where: str) -> list[Mapping[str, t.Any]]:
    if isinstance(saved, Mapping) and isinstance(saved.get("items"), list):
        found = saved["items"]
        kind = str(saved.get("kind", "")).removesuffix("List")
        # A list of one kind need not say it of each item.
        found = [{"kind": kind, **item} if isinstance(item, Mapping) and kind else item for item in found]
    elif isinstance(saved, Mapping) and saved.get("kind") in ("Node", "EndpointSlice"):
        found = [saved]
    else:
        raise KubernetesError(f"{where} is not what kubectl get nodes or endpointslices prints with -o json")
    for index, item in enumerate(found):
        if not isinstance(item, Mapping):
            raise KubernetesError(f"{where}: items[{index}] is no object")
    return found


def _name(item: Mapping[str, t.Any], place: str) -> str:
    metadata = item.get("metadata")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str):
        raise KubernetesError(f"{place} has no metadata.name")
    return str(metadata["name"])


def _mapping(item: Mapping[str, t.Any], name: str) -> Mapping[str, t.Any]:
    found = item.get(name)
    return found if isinstance(found, Mapping) else {}


def _list(item: Mapping[str, t.Any], name: str) -> list[Mapping[str, t.Any]]:
    found = item.get(name)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


# Nodes


def node_state(node: Mapping[str, t.Any]) -> str:
    """Whether a node may take packets: down where it is not ready, draining where it is cordoned or going away."""
    conditions = {
        str(each.get("type")): str(each.get("status")) for each in _list(_mapping(node, "status"), "conditions")
    }
    if conditions.get("Ready") != "True" or conditions.get("NetworkUnavailable") == "True":
        return "down"
    leaving = _mapping(node, "spec").get("unschedulable") is True or _mapping(node, "metadata").get("deletionTimestamp")
    return "draining" if leaving else "active"


def node_addresses(node: Mapping[str, t.Any], ipv6: bool | None) -> list[str]:
    """The first internal address of each family, or of one."""
    found: dict[bool, str] = {}
    for each in _list(_mapping(node, "status"), "addresses"):
        address = read_host(each.get("address")) if each.get("type") in _LOCAL_TYPES else ""
        if isinstance(address, Address):
            found.setdefault(address.ipv6, address.text)
    return [text for family, text in sorted(found.items()) if ipv6 is None or family == ipv6]


# Endpoints


def endpoint_state(endpoint: Mapping[str, t.Any]) -> str:
    """Ready: active; it still serves while it ends: draining; neither: down. A condition that is not there is true."""
    conditions = _mapping(endpoint, "conditions")
    ready = conditions.get("ready") is not False
    serving = ready if conditions.get("serving") is None else conditions["serving"] is True
    if conditions.get("terminating") is True:
        return "draining" if serving else "down"
    # Addresses may be published before they are ready; who is not serving gets no flow.
    return "active" if ready and serving else "draining" if serving else "down"


@dataclass(frozen=True)
class Asked:
    """Which reals are wanted.

    `service`: NAME, or NAMESPACE/NAME; needed where there are slices of several. `local`: whether the service is
    reached at nodes that have an endpoint (externalTrafficPolicy Local). `weigh`: whether such a node weighs as many as
    it has. `pods`: whether endpoints themselves are the reals.
    """

    service: str = ""
    ipv6: bool | None = None
    local: bool = False
    weigh: bool = False
    pods: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


def reals_of(cluster: Cluster, asked: Asked) -> list[dict[str, t.Any]]:
    """The reals, in the order of their names. KubernetesError where what is asked for was not saved."""
    if asked.pods:
        return _pods(_of_service(cluster.slices, asked), asked.ipv6)
    if cluster.nodes is None:
        raise KubernetesError("no nodes were saved: give what kubectl get nodes -o json printed")
    nodes = {_name(node, "a node"): node for node in cluster.nodes if _wanted(node, asked.labels)}
    slices = _of_service(cluster.slices, asked) if asked.local else []
    at = _endpoints_at(slices) if asked.local else {}
    found: list[dict[str, t.Any]] = []
    for name, node in sorted(nodes.items()):
        state, weight = node_state(node), 1
        if asked.local:
            here = at.get(name, [])
            state = max(state, min(here, key=STATES.index, default="down"), key=STATES.index)
            weight = max(here.count("active"), 1) if asked.weigh else 1
        options = {**({} if state == "active" else {"state": state}), **({} if weight == 1 else {"weight": weight})}
        found += [{"address": address, **options} for address in node_addresses(node, asked.ipv6)]
    return found


def left_out(cluster: Cluster, asked: Asked) -> list[str]:
    """What reals_of leaves out though nobody asked for that, in sentences. KubernetesError as there."""
    if asked.pods:
        return _without(_endpoints(_of_service(cluster.slices, asked)), "addresses", "an address that can be read")
    named = {_name(node, "a node"): node for node in cluster.nodes or ()}
    wanted = {name: node for name, node in named.items() if _wanted(node, asked.labels)}
    found = []
    if named and asked.labels and not wanted:
        labels = ", ".join(f"{name}={value}" for name, value in sorted(asked.labels.items()))
        nodes = counted(len(named), "node")
        found.append(f"none of {nodes} has the labels {labels} and is not excluded from load balancers")
    bare = [name for name, node in wanted.items() if not node_addresses(node, asked.ipv6)]
    if bare:
        family = "" if asked.ipv6 is None else f" of {'IPv6' if asked.ipv6 else 'IPv4'}"
        found.append(f"without an InternalIP{family}, and so left out: node {some(sorted(bare))}")
    if asked.local:
        endpoints = list(_endpoints(_of_service(cluster.slices, asked)))
        found += _without(endpoints, "nodeName", "the name of its node")
        serving = {str(each.get("nodeName")) for each in endpoints if each.get("nodeName") and _serves(each)}
        strange = sorted(serving - set(named))
        if strange:
            found.append(f"with endpoints that serve, but not among the nodes that were saved: node {some(strange)}")
    return found


def _serves(endpoint: Mapping[str, t.Any]) -> bool:
    return endpoint_state(endpoint) != "down"


def _without(endpoints: Iterable[Mapping[str, t.Any]], name: str, noun: str) -> list[str]:
    """That endpoints that serve do not say where they are."""
    missing = 0
    for each in endpoints:
        told = each.get(name)
        if name == "addresses":
            told = isinstance(told, list) and told and isinstance(read_host(told[0]), Address)
        missing += not told and _serves(each)
    return [f"{counted(missing, 'endpoint')} left out, without {noun}"] if missing else []


def _wanted(node: Mapping[str, t.Any], labels: Mapping[str, str]) -> bool:
    own = _mapping(_mapping(node, "metadata"), "labels")
    return EXCLUDED not in own and all(str(own.get(name)) == value for name, value in labels.items())


def _of_service(slices: Sequence[Mapping[str, t.Any]] | None, asked: Asked) -> list[Mapping[str, t.Any]]:
    """The slices of the service that is meant."""
    if slices is None:
        raise KubernetesError("no endpoints were saved: give what kubectl get endpointslices -o json printed")
    named = {_service_of(each) for each in slices}
    namespace, slash, name = asked.service.rpartition("/")
    meant = {each for each in named if not asked.service or (each[1] == name and (not slash or each[0] == namespace))}
    if len(meant) != 1:
        there = ", ".join(sorted("/".join(each) for each in (meant or named))[:6]) or "none"
        why = "is none of those" if not meant else "may be each of several"
        raise KubernetesError(f"service {asked.service or '(not said)'} {why} that have endpoints: {there}")
    return [each for each in slices if _service_of(each) in meant]


def _service_of(each: Mapping[str, t.Any]) -> tuple[str, str]:
    metadata = _mapping(each, "metadata")
    return str(metadata.get("namespace", "default")), str(
        _mapping(metadata, "labels").get(_SERVICE, metadata.get("name"))
    )


def _endpoints(slices: Iterable[Mapping[str, t.Any]]) -> Iterable[Mapping[str, t.Any]]:
    return (endpoint for each in slices for endpoint in _list(each, "endpoints"))


def _endpoints_at(slices: Iterable[Mapping[str, t.Any]]) -> dict[str, list[str]]:
    """Node → the states of its endpoints; of a service of both families, each is in two slices and counts once."""
    found: dict[str, dict[str, str]] = {}
    for number, endpoint in enumerate(_endpoints(slices)):
        target = _mapping(endpoint, "targetRef")
        pod = str(target.get("uid") or target.get("name") or number)
        state = endpoint_state(endpoint)
        own = found.setdefault(str(endpoint.get("nodeName")), {})
        own[pod] = max(own.get(pod, state), state, key=STATES.index)
    return {node: list(states.values()) for node, states in found.items()}


def _pods(slices: Iterable[Mapping[str, t.Any]], ipv6: bool | None) -> list[dict[str, t.Any]]:
    found: dict[str, str] = {}
    for endpoint in _endpoints(slices):
        state = endpoint_state(endpoint)
        # The addresses of one endpoint are one pod's, of which the first is to be used.
        listed = endpoint.get("addresses")
        for text in listed[:1] if isinstance(listed, list) else ():
            address = read_host(text)
            if isinstance(address, Address) and (ipv6 is None or address.ipv6 == ipv6):
                # An address in several slices is as well as the best of them says.
                found[address.text] = min(found.get(address.text, state), state, key=STATES.index)
    return [
        {"address": address, **({} if state == "active" else {"state": state})}
        for address, state in sorted(found.items())
    ]
