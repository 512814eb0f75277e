"""What becomes of a node's pods, and their evictions."""

from __future__ import annotations

import io
import json
import time
import urllib.error
from email.message import Message
from typing import Any

import pytest

from cli.draining import Guest, drain, guests, others_take_pods
from cli.kube import NETWORK_REVISION, KubeNode
from cli.networks import NETWORKS, STATUS

pytestmark = pytest.mark.unit

OWN: dict[str, Any] = {"labels": {"app.kubernetes.io/managed-by": "pulumi"}, "annotations": {NETWORK_REVISION: "abc"}}


def pod(name: str, *, controller: str = "", node: str = "agent-1", phase: str = "Running", spec: Any = None, **meta: Any) -> Any:
    owners = [{"kind": controller, "name": "owner", "controller": True}] if controller else []
    return {
        "metadata": {"namespace": "home", "name": name, "uid": f"uid-{name}", "ownerReferences": owners, **meta},
        "spec": {"nodeName": node, **(spec or {})},
        "status": {"phase": phase},
    }


def fates(*pods: Any, elsewhere: bool = True, comes_back: bool = False) -> dict[str, str]:
    found = guests({"items": pods}, {}, "agent-1", elsewhere=elsewhere, comes_back=comes_back)
    return {guest.name: guest.fate for guest in found}


def test_pods_leave_by_their_controllers_and_the_node_s_own_stay() -> None:
    mirror = pod("static", controller="Node", annotations={"kubernetes.io/config.mirror": "x"})
    found = fates(
        pod("web", controller="ReplicaSet"),
        pod("base", controller="StatefulSet"),
        pod("multus", controller="DaemonSet"),
        mirror,
        pod("done", controller="Job", phase="Succeeded"),
        pod("elsewhere", controller="ReplicaSet", node="agent-2"),
    )
    assert found == {"web": "evicted", "base": "evicted", "multus": "stays", "static": "stays"}


def test_the_stack_s_own_pod_moves_unless_it_is_bound_to_the_node() -> None:
    bound = pod("bound", spec={"nodeSelector": {"kubernetes.io/hostname": "agent-1"}}, **OWN)
    assert fates(pod("free", **OWN), bound) == {"free": "moves", "bound": "stays"}
    assert fates(pod("free", **OWN), elsewhere=False) == {"free": "stays"}


def test_a_pod_that_nothing_makes_again_is_lost_in_a_drain_and_restarted_in_a_reboot() -> None:
    theirs = pod("theirs", labels={"app.kubernetes.io/managed-by": "pulumi"})
    assert fates(pod("bare"), theirs) == {"bare": "lost", "theirs": "lost"}
    assert fates(pod("bare"), comes_back=True) == {"bare": "stays"}


