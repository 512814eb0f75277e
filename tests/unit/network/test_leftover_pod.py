"""A pod that a killed run has left: deleted where it is the stack's own and on other networks."""

from __future__ import annotations

import io
import urllib.error
from email.message import Message
from typing import Any

import pytest

from components.network import leftover_pod
from components.network.leftover_pod import MACHINE, NETWORKS, is_leftover

pytestmark = pytest.mark.unit

LABELS = {"app.kubernetes.io/name": "nginx-macvlan", "app.kubernetes.io/managed-by": "pulumi"}
REVISION = "k3s-macvlan.dev/network-revision"
METADATA: dict[str, Any] = {
    "name": "nginx-macvlan",
    "namespace": "default",
    "labels": LABELS,
    "annotations": {NETWORKS: "macvlan-conf", REVISION: "1"},
}


def spec(port: int) -> dict[str, Any]:
    return {"containers": [{"name": "web", "ports": [{"name": "http", "containerPort": port}]}]}


WANTED: dict[str, Any] = {"metadata": METADATA, "spec": spec(80)}


def found(labels: dict[str, str] | None = None, port: int = 80, **annotations: str) -> dict[str, Any]:
    names = {"networks": NETWORKS, "revision": REVISION, "machine": MACHINE}
    return {
        "metadata": {
            "labels": LABELS if labels is None else labels,
            "annotations": {names[key]: value for key, value in annotations.items()},
        },
        "spec": spec(port),
    }


@pytest.mark.parametrize(
    ("pod", "leftover"),
    [
        (found(networks="macvlan-conf", revision="1"), False),
        (found(networks="macvlan-conf", revision="0"), True),
        (found(networks="iot", revision="1"), True),
        (found(networks="iot"), False),
        (found(networks="macvlan-conf", revision="1", machine="of-another"), True),
        (found(port=8080, networks="macvlan-conf", revision="1"), True),
        (found({}, networks="iot", revision="0"), False),
        (found({}, port=8080), False),
        ({"metadata": {}, "spec": {}}, False),
    ],
)
def test_only_a_pod_of_the_stack_s_own_on_other_networks_is_left_over(pod: dict[str, Any], leftover: bool) -> None:
    assert is_leftover(pod, WANTED) is leftover


def test_a_pod_that_the_cluster_s_data_have_brought_back_is_of_a_former_machine() -> None:
    wanted = {**WANTED, "metadata": {**METADATA, "annotations": {**METADATA["annotations"], MACHINE: "disk-2"}}}
    assert [is_leftover(found(networks="macvlan-conf", revision="1", machine=disk), wanted) for disk in ("disk-1", "disk-2")] == [
        True,
        False,
    ]


def test_it_is_deleted_and_its_end_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [found(networks="iot", revision="0")] * 2
    deleted: list[str] = []

    def get(path: str) -> Any:
        if not answers:
            raise urllib.error.HTTPError(path, 404, "gone", Message(), io.BytesIO())
        return answers.pop()

    monkeypatch.setattr(leftover_pod, "client", lambda _: get)
    monkeypatch.setattr(leftover_pod, "delete", lambda _, path: deleted.append(path))
    monkeypatch.setattr("components.network.leftover_pod.time.sleep", lambda _: None)
    monkeypatch.setattr("pulumi.log.info", lambda _: None)
    leftover_pod._delete_leftover("kubeconfig", WANTED, 60)
    assert deleted == ["/api/v1/namespaces/default/pods/nginx-macvlan"] and not answers


@pytest.mark.parametrize(
    "error", [OSError("no route"), KeyError("no certificate"), urllib.error.HTTPError("u", 500, "broken", Message(), io.BytesIO())]
)
def test_an_api_that_does_not_answer_is_said_and_no_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    warned: list[str] = []

    def get(_: str) -> Any:
        raise error

    monkeypatch.setattr(leftover_pod, "client", lambda _: get)
    monkeypatch.setattr("pulumi.log.warn", warned.append)
    leftover_pod._delete_leftover("kubeconfig", WANTED, 60)
    assert len(warned) == 1 and "nginx-macvlan" in warned[0]
