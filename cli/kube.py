"""Nodes, pods and NetworkAttachmentDefinitions as the Kubernetes API reports them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from cli import networks
from cli.networks import NETWORKS, STATUS, Interface, NetworkSelection

NETWORK_REVISION = "k3s-macvlan.dev/network-revision"
"""Annotation of the program's own definitions, a revision, and of its own pods: those of their networks, in the order of their
requests. That of components.network.changed_network, which imports Pulumi."""

_ENDED = ("Succeeded", "Failed")
_MULTUS_CONTAINER = "kube-multus"
_ETCD = "node-role.kubernetes.io/etcd"
_DEFINITIONS = "/apis/k8s.cni.cncf.io/v1/network-attachment-definitions"
_FAILURES = "/api/v1/events?fieldSelector=reason%3DFailedCreatePodSandBox"
_LONGEST_MESSAGE = 400
_LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/plndr-cp-lock"
"""kube-vip's, which the server with the virtual address holds."""


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod that has, or requests, an interface in addition to the cluster's own, or whose network cannot be made."""

    namespace: str
    name: str
    node: str
    """Name of the node it is scheduled on; empty: none yet."""
    phase: str
    """status.phase: Pending, Running, Succeeded, Failed or Unknown."""
    ready: bool
    """Its condition Ready is True."""
    deleted: bool = False
    """It is being deleted: it has a deletionTimestamp."""
    requests: tuple[NetworkSelection, ...] = ()
    """Networks that its annotation requests."""
    interfaces: tuple[Interface, ...] = ()
    """Interfaces that network-status reports, the cluster's own among them."""
    problems: tuple[str, ...] = ()
    """In what it differs from its requests, or why it does not start, each with the remedy."""
    waiting: bool = False
    """Its network is not made yet."""
    networked: datetime | None = None
    """When its network was made, as near as the API reports it: the later of its creation and of its sandbox becoming ready."""
    revisions: tuple[str, ...] | None = None
    """Of a pod of the program's own: revisions of the networks that it was made with, in the order of `requests`."""

    @property
    def full_name(self) -> str:
        """namespace/name."""
        return f"{self.namespace}/{self.name}"

    @property
    def ended(self) -> bool:
        """It no longer runs: its sandbox is deleted and each address given back, whatever network-status still says."""
        return self.phase in _ENDED

    @property
    def complete(self) -> bool:
        """It has what it requests, as far as can be expected of it."""
        return self.ended or not (self.problems or self.waiting)

    @property
    def secondary(self) -> tuple[Interface, ...]:
        """Its interfaces on NetworkAttachmentDefinitions, without the cluster's own."""
        return tuple(interface for interface in self.interfaces if interface.own)

    def plain(self) -> dict[str, Any]:
        own = {key: value for key, value in asdict(self).items() if key != "requests"}
        own["networked"] = self.networked.isoformat() if self.networked else None
        own["interfaces"] = [{**asdict(interface), "own": interface.own} for interface in self.interfaces]
        requests = [selection.model_dump(mode="json", by_alias=True, exclude_defaults=True) for selection in self.requests]
        return {**own, "requests": requests, "ended": self.ended, "complete": self.complete}


@dataclass(frozen=True, kw_only=True)
class KubeNode:
    """A node of the cluster."""

    name: str
    ready: bool
    """Its condition Ready is True."""
    version: str
    """Version of its kubelet (v1.36.4+k3s1)."""
    addresses: tuple[str, ...] = ()
    """Its InternalIP and ExternalIP."""
    cordoned: bool = False
    """No further pods are scheduled onto it."""
    etcd: bool = False
    """It is a member of etcd: a server."""
    learner: bool = False
    """It has no vote in etcd yet, as K3s reports it by a condition; a release that has none reports nothing."""


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A NetworkAttachmentDefinition."""

    network: str
    """namespace/name."""
    type: str
    """Type of its first plugin; empty where its configuration has none."""
    master: str
    """Parent interface; empty where its configuration names none."""
    vlan: int | None = None
    """VLAN on the parent interface, of the plugin vlan."""
    revision: str = ""
    """Of a definition of the program's own: its revision."""
    changed: datetime | None = None
    """When its configuration or an annotation was last changed, by anybody; where the same manager sets a label too, also when that
    was changed."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What the Kubernetes API reports."""

    nodes: list[KubeNode]
    pods: list[Pod]
    """Pods with networks of their own, and those whose network cannot be made."""
    definitions: tuple[Definition, ...] = ()
    multus: Mapping[str, str] = field(default_factory=dict)
    """Image of Multus by name of the node that it runs on."""
    notes: tuple[str, ...] = ()
    """What the API did not answer, and why, one sentence each."""
    virtual_address_on: str | None = None
    """Name of the node that has the virtual address; empty: none; None: not known, or there is no such address."""


