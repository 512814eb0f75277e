"""Pods, wherever they are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rules.values import at, elements

_TEMPLATE = ("spec", "template", "spec")
_POD = {
    "Pod": ("spec",),
    "PodTemplate": ("template", "spec"),
    "CronJob": ("spec", "jobTemplate", *_TEMPLATE),
    "DaemonSet": _TEMPLATE,
    "Deployment": _TEMPLATE,
    "Job": _TEMPLATE,
    "ReplicaSet": _TEMPLATE,
    "ReplicationController": _TEMPLATE,
    "StatefulSet": _TEMPLATE,
}


def pod_spec(kind: str, props: Any) -> Any:
    """The pod specification in a Kubernetes resource (kubernetes:apps/v1:DaemonSet), None where it has none."""
    provider, _, name = kind.partition(":")
    path = _POD.get(name.rpartition(":")[2]) if provider == "kubernetes" else None
    return at(props, *path) if path else None


def annotation(kind: str, props: Any, name: str) -> Any:
    """An annotation of a resource's pods, None where they have none."""
    provider, _, of = kind.partition(":")
    path = _POD.get(of.rpartition(":")[2]) if provider == "kubernetes" else None
    # A pod's metadata is next to its specification.
    return at(props, *path[:-1], "metadata", "annotations", name) if path else None


def containers(kind: str, props: Any) -> Iterator[Any]:
    """All containers of a resource's pods, of every sort."""
    spec = pod_spec(kind, props)
    for sort in ("initContainers", "containers", "ephemeralContainers"):
        yield from elements(at(spec, sort))


def privileged(kind: str, props: Any, allowed: Sequence[str]) -> Iterator[str]:
    """Privileged containers in what is not allowed to have them; `allowed` has Kind/name, of any namespace."""
    owner = f"{kind.rpartition(':')[2]}/{at(props, 'metadata', 'name')}"
    for container in containers(kind, props):
        if at(container, "securityContext", "privileged") is True and owner not in allowed:
            yield f"container {at(container, 'name')} of {owner} is privileged; only {', '.join(allowed) or 'nothing'} may be"
