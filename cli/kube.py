"""Nodes, pods and NetworkAttachmentDefinitions as the Kubernetes API tells them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cli import networks
from cli.networks import NETWORKS, STATUS, Interface, NetworkSelection

_ENDED = ("Succeeded", "Failed")
_DEFINITIONS = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions"
_FAILURES = "/api/v1/events?fieldSelector=reason%3DFailedCreatePodSandBox"
_LONGEST_MESSAGE = 400


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod that has, or asks for, an interface beside the cluster's own, or whose network cannot be made.

    requests: what its annotation asks for. interfaces: what network-status reports. problems: in what it differs from what it asks
    for, or why it does not start, each with the way out. waiting: its network is not made yet.
    """

    namespace: str
    name: str
    node: str
    phase: str
    ready: bool
    deleted: bool = False
    requests: tuple[NetworkSelection, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    problems: tuple[str, ...] = ()
    waiting: bool = False

    @property
    def ended(self) -> bool:
        """It runs no more: its sandbox, and with it each address, is given back, whatever its annotation still says."""
        return self.phase in _ENDED

    @property
    def complete(self) -> bool:
        """It has what it asks for, as far as it can be expected to."""
        return self.ended or not (self.problems or self.waiting)

    @property
    def second(self) -> tuple[Interface, ...]:
        """Its interfaces on other networks than the cluster's."""
        return tuple(each for each in self.interfaces if each.own)

    def plain(self) -> dict[str, Any]:
        own = {key: value for key, value in asdict(self).items() if key != "requests"}
        own["interfaces"] = [{**asdict(each), "own": each.own} for each in self.interfaces]
        asked = [each.model_dump(mode="json", by_alias=True, exclude_defaults=True) for each in self.requests]
        return {**own, "requests": asked, "ended": self.ended, "complete": self.complete}


@dataclass(frozen=True, kw_only=True)
class KubeNode:
    """version: of the kubelet. addresses: InternalIP and ExternalIP."""

    name: str
    ready: bool
    version: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A NetworkAttachmentDefinition.

    network: namespace/name. type, master: its first plugin's and the parent interface; empty where its configuration does not tell.
    """

    network: str
    type: str
    master: str


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What the API tells. notes: what it does not tell, and why."""

    nodes: list[KubeNode]
    pods: list[Pod]
    definitions: tuple[Definition, ...] = ()
    notes: tuple[str, ...] = ()


def read(kubeconfig: str) -> Cluster:
    """The cluster. Raises OSError or ValueError if the API does not tell nodes and pods."""

    from components.cluster import kubernetes_api  # noqa: PLC0415 - imports Pulumi, which takes a second

    get = kubernetes_api.client(kubeconfig)
    notes: list[str] = []

    def beside(path: str, what: str) -> dict[str, Any]:
        try:
            found = get(path)
        except (OSError, ValueError) as error:
            notes.append(f"{what} not read: {error}")
            return {}
        return found if isinstance(found, dict) else {}

    told, placed = get("/api/v1/nodes"), get("/api/v1/pods")
    failures = beside(_FAILURES, "events of pods")
    defined = beside(_DEFINITIONS, "NetworkAttachmentDefinitions")
    return Cluster(nodes=nodes(told), pods=pods(placed, failures), definitions=definitions(defined), notes=tuple(notes))


def nodes(document: dict[str, Any]) -> list[KubeNode]:
    found = []
    for item in document.get("items") or ():
        status = item.get("status", {})
        version = status.get("nodeInfo", {}).get("kubeletVersion", "")
        addresses = tuple(
            str(each["address"]) for each in status.get("addresses") or () if each.get("type") in ("InternalIP", "ExternalIP")
        )
        ready = _condition(status, "Ready") == "True"
        found.append(KubeNode(name=item["metadata"]["name"], ready=ready, version=version, addresses=addresses))
    return sorted(found, key=lambda node: node.name)


def _condition(status: Mapping[str, Any], kind: str, field: str = "status") -> str:
    """A field of the condition of this type; empty where there is none."""
    return next((str(each.get(field) or "") for each in status.get("conditions") or () if each.get("type") == kind), "")


def definitions(document: dict[str, Any]) -> tuple[Definition, ...]:
    return tuple(sorted(map(_definition, document.get("items") or ()), key=lambda each: each.network))


def _definition(item: dict[str, Any]) -> Definition:
    metadata = item["metadata"]
    try:
        config = json.loads((item.get("spec") or {}).get("config") or "{}")
    except ValueError:
        config = {}
    config = config if isinstance(config, dict) else {}
    chained = config.get("plugins")
    first = chained[0] if isinstance(chained, list) and chained and isinstance(chained[0], dict) else config
    network = f"{metadata.get('namespace', 'default')}/{metadata['name']}"
    return Definition(network=network, type=str(first.get("type") or ""), master=str(first.get("master") or ""))


def pods(document: dict[str, Any], failures: dict[str, Any] | None = None) -> list[Pod]:
    """Pods with networks of their own, and those whose network cannot be made. failures: events FailedCreatePodSandBox."""
    failed = sandbox_failures(failures or {})
    found = []
    for item in document.get("items") or ():
        metadata, status = item["metadata"], item.get("status", {})
        namespace, name = metadata.get("namespace", "default"), metadata["name"]
        annotations = metadata.get("annotations") or {}
        asked, wrong = _requests(annotations.get(NETWORKS, ""), namespace)
        given = networks.interfaces(annotations.get(STATUS, ""))
        failure = "" if _has_sandbox(status) else failed.get((namespace, name, str(metadata.get("uid", ""))), "")
        if not (asked or wrong or failure or any(each.own for each in given)):
            continue
        ended = status.get("phase") in _ENDED
        started = _has_sandbox(status) or bool(given)
        lacks = networks.differences(asked, given) if started else ()
        found.append(
            Pod(
                namespace=namespace,
                name=name,
                node=item.get("spec", {}).get("nodeName", ""),
                phase=status.get("phase", ""),
                ready=_condition(status, "Ready") == "True",
                deleted="deletionTimestamp" in metadata,
                requests=asked,
                interfaces=given,
                problems=() if ended else tuple(_problems(status, wrong, failure, lacks)),
                waiting=not started,
            )
        )
    return sorted(found, key=lambda pod: (pod.namespace, pod.name))


def _requests(annotation: str, namespace: str) -> tuple[tuple[NetworkSelection, ...], str]:
    """What is asked for, and what is wrong with it."""
    try:
        return networks.requests(annotation, namespace), ""
    except ValueError as error:
        return (), str(error)


def _problems(status: Mapping[str, Any], wrong: str, failure: str, differences: tuple[str, ...]) -> Iterator[str]:
    if wrong:
        yield f"its annotation {NETWORKS} is one that Multus refuses: {wrong}; correct it in what makes the pod"
    if failure:
        yield f"its network cannot be made: {failure}"
    elif _condition(status, "PodScheduled") == "False":
        yield f"no node takes it: {_readable(_condition(status, 'PodScheduled', 'message'))}"
    for each in differences:
        yield f"{each}: delete it, so that it is made again"


def _has_sandbox(status: Mapping[str, Any]) -> bool:
    """Whether its network has been made. The condition is the kubelet's own word; before Kubernetes 1.28 there is none."""
    told = _condition(status, "PodReadyToStartContainers")
    if told:
        return told == "True"
    return bool(status.get("podIP")) or status.get("phase") not in ("Pending", None, "")


def sandbox_failures(document: dict[str, Any]) -> dict[tuple[str, str, str], str]:
    """The last failure to make a pod's sandbox, by namespace, name and UID of the pod."""
    found: dict[tuple[str, str, str], str] = {}
    items = document.get("items") or ()
    for event in sorted(items, key=_last_seen):
        pod = event.get("involvedObject") or {}
        key = (str(pod.get("namespace", "")), str(pod.get("name", "")), str(pod.get("uid", "")))
        found[key] = _cause(str(event.get("message") or ""))
    return found


def _last_seen(event: Mapping[str, Any]) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _cause(message: str) -> str:
    """The plugin's own words, without containerd's before them."""
    _before, sign, cause = message.rpartition("failed (add): ")
    return _readable(cause if sign else message)


def _readable(text: str) -> str:
    text = re.sub(r"\s+", " ", "".join(each if each.isprintable() else " " for each in text)).strip()
    return text if len(text) <= _LONGEST_MESSAGE else "…" + text[-_LONGEST_MESSAGE:]
