# Copyright (c) 2026, the katran.fleet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reals of a Kubernetes cluster, of what kubectl printed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.utils.display import Display
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.katran.fleet.plugins.lookup.kubernetes_reals import LookupModule, age_warning, read_saved
from ansible_collections.katran.fleet.plugins.plugin_utils.kubernetes import (
    EXCLUDED,
    Asked,
    Cluster,
    KubernetesError,
    endpoint_state,
    left_out,
    node_state,
    reals_of,
)


def node(name: str, *addresses: str, ready: str = "True", labels: Any = None, **more: Any) -> dict[str, Any]:
    listed = [{"type": "Hostname", "address": name}, {"type": "ExternalIP", "address": "203.0.113.9"}]
    listed += [{"type": "InternalIP", "address": address} for address in addresses]
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": labels or {}, **more.pop("metadata", {})},
        "spec": more,
        "status": {"addresses": listed, "conditions": [{"type": "Ready", "status": ready}]},
    }


def endpoint(address: str, on: str, pod: str, **conditions: Any) -> dict[str, Any]:
    return {"addresses": [address], "nodeName": on, "targetRef": {"uid": pod}, "conditions": conditions}


def slice_of(*endpoints: dict[str, Any], service: str = "nginx", namespace: str = "ingress") -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": service}
    metadata = {"name": f"{service}-x1", "namespace": namespace, "labels": labels}
    return {"kind": "EndpointSlice", "metadata": metadata, "endpoints": list(endpoints)}


NODES = [
    node("n1", "10.0.0.1", "fc00::1"),
    node("n2", "10.0.0.2", "fc00::2", unschedulable=True),
    node("n3", "10.0.0.3", ready="Unknown"),
    node("n4", "10.0.0.4", "10.0.0.44", labels={"pool": "edge"}),
    node("n5", "10.0.0.5", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    node("n6", "10.0.0.6", labels={EXCLUDED: ""}),
]
SLICES = [
    slice_of(
        endpoint("10.1.0.1", "n1", "a", ready=True, serving=True, terminating=False),
        endpoint("10.1.0.2", "n1", "b", ready=True),
        endpoint("10.1.0.3", "n4", "c", ready=False, serving=True, terminating=True),
        endpoint("10.1.0.4", "n5", "d", ready=False, serving=False),
    ),
    slice_of(endpoint("fc01::1", "n1", "a"), endpoint("fc01::2", "n1", "b")),
]


def cluster(*items: dict[str, Any]) -> Cluster:
    found = Cluster()
    found.add({"kind": "List", "items": list(items)}, "saved.json")
    return found


def test_nodes() -> None:
    found = reals_of(cluster(*NODES), Asked())
    assert found == [
        {"address": "10.0.0.1"},
        {"address": "fc00::1"},
        {"address": "10.0.0.2", "state": "draining"},
        {"address": "fc00::2", "state": "draining"},
        {"address": "10.0.0.3", "state": "down"},
        {"address": "10.0.0.4"},
        {"address": "10.0.0.5", "state": "draining"},
    ]
    assert reals_of(cluster(*NODES), Asked(ipv6=True)) == [found[1], found[3]]
    assert reals_of(cluster(*NODES), Asked(labels={"pool": "edge"})) == [found[5]]


def test_nodes_that_have_an_endpoint() -> None:
    asked = Asked(local=True, ipv6=False)
    assert reals_of(cluster(*NODES, *SLICES), asked) == [
        {"address": "10.0.0.1"},
        {"address": "10.0.0.2", "state": "down"},
        {"address": "10.0.0.3", "state": "down"},
        {"address": "10.0.0.4", "state": "draining"},
        {"address": "10.0.0.5", "state": "down"},
    ]
    # A pod of both families is in two slices, and is one.
    weighed = reals_of(cluster(*NODES, *SLICES), Asked(local=True, weigh=True, ipv6=False))
    assert weighed[0] == {"address": "10.0.0.1", "weight": 2}


def test_pods() -> None:
    assert reals_of(cluster(*SLICES), Asked(pods=True)) == [
        {"address": "10.1.0.1"},
        {"address": "10.1.0.2"},
        {"address": "10.1.0.3", "state": "draining"},
        {"address": "10.1.0.4", "state": "down"},
        {"address": "fc01::1"},
        {"address": "fc01::2"},
    ]


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ({}, "active"),
        ({"ready": None, "serving": None, "terminating": None}, "active"),
        ({"ready": True, "serving": True, "terminating": False}, "active"),
        ({"ready": False}, "down"),
        ({"ready": False, "serving": True, "terminating": True}, "draining"),
        ({"ready": False, "serving": False, "terminating": True}, "down"),
        ({"ready": True, "serving": True, "terminating": True}, "draining"),
        ({"ready": True, "serving": False}, "down"),
        ({"ready": False, "serving": True}, "draining"),
    ],
)
def test_conditions_of_endpoints(conditions: dict[str, Any], state: str) -> None:
    assert endpoint_state({"conditions": conditions}) == state


