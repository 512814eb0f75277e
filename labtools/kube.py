"""Nodes and pods as the Kubernetes API tells them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

NETWORKS = "k8s.v1.cni.cncf.io/networks"
STATUS = "k8s.v1.cni.cncf.io/network-status"


@dataclass(frozen=True, kw_only=True)
class Interface:
    """One interface of a pod. network: the NetworkAttachmentDefinition, or the cluster's own network for eth0."""

    name: str
    network: str
    address: str
    mac: str = ""


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod that has, or asks for, an interface beside the cluster's own. complete: it has what it asks for."""

    namespace: str
    name: str
    node: str
    phase: str
    ready: bool
    interfaces: tuple[Interface, ...]
    complete: bool

    @property
    def second(self) -> tuple[Interface, ...]:
        """Its interfaces on other networks than the cluster's."""
        return tuple(each for each in self.interfaces if each.name != "eth0")

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class KubeNode:
    name: str
    ready: bool
    version: str


def read(kubeconfig: str) -> tuple[list[KubeNode], list[Pod]]:
    """Nodes, and the pods with networks of their own. Raises OSError or ValueError if the API does not tell them."""
    from components import kubernetes_api  # noqa: PLC0415 - imports Pulumi, which takes a second

    get = kubernetes_api.client(kubeconfig)
    return nodes(get("/api/v1/nodes")), pods(get("/api/v1/pods"))


def nodes(document: dict[str, Any]) -> list[KubeNode]:
    found = []
    for item in document.get("items") or ():
        status = item.get("status", {})
        ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in status.get("conditions") or ())
        version = status.get("nodeInfo", {}).get("kubeletVersion", "")
        found.append(KubeNode(name=item["metadata"]["name"], ready=ready, version=version))
    return sorted(found, key=lambda node: node.name)


def pods(document: dict[str, Any]) -> list[Pod]:
    found = []
    for item in document.get("items") or ():
        annotations = item["metadata"].get("annotations") or {}
        asked = _count(annotations.get(NETWORKS, ""))
        given = interfaces(annotations.get(STATUS, ""))
        second = [each for each in given if each.name != "eth0"]
        if not asked and not second:
            continue
        status = item.get("status", {})
        ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in status.get("conditions") or ())
        found.append(
            Pod(
                namespace=item["metadata"].get("namespace", "default"),
                name=item["metadata"]["name"],
                node=item.get("spec", {}).get("nodeName", ""),
                phase=status.get("phase", ""),
                ready=ready,
                interfaces=given,
                complete=len(second) >= asked,
            )
        )
    return sorted(found, key=lambda pod: (pod.namespace, pod.name))


def _count(networks: str) -> int:
    """How many networks the annotation asks for: a list of names with commas between, or JSON."""
    if networks.strip().startswith("["):
        try:
            return len(json.loads(networks))
        except ValueError:
            return 1
    return len([name for name in networks.split(",") if name.strip()])


def interfaces(status: str) -> tuple[Interface, ...]:
    """Multus's report of a pod's interfaces, one for each address."""
    try:
        entries = json.loads(status) if status else []
    except ValueError:
        return ()
    return tuple(
        Interface(
            name=str(entry.get("interface") or "eth0"),
            network=str(entry.get("name", "")),
            address=str(address),
            mac=str(entry.get("mac") or ""),
        )
        for entry in entries
        for address in entry.get("ips") or ("",)
    )