def read(kubeconfig: str, *, virtual_address: bool = False) -> Cluster:
    """The cluster. virtual_address: whether to read who has that.

    Raises OSError or ValueError if the API does not answer with nodes and pods.
    """
    from components.cluster import kubernetes_api  # noqa: PLC0415 - imports Pulumi, which takes a second

    get = kubernetes_api.client(kubeconfig)
    notes: list[str] = []

    def get_optional(path: str, what: str) -> dict[str, Any]:
        try:
            document = get(path)
        except (OSError, ValueError) as error:
            notes.append(f"{what} not read: {error}")
            return {}
        return document if isinstance(document, dict) else {}

    node_list, pod_list = get("/api/v1/nodes"), get("/api/v1/pods")
    failures = get_optional(_FAILURES, "events of pods")
    definition_list = get_optional(_DEFINITIONS, "NetworkAttachmentDefinitions")
    lease = get_optional(_LEASE, "who has the virtual address") if virtual_address else {}
    return Cluster(
        nodes=nodes(node_list),
        pods=pods(pod_list, failures),
        definitions=definitions(definition_list),
        multus=multus_images(pod_list),
        notes=tuple(notes),
        virtual_address_on=str(lease["spec"].get("holderIdentity") or "") if lease.get("spec") else None,
    )


def nodes(document: dict[str, Any]) -> list[KubeNode]:
    kube_nodes = []
    for item in document.get("items") or ():
        status = item.get("status", {})
        version = status.get("nodeInfo", {}).get("kubeletVersion", "")
        addresses = tuple(
            str(address["address"])
            for address in status.get("addresses") or ()
            if address.get("type") in ("InternalIP", "ExternalIP")
        )
        ready = _condition(status, "Ready") == "True"
        kube_nodes.append(
            KubeNode(
                name=item["metadata"]["name"],
                ready=ready,
                version=version,
                addresses=addresses,
                cordoned=bool(item.get("spec", {}).get("unschedulable")),
                etcd=_ETCD in (item["metadata"].get("labels") or {}),
                learner=_condition(status, "EtcdIsVoter") == "False",
            )
        )
    return sorted(kube_nodes, key=lambda node: node.name)


def _condition(status: Mapping[str, Any], kind: str, field: str = "status") -> str:
    """A field of the condition of this type; empty where there is none."""
    return next(
        (str(condition.get(field) or "") for condition in status.get("conditions") or () if condition.get("type") == kind), ""
    )


def definitions(document: dict[str, Any]) -> tuple[Definition, ...]:
    return tuple(sorted(map(_definition, document.get("items") or ()), key=lambda definition: definition.network))


def _definition(item: dict[str, Any]) -> Definition:
    metadata = item["metadata"]
    try:
        config = json.loads((item.get("spec") or {}).get("config") or "{}")
    except ValueError:
        config = {}
    config = config if isinstance(config, dict) else {}
    chained = config.get("plugins")
    first = chained[0] if isinstance(chained, list) and chained and isinstance(chained[0], dict) else config
    vlan = first.get("vlanId") if first.get("type") == "vlan" else None
    return Definition(
        network=f"{metadata.get('namespace', 'default')}/{metadata['name']}",
        type=str(first.get("type") or ""),
        master=str(first.get("master") or ""),
        vlan=vlan if isinstance(vlan, int) else None,
        revision=str((metadata.get("annotations") or {}).get(NETWORK_REVISION) or ""),
        changed=_changed(metadata),
    )


def _changed(metadata: Mapping[str, Any]) -> datetime | None:
    """The last of its creation and of all updates that concern spec or annotations."""
    times = [_time(metadata.get("creationTimestamp"))]
    for entry in metadata.get("managedFields") or ():
        fields = entry.get("fieldsV1") or {}
        if "f:spec" in fields or "f:annotations" in (fields.get("f:metadata") or {}):
            times.append(_time(entry.get("time")))
    return max((time for time in times if time is not None), default=None)


def _time(text: Any) -> datetime | None:
    """A time of the API, as 2026-11-26T10:00:00Z; None where it is none."""
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo else None


def multus_images(document: dict[str, Any]) -> dict[str, str]:
    """Image of Multus by the name of the node that it runs on, of all pods."""
    return {
        str(item.get("spec", {}).get("nodeName") or ""): str(container.get("image") or "")
        for item in document.get("items") or ()
        for container in item.get("spec", {}).get("containers") or ()
        if container.get("name") == _MULTUS_CONTAINER and item.get("status", {}).get("phase") == "Running"
    }


