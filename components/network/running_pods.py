"""A pod of the stack that runs and has to be made again, because the API changes hardly anything of a running one.

Pulumi's Kubernetes provider replaces such a pod. In a preview it lets the API apply the new one over the running one, without
storing it, and fails with the API's refusal ("pod updates may not change fields other than …"). What has an unknown value it leaves
out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import Input, Output
from pulumi.output import UNKNOWN
from pulumi.runtime import is_dry_run

from components.cluster.kubernetes_api import ABSENT, client
from components.config.settings import Workload
from components.node.hook_threads import in_thread


@dataclass(frozen=True)
class PodShape:
    """What settings decide of a pod's spec and the API does not change: all but the image."""

    node: str
    """The node that it is bound to, or empty."""
    user: int
    """User ID that it has to run as, with all that comes with it; 0: the image's."""
    port: int
    """Its container's port."""
    directories: tuple[str, ...]
    """Where it has an emptyDir each."""


def shape_of_settings(workload: Workload, node: str) -> PodShape:
    return PodShape(node, workload.user or 0, workload.port, tuple(workload.empty_dirs or ()))


def shape_of_spec(spec: Mapping[str, Any]) -> PodShape | None:
    """Of a pod's spec as Kubernetes writes it; None where it is no pod of this program's. Pure."""
    try:
        container = spec["containers"][0]
        volumes = {volume["name"] for volume in spec.get("volumes") or () if "emptyDir" in volume}
        return PodShape(
            node=str((spec.get("nodeSelector") or {}).get("kubernetes.io/hostname", "")),
            user=int((spec.get("securityContext") or {}).get("runAsUser") or 0),
            port=int(container["ports"][0]["containerPort"]),
            directories=tuple(mount["mountPath"] for mount in container.get("volumeMounts") or () if mount["name"] in volumes),
        )
    except (LookupError, TypeError, ValueError):
        return None


def on_nodes_that_leave(pods: Iterable[Mapping[str, Any]], names: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """What to warn of: a node is drained after everything else, so the run itself has no later step that would make its pod again.
    Pure."""
    places = {pod["metadata"]["name"]: str(pod["spec"].get("nodeName") or "") for pod in pods}
    return [
        f"pod {name} runs on {place}, which leaves the cluster, and ends there: ./lab drain {place} before moves it to another "
        "node, ./lab up --refresh afterwards makes it again"
        for name in names
        if (place := places.get(name, "")) and place not in nodes
    ]


class RunningPods:
    """What runs of the stack's pods, for a preview; in an `up`, or where the API does not answer, nothing.

    kubeconfig: of the cluster, which may be unknown or not answer. namespace: of the pods, of which it reads all at once. names: of
    the stack's pods that are bound to no node. nodes: of the stack. Warns of such a pod on a node that leaves.
    """

    def __init__(self, kubeconfig: Output[str], namespace: str, names: Sequence[str], nodes: Sequence[str]) -> None:
        reads = is_dry_run() and not os.environ.get(ABSENT)
        self._shapes: Output[Mapping[str, PodShape | None]] = Output.from_input(
            _shapes(kubeconfig, f"/api/v1/namespaces/{namespace}/pods", names, nodes) if reads else {}
        )

    def unless_replaced(self, name: str, wanted: PodShape, value: str) -> Input[str]:
        """`value` for the pod of this name; unknown in a preview where it has to be made again because it runs in another shape."""
        if not is_dry_run():
            return value
        unknown: Output[Any] = Output.from_input(UNKNOWN)
        return self._shapes.apply(lambda shapes: value if shapes.get(name, wanted) == wanted else unknown)


async def _shapes(kubeconfig: Output[str], path: str, names: Sequence[str], nodes: Sequence[str]) -> Mapping[str, PodShape | None]:
    """By name. The provider finds out by itself, and says, that the API does not answer."""
    text = await kubeconfig.future()
    if not text:
        return {}
    try:
        pods = await in_thread(lambda: client(text)(path))
        for warning in on_nodes_that_leave(pods["items"], names, nodes):
            pulumi.log.warn(warning)
        return {pod["metadata"]["name"]: shape_of_spec(pod["spec"]) for pod in pods["items"]}
    except Exception as error:
        pulumi.log.debug(f"which pods run is not known: {error!r}")
        return {}