def test_conditions_of_nodes() -> None:
    assert node_state({}) == "down"
    lost = {"conditions": [{"type": "Ready", "status": "True"}, {"type": "NetworkUnavailable", "status": "True"}]}
    assert node_state({"status": lost}) == "down"


@pytest.mark.parametrize(
    ("saved", "sentence"),
    [
        ([], "saved.json is not what kubectl get nodes or endpointslices prints with -o json"),
        ({"kind": "Pod"}, "saved.json is not what kubectl get nodes"),
        ({"items": [3]}, "saved.json: items[0] is no object"),
        ({"items": [{"kind": "Pod"}]}, "saved.json: items[0] is neither a Node nor an EndpointSlice, but Pod"),
        ({"items": [{"kind": "Node"}]}, "saved.json: items[0] has no metadata.name"),
    ],
)
def test_what_kubectl_does_not_print(saved: Any, sentence: str) -> None:
    with pytest.raises(KubernetesError) as error:
        Cluster().add(saved, "saved.json")
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("items", "asked", "sentence"),
    [
        (SLICES, Asked(), "no nodes were saved: give what kubectl get nodes -o json printed"),
        (NODES, Asked(local=True), "no endpoints were saved: give what kubectl get endpointslices"),
        (SLICES, Asked("web", pods=True), "service web is none of those that have endpoints: ingress/nginx"),
        (
            [*SLICES, slice_of(service="web")],
            Asked(pods=True),
            "service (not said) may be each of several that have endpoints: ingress/nginx, ingress/web",
        ),
        ([slice_of(namespace="a"), slice_of(namespace="b")], Asked("nginx", pods=True), "may be each of several"),
    ],
)
def test_what_was_not_saved(items: list[dict[str, Any]], asked: Asked, sentence: str) -> None:
    with pytest.raises(KubernetesError) as error:
        reals_of(cluster(*items), asked)
    assert sentence in str(error.value)


def test_a_service_by_its_namespace() -> None:
    items = [slice_of(endpoint("10.1.0.1", "n", "a"), namespace="a"), slice_of(namespace="b")]
    assert reals_of(cluster(*items), Asked("a/nginx", pods=True)) == [{"address": "10.1.0.1"}]
    assert reals_of(cluster(*items), Asked("b/nginx", pods=True)) == []


ANYTHING = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.sampled_from(["True", "10.0.0.1", "InternalIP", "Ready", "n1"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["metadata", "name", "labels", "spec", "status", "conditions", "addresses", "endpoints"]),
            inner,
            max_size=4,
        ),
    ),
)


@given(ANYTHING, st.sampled_from(["Node", "EndpointSlice"]), st.booleans())
def test_anything_is_told(inside: Any, kind: str, pods: bool) -> None:
    item = {**(inside if isinstance(inside, dict) else {"status": inside, "endpoints": inside}), "kind": kind}
    try:
        found = Cluster()
        found.add({"items": [item]}, "x")
        reals = reals_of(found, Asked(pods=pods, local=not pods))
        assert all(isinstance(each, str) for each in left_out(found, Asked(pods=pods, local=not pods)))
    except KubernetesError:
        return
    assert all(set(each) <= {"address", "state", "weight"} for each in reals)


