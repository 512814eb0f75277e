"""A preview of a pod that runs in another shape: what the provider would try on the running one is left unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from components.network import running_pods
from components.network.changed_network import NETWORK_REVISION
from components.network.running_pods import PodShape, shape_of_spec

from .conftest import Run
from .engine import UNKNOWN, Deployment, config_of, run

pytestmark = pytest.mark.program

CHANGES: dict[str, Mapping[str, Any]] = {
    "as it is": {},
    "port": {"workload": {"port": 8080}},
    "user": {"workload": {"user": 101}},
    "directories": {"workload": {"emptyDirs": ["/srv"]}},
    "hardened": {"k3s": {"hardened": True}},
    "node": {"workload": {"perNode": True}},
}
IMAGE = {"workload": {"image": "docker.io/library/nginx:1.26"}}


def pod(deployment: Any) -> dict[str, Any]:
    inputs: dict[str, Any] = next(resource for resource in deployment.custom if resource.kind == "Pod").inputs
    return inputs


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_sent_is_read_as_the_shape_that_the_settings_have(
    deploy: Run, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Otherwise a preview would take each running pod for one that is made again."""
    sent = pod(deploy("dev", CHANGES[change]))
    assert revision(monkeypatch, CHANGES[change], [sent]) == sent["metadata"]["annotations"][NETWORK_REVISION]


@pytest.mark.parametrize("change", [name for name in CHANGES if name not in ("as it is", "node")])
def test_in_another_shape_it_is_unknown(deploy: Run, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    assert revision(monkeypatch, CHANGES[change], [pod(deploy("dev"))]) is UNKNOWN
    assert revision(monkeypatch, {}, [pod(deploy("dev", CHANGES[change]))]) is UNKNOWN, "and back"


def test_another_image_and_pods_of_others_change_nothing(deploy: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    running = pod(deploy("dev"))
    other = {"metadata": {"name": "another"}, "spec": {"containers": [{"name": "x"}]}}
    assert isinstance(revision(monkeypatch, IMAGE, [other, running]), str)
    assert isinstance(revision(monkeypatch, CHANGES["port"], [other]), str), "it does not run"


def test_without_an_answer_it_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(revision(monkeypatch, CHANGES["port"], OSError("no route to host")), str)


@pytest.mark.parametrize(
    ("node", "change", "warned"),
    [("agent-2", {}, True), ("server-1", {}, False), ("", {}, False), ("agent-2", {"workload": {"perNode": True}}, False)],
    ids=["on a node that leaves", "on one that stays", "on none yet", "one that is bound to its node"],
)
def test_a_pod_on_a_node_that_leaves_is_warned_of(
    deploy: Run, monkeypatch: pytest.MonkeyPatch, node: str, change: dict[str, Any], warned: bool
) -> None:
    """No step of the run makes it again: the node is drained last."""
    sent = pod(deploy("dev", change))
    running = {**sent, "spec": {**sent["spec"], "nodeName": node}}
    deployment = previewed(monkeypatch, change, [running])
    warnings = [text for kind, text in deployment.log if kind == "WARNING" and "leaves the cluster" in text]
    assert bool(warnings) == warned, deployment.log
    for warning in warnings:
        assert "pod nginx-macvlan runs on agent-2" in warning and "./lab drain agent-2" in warning


def test_what_the_api_adds_is_of_no_shape() -> None:
    spec = {
        "nodeName": "server-1",
        "securityContext": {},
        "tolerations": [{"key": "node.kubernetes.io/not-ready"}],
        "containers": [
            {
                "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"}],
                "volumeMounts": [{"name": "token", "mountPath": "/var/run"}],
            }
        ],
        "volumes": [{"name": "token", "projected": {}}],
    }
    assert shape_of_spec(spec) == PodShape(node="", user=0, port=80, directories=())


def revision(monkeypatch: pytest.MonkeyPatch, change: Mapping[str, Any], running: list[dict[str, Any]] | OSError) -> Any:
    """The annotation of the pod in a preview, where the API answers with these pods."""
    return pod(previewed(monkeypatch, change, running))["metadata"]["annotations"][NETWORK_REVISION]


def previewed(monkeypatch: pytest.MonkeyPatch, change: Mapping[str, Any], running: list[dict[str, Any]] | OSError) -> Deployment:
    queried: list[str] = []

    def get(path: str) -> Any:
        queried.append(path)
        if isinstance(running, OSError):
            raise running
        return {"items": running}

    monkeypatch.setattr(running_pods, "ABSENT", "NOT_SET_BY_THE_ENGINE_OF_THE_TESTS")
    monkeypatch.setattr(running_pods, "client", lambda _kubeconfig: get)
    deployment = run(config_of("dev", change), mode="again")
    assert queried == ["/api/v1/namespaces/default/pods"], "once for all pods"
    return deployment