def test_what_it_takes_along_and_loses_is_named() -> None:
    volumes = [
        {"name": "cache", "emptyDir": {}},
        {"name": "logs", "hostPath": {"path": "/var/log"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "shared", "persistentVolumeClaim": {"claimName": "shared"}},
    ]
    interface = {"name": "home/iot", "interface": "net1", "ips": ["192.168.50.10"], "mac": "02:00:00:00:00:01"}
    leased = {"name": "home/lan", "interface": "net2", "ips": ["192.168.122.205"], "mac": "02:00:00:00:00:02"}
    annotations = {
        NETWORKS: json.dumps([{"name": "iot", "ips": ["192.168.50.10/24"]}, {"name": "lan"}]),
        STATUS: json.dumps([{"name": "cbr0", "interface": "eth0", "ips": ["10.42.0.4"], "default": True}, interface, leased]),
    }
    claims = {
        "items": [
            {"spec": {"claimRef": {"namespace": "home", "name": "data"}, "hostPath": {"path": "/x"}}},
            {"spec": {"claimRef": {"namespace": "home", "name": "shared"}, "nfs": {"server": "nas"}}},
            {"spec": {"local": {"path": "/y"}}},
        ]
    }
    item = pod("assistant", controller="StatefulSet", spec={"volumes": volumes}, annotations=annotations)
    (found,) = guests({"items": [item]}, claims, "agent-1", elsewhere=True, comes_back=False)
    assert found.notes == (
        "loses what is in its emptyDir cache",
        "leaves /var/log of this node",
        "its volume data is on this node (hostPath), so it waits until the node takes pods",
        "keeps 192.168.50.10 on home/iot",
        "may get another address than 192.168.122.205 on home/lan",
    )
    assert str(found).startswith("home/assistant: loses")


def test_other_nodes_take_pods_if_one_is_there_for_them() -> None:
    def node(name: str, *, ready: bool = True, cordoned: bool = False) -> KubeNode:
        return KubeNode(name=name, ready=ready, version="", cordoned=cordoned)

    assert others_take_pods([node("agent-1"), node("agent-2")], "agent-1")
    assert not others_take_pods([node("agent-1"), node("agent-2", ready=False), node("agent-3", cordoned=True)], "agent-1")


class Cluster:
    """Pods on a node that end at the n-th query after their eviction. silent: queries that get no answer."""

    def __init__(self, **ends: int) -> None:
        self.ends, self.left = ends, dict.fromkeys(ends, -1)
        self.budget: dict[str, int] = {}
        self.silent = 0
        self.evictions: list[str] = []
        self.now = 0.0

    def get(self, path: str) -> Any:
        assert path == "/api/v1/pods?fieldSelector=spec.nodeName%3Dagent-1"
        if self.silent:
            self.silent -= 1
            raise OSError("connection refused")
        for name, left in self.left.items():
            self.left[name] = left - 1 if left > 0 else left
        return {"items": [pod(name) for name, left in self.left.items() if left != 0]}

    def send(self, method: str, path: str, document: Any) -> None:
        name = document["metadata"]["name"]
        assert (method, path) == ("POST", f"/api/v1/namespaces/home/pods/{name}/eviction")
        assert document["deleteOptions"]["preconditions"] == {"uid": f"uid-{name}"}
        self.evictions.append(name)
        if self.budget.get(name, 0) > 0:
            self.budget[name] -= 1
            body = io.BytesIO(json.dumps({"message": "would violate the budget of web"}).encode())
            raise urllib.error.HTTPError(path, 429, "Too Many Requests", Message(), body)
        if self.left[name] < 0:
            self.left[name] = self.ends[name]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster(web=1, base=3)

    def sleep(seconds: float) -> None:
        cluster.now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    return cluster


def leaving(*names: str) -> list[Guest]:
    return [Guest(namespace="home", name=name, uid=f"uid-{name}", fate="evicted") for name in names]


def drained(cluster: Cluster, limit: float = 60) -> list[str]:
    return drain(cluster, "agent-1", leaving(*cluster.ends), limit, clock=lambda: cluster.now)


def test_each_is_evicted_once_and_waited_for(clock: Cluster) -> None:
    assert drained(clock) == []
    assert clock.evictions == ["web", "base"] and clock.now < 10


def test_a_disruption_budget_is_tried_again_and_named_at_the_limit(clock: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    clock.budget = {"base": 2}
    assert drained(clock) == []
    assert clock.evictions.count("base") == 3 and clock.evictions.count("web") == 1
    stuck = Cluster(base=1)
    clock.ends, clock.left, clock.budget, clock.now = stuck.ends, stuck.left, {"base": 99}, 0.0
    assert drained(clock, 30) == ["home/base (would violate the budget of web)"]
    assert 30 <= clock.now < 34
    assert "agent-1: waiting for home/base to end, 10 of 30 s" in capsys.readouterr().err


def test_an_api_that_is_silent_for_a_while_ends_nothing(clock: Cluster) -> None:
    clock.silent = 3
    assert drained(clock) == []
