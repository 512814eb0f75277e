"""What Kubernetes reports about pods that do not become ready: phase, conditions and events, read from the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
from pulumi import ErrorHook, Output

from components.cluster.kubernetes_api import client, is_retried


def pod_report(name: str, kubeconfig: Output[str]) -> ErrorHook:
    """An error hook for all pods that logs why one is not ready with its second interface; it never hides the error itself.

    One for all, because a run that deletes a pod registers no hook of that pod's own, and the engine then reports the missing
    hook in place of the error.
    """

    async def report(args: pulumi.ErrorHookArgs) -> bool:
        # For a pod that is deleted the error says enough; an operation that is retried has not failed yet.
        if args.new_inputs is None or is_retried(args.errors):
            return False
        namespace, pod = args.new_inputs["metadata"]["namespace"], args.new_inputs["metadata"]["name"]
        text = await kubeconfig.future()
        report_text = describe(text, namespace, pod) if text else "nothing: the kubeconfig is not known"
        pulumi.log.error(
            f"pod {namespace}/{pod} did not become Ready with its second interface. The API says:\n{report_text}\n"
            "A Running pod without a line `Add net1` came up while Multus was not in place: delete it and run up again. "
            "FailedCreatePodSandBox names the plugin or network that is wrong; ErrImagePull the registry (k3s.registries)."
        )
        return False

    return ErrorHook(name, report)


def daemon_report(name: str, kubeconfig: Output[str], namespace: str, daemon: str, what: str) -> ErrorHook:
    """An error hook that logs why the pods of a DaemonSet, labelled `name: daemon`, are not ready. what: the setting of
    their image."""

    async def report(args: pulumi.ErrorHookArgs) -> bool:
        if is_retried(args.errors):
            return False
        text = await kubeconfig.future()
        report_text = describe_all(text, namespace, daemon) if text else "nothing: the kubeconfig is not known"
        pulumi.log.error(
            f"the pods of DaemonSet {daemon} in {namespace} did not become ready on all nodes. The API says:\n{report_text}\n"
            f"ErrImagePull names an image that the registry refuses: correct {what}, or the registry (k3s.registries)"
        )
        return False

    return ErrorHook(name, report)


def describe_all(kubeconfig: str, namespace: str, label: str) -> str:
    """`describe` for each pod with the label `name`. Never raises."""
    try:
        get = client(kubeconfig)
        pods = get(f"/api/v1/namespaces/{namespace}/pods?labelSelector=name%3D{label}")["items"]
        report_lines: list[str] = []
        for pod in pods:
            name = pod["metadata"]["name"]
            report_lines += [
                f"pod {name} on node {pod.get('spec', {}).get('nodeName')}:",
                *lines(pod, _events(get, namespace, name)),
            ]
        return "\n".join(report_lines) or "nothing: there is no such pod"
    except Exception as error:
        return f"nothing: {error!r}"


def describe(kubeconfig: str, namespace: str, pod: str) -> str:
    """Phase, conditions and events of the pod, a line each. Never raises."""
    try:
        get = client(kubeconfig)
        document = get(f"/api/v1/namespaces/{namespace}/pods/{pod}")
        return "\n".join(lines(document, _events(get, namespace, pod)))
    except Exception as error:
        return f"nothing: {error}"


def _events(get: Callable[[str], Any], namespace: str, pod: str) -> dict[str, Any]:
    events: dict[str, Any] = get(f"/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.name%3D{pod}")
    return events


def lines(pod: dict[str, Any], events: dict[str, Any]) -> list[str]:
    """The same from the API's objects. Pure."""
    status = pod.get("status", {})
    report_lines = [f"phase {status.get('phase')}"]
    report_lines += [
        f"{condition['type']}={condition['status']} {condition.get('reason', '')} {condition.get('message', '')}".rstrip()
        for condition in status.get("conditions", [])
    ]
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting")
        if waiting:
            report_lines.append(f"container {container['name']}: {waiting.get('reason')} {waiting.get('message', '')}".rstrip())
    items = sorted(events.get("items", []), key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    report_lines += [f"event {event.get('reason')}: {event.get('message')}" for event in items[-15:]]
    return report_lines