def pods(document: dict[str, Any], failures: dict[str, Any] | None = None) -> list[Pod]:
    """Pods with networks of their own, and those whose network cannot be made. failures: events FailedCreatePodSandBox."""
    failures_of = sandbox_failures(failures or {})
    listed = []
    for item in document.get("items") or ():
        metadata, status = item["metadata"], item.get("status", {})
        namespace, name = metadata.get("namespace", "default"), metadata["name"]
        annotations = metadata.get("annotations") or {}
        selections, refusal = _requests(annotations.get(NETWORKS, ""), namespace)
        interfaces = networks.interfaces(annotations.get(STATUS, ""))
        failure = "" if _has_sandbox(status) else failures_of.get((namespace, name, str(metadata.get("uid", ""))), "")
        if not (selections or refusal or failure or any(interface.own for interface in interfaces)):
            continue
        ended = status.get("phase") in _ENDED
        started = _has_sandbox(status) or bool(interfaces)
        differences = networks.differences(selections, interfaces) if started else ()
        listed.append(
            Pod(
                namespace=namespace,
                name=name,
                node=item.get("spec", {}).get("nodeName", ""),
                phase=status.get("phase", ""),
                ready=_condition(status, "Ready") == "True",
                deleted="deletionTimestamp" in metadata,
                requests=selections,
                interfaces=interfaces,
                problems=() if ended else tuple(_problems(status, refusal, failure, differences)),
                waiting=not started,
                networked=_networked(metadata, status),
                revisions=tuple(annotations[NETWORK_REVISION].split(",")) if NETWORK_REVISION in annotations else None,
            )
        )
    return sorted(listed, key=lambda pod: (pod.namespace, pod.name))


def _requests(annotation: str, namespace: str) -> tuple[tuple[NetworkSelection, ...], str]:
    """The networks that the annotation requests, or why Multus refuses it."""
    try:
        return networks.requests(annotation, namespace), ""
    except ValueError as error:
        return (), str(error)


def _problems(status: Mapping[str, Any], refusal: str, failure: str, differences: tuple[str, ...]) -> Iterator[str]:
    if refusal:
        yield f"its annotation {NETWORKS} is one that Multus refuses: {refusal}; correct it in what makes the pod"
    if failure:
        yield f"its network cannot be made: {failure}"
    elif _condition(status, "PodScheduled") == "False":
        yield f"no node takes it: {_readable(_condition(status, 'PodScheduled', 'message'))}"
    for difference in differences:
        yield f"{difference}: delete it, so that it is made again"


def _networked(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> datetime | None:
    """A node that was restarted has made its pods' networks again, long after their creation."""
    ready = _condition(status, "PodReadyToStartContainers") == "True"
    sandbox = _condition(status, "PodReadyToStartContainers", "lastTransitionTime") if ready else ""
    times = (_time(metadata.get("creationTimestamp")), _time(sandbox))
    return max((time for time in times if time is not None), default=None)


def _has_sandbox(status: Mapping[str, Any]) -> bool:
    """Whether the pod's network has been made. The kubelet reports it as a condition; before Kubernetes 1.28 there is none."""
    condition = _condition(status, "PodReadyToStartContainers")
    if condition:
        return condition == "True"
    return bool(status.get("podIP")) or status.get("phase") not in ("Pending", None, "")


def sandbox_failures(document: dict[str, Any]) -> dict[tuple[str, str, str], str]:
    """The last failure to make a pod's sandbox, by namespace, name and UID of the pod."""
    causes: dict[tuple[str, str, str], str] = {}
    items = document.get("items") or ()
    for event in sorted(items, key=_last_seen):
        pod = event.get("involvedObject") or {}
        key = (str(pod.get("namespace", "")), str(pod.get("name", "")), str(pod.get("uid", "")))
        causes[key] = _cause(str(event.get("message") or ""))
    return causes


def _last_seen(event: Mapping[str, Any]) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _cause(message: str) -> str:
    """The plugin's own words, without containerd's before them."""
    _containerd, separator, cause = message.rpartition("failed (add): ")
    return _readable(cause if separator else message)


def _readable(text: str) -> str:
    text = re.sub(r"\s+", " ", "".join(character if character.isprintable() else " " for character in text)).strip()
    return text if len(text) <= _LONGEST_MESSAGE else "…" + text[-_LONGEST_MESSAGE:]
