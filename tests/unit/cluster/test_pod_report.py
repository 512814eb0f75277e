"""What is reported of a pod that does not become ready."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yaml
from pulumi import ErrorHookArgs, Output

from components.cluster.pod_report import describe, describe_all, lines, pod_report

pytestmark = pytest.mark.unit


def event(reason: str, message: str, **when: str) -> dict[str, Any]:
    return {"reason": reason, "message": message, **when}


def test_phase_conditions_waiting_containers_and_events_in_order() -> None:
    pod = {
        "status": {
            "phase": "Pending",
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "not yet"},
                {"type": "PodScheduled", "status": "True"},
            ],
            "initContainerStatuses": [{"name": "copy", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
            "containerStatuses": [
                {"name": "web", "state": {"waiting": {"reason": "ErrImagePull", "message": "no route"}}},
                {"name": "other", "state": {"running": {}}},
            ],
        }
    }
    events = {
        "items": [
            event("AddedInterface", "Add net1", lastTimestamp="2026-01-01T00:00:02Z"),
            event("AddedInterface", "Add eth0", lastTimestamp="2026-01-01T00:00:01Z"),
            event("Pulling", "image", lastTimestamp=None, eventTime="2026-01-01T00:00:03.000000Z"),  # type: ignore[arg-type]
        ]
    }
    assert lines(pod, events) == [
        "phase Pending",
        "Ready=False ContainersNotReady not yet",
        "PodScheduled=True",
        "container copy: CrashLoopBackOff",
        "container web: ErrImagePull no route",
        "event AddedInterface: Add eth0",
        "event AddedInterface: Add net1",
        "event Pulling: image",
    ]


def test_only_the_last_events_are_reported() -> None:
    items = [event("R", str(number), lastTimestamp=f"2026-01-01T00:00:{number:02}Z") for number in range(40)]
    report = lines({}, {"items": items})
    assert report[0] == "phase None"
    assert report[1:] == [f"event R: {number}" for number in range(25, 40)]


@pytest.mark.parametrize(
    ("pod", "events"),
    [
        ({}, {}),
        ({"status": {"conditions": None, "containerStatuses": None}}, {"items": None}),
        ({"status": None}, {}),
        ({"status": {"conditions": [{}]}}, {"items": [{}]}),
        ([], []),
    ],
)
def test_describe_never_raises_whatever_the_api_answers(monkeypatch: pytest.MonkeyPatch, pod: Any, events: Any) -> None:
    """It runs inside an error hook: an error there would replace the pod's own."""
    monkeypatch.setattr("components.cluster.pod_report.client", lambda _: lambda path: events if "events" in path else pod)
    assert describe("", "default", "p")


def test_one_hook_reports_the_pod_that_fails_and_not_one_that_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr("components.cluster.pod_report.describe", lambda _text, namespace, pod: f"seen of {namespace}/{pod}")
    monkeypatch.setattr("pulumi.log.error", messages.append)
    inputs = {"metadata": {"namespace": "web", "name": "nginx-2"}}

    async def story() -> None:
        report: Any = pod_report("pod-report", Output.from_input("kubeconfig")).callback
        what: dict[str, Any] = {"urn": "urn", "id": "", "name": "any", "type": "kubernetes:core/v1:Pod"}
        assert await report(ErrorHookArgs(**what, old_inputs=inputs, failed_operation="delete")) is False
        assert messages == []
        assert await report(ErrorHookArgs(**what, new_inputs=inputs, failed_operation="create")) is False, "not tried again"

    asyncio.run(story())
    (text,) = messages
    assert text.startswith("pod web/nginx-2 did not become Ready")
    assert "seen of web/nginx-2" in text


def test_each_pod_of_a_label_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    image = "ghcr.io/k8snetworkplumbingwg/multus-cni:v0"
    waiting = {"name": "install", "state": {"waiting": {"reason": "ErrImagePull", "message": f"{image}: not found"}}}
    pod = {"metadata": {"name": "ds-1"}, "spec": {"nodeName": "server-1"}, "status": {"initContainerStatuses": [waiting]}}
    paths: list[str] = []

    def get(path: str) -> Any:
        paths.append(path)
        return {"items": [] if "/events" in path else [pod]}

    monkeypatch.setattr("components.cluster.pod_report.client", lambda _: get)
    assert describe_all("", "kube-system", "multus") == (
        f"pod ds-1 on node server-1:\nphase None\ncontainer install: ErrImagePull {image}: not found"
    )
    assert paths[0] == "/api/v1/namespaces/kube-system/pods?labelSelector=name%3Dmultus"


@pytest.mark.parametrize("pods", [{}, {"items": None}, {"items": [{}]}, {"items": [None]}, []])
def test_describe_all_never_raises_and_says_something(monkeypatch: pytest.MonkeyPatch, pods: Any) -> None:
    monkeypatch.setattr("components.cluster.pod_report.client", lambda _: lambda _path: pods)
    assert describe_all("", "kube-system", "multus")


def test_an_api_that_does_not_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_path: str) -> Any:
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr("components.cluster.pod_report.client", lambda _: refused)
    assert describe("", "default", "p") == "nothing: refused"


@pytest.mark.parametrize(
    "kubeconfig",
    ["", "[]", "clusters: []", ": :", yaml.safe_dump({"clusters": [{"cluster": {}}], "users": [{"user": {}}]})],
)
def test_describe_never_raises(kubeconfig: str) -> None:
    assert describe(kubeconfig, "default", "p").startswith("nothing: ")