def test_what_is_left_out_is_told() -> None:
    for asked in (Asked(), Asked(local=True), Asked(pods=True), Asked(labels={"pool": "edge"})):
        assert left_out(cluster(*NODES, *SLICES), asked) == []
    bare = [*NODES, node("n7"), node("n8", "10.0.0.300", ready="False"), node("n9", labels={EXCLUDED: ""})]
    assert left_out(cluster(*bare), Asked()) == ["without an InternalIP, and so left out: node n7, n8"]
    assert left_out(cluster(*NODES), Asked(ipv6=True)) == [
        "without an InternalIP of IPv6, and so left out: node n3, n4, n5"
    ]
    assert left_out(cluster(*NODES), Asked(labels={"pool": "egde"})) == [
        "none of 6 nodes has the labels pool=egde and is not excluded from load balancers"
    ]


def test_endpoints_that_are_left_out_are_told() -> None:
    lost = slice_of(
        endpoint("10.1.0.7", "n7", "g"),
        endpoint("10.1.0.8", "n8", "h", ready=False, serving=False),
        # A node that takes no packets of balancers is left out on purpose.
        endpoint("10.1.0.9", "n6", "i"),
        {"addresses": ["10.1.0.10"]},
        {"addresses": ["web.example.net"], "nodeName": "n1"},
    )
    found = cluster(*NODES, *SLICES, lost)
    assert left_out(found, Asked(local=True)) == [
        "1 endpoint left out, without the name of its node",
        "with endpoints that serve, but not among the nodes that were saved: node n7",
    ]
    assert left_out(found, Asked(pods=True)) == ["1 endpoint left out, without an address that can be read"]
    # What nobody asks for where the service is reached at every node.
    assert left_out(found, Asked()) == []


def test_warnings_of_the_lookup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "nodes.json"
    path.write_text(json.dumps({"kind": "NodeList", "items": [*NODES, node("n7")]}))
    told: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _self, text: told.append(text))
    options = {"service": "", "policy": "cluster", "family": None, "labels": {}, "weigh": False, "max_age": 0}
    lookup = LookupModule()
    monkeypatch.setattr(lookup, "set_options", lambda **_options: None)
    monkeypatch.setattr(lookup, "get_option", options.get)
    monkeypatch.setattr(lookup, "find_file_in_search_path", lambda _variables, _folder, term, **_options: term)
    assert len(lookup.run([str(path)], {})) == 7
    assert told == [f"katran.fleet.kubernetes_reals: {path}: without an InternalIP, and so left out: node n7"]


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "nodes.json"
    path.write_text(json.dumps({"kind": "NodeList", "items": NODES}))
    os.utime(path, (0, time.time() - 3 * 86400))
    saved, age = read_saved(str(path), "nodes.json")
    found = Cluster()
    found.add(saved, "nodes.json")
    assert reals_of(found, Asked(ipv6=True)) == [{"address": "fc00::1"}, {"address": "fc00::2", "state": "draining"}]
    assert "nodes.json is 3 days old" in age_warning("nodes.json", age, 3600)
    assert age_warning("nodes.json", age, 0) == age_warning("nodes.json", 5, 3600) == ""
    assert "is 119 seconds old" in age_warning("x", 119, 60)


@pytest.mark.parametrize(
    ("text", "sentence"), [("{", "x.json is no JSON: "), ("[" * 10**5, "is no JSON"), (None, "there is no such file")]
)
def test_files_that_say_nothing(tmp_path: Path, text: str | None, sentence: str) -> None:
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(KubernetesError) as error:
        read_saved(str(tmp_path / "x.json"), "x.json")
    assert sentence in str(error.value)
