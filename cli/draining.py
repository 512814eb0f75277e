"""Takes the pods off a node, by evictions through the Kubernetes API, which keep what PodDisruptionBudgets require."""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, Protocol

from cli import kube, networks
from cli.kube import KubeNode
from cli.waiting import Waiting

Fate = Literal["evicted", "moves", "stays", "lost"]
"""evicted: its controller makes another one elsewhere. moves: it is the stack's own, and `up` makes it elsewhere. stays: it is
bound to the node. lost: nothing makes it again."""

_MIRROR = "kubernetes.io/config.mirror"
_HOST = "kubernetes.io/hostname"
_ENDED = ("Succeeded", "Failed")
_SHOWN = 5
_PAUSE = 2.0
_RETRY_SECONDS = 5.0
"""Between two evictions of a pod that a PodDisruptionBudget keeps; kubectl waits as long."""


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A pod on the node."""

    namespace: str
    name: str
    uid: str
    fate: Fate
    why: str = ""
    """Why it stays, or is lost."""
    notes: tuple[str, ...] = ()
    """What it takes along and what it loses."""
    expected: bool = False
    """It stays as on every node that is drained: a DaemonSet's, or the node's own."""

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.full_name, "; ".join(filter(None, (self.why, *self.notes))))))


def others_take_pods(nodes: Sequence[KubeNode], node: str) -> bool:
    """Whether another node is there for pods. Its taints do not count: a pod that it repels stays Pending, and the drain ends."""
    return any(other.ready and not other.cordoned for other in nodes if other.name != node)


def guests(pods: Mapping[str, Any], volumes: Mapping[str, Any], node: str, *, elsewhere: bool, comes_back: bool) -> list[Guest]:
    """The pods on the node, and what becomes of each. volumes: PersistentVolumes. elsewhere: other nodes take pods. comes_back: the
    node is only restarted, and with it what stays on it. Pure."""
    local = _local_claims(volumes)
    on_node = [
        _guest(item, local, elsewhere=elsewhere, comes_back=comes_back)
        for item in pods.get("items") or ()
        if item.get("spec", {}).get("nodeName") == node and item.get("status", {}).get("phase") not in _ENDED
    ]
    return sorted(on_node, key=lambda guest: guest.full_name)


def _guest(item: Mapping[str, Any], local: Mapping[tuple[str, str], str], *, elsewhere: bool, comes_back: bool) -> Guest:
    metadata, spec = item["metadata"], item.get("spec", {})
    annotations = metadata.get("annotations") or {}
    controller = next((owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")), None)
    fate: Fate = "evicted"
    why = ""
    expected = _MIRROR in annotations or (controller is not None and controller.get("kind") == "DaemonSet")
    if expected:
        fate = "stays"
    elif controller is None:
        fate, why = _uncontrolled(item, elsewhere=elsewhere, comes_back=comes_back)
    leaves = fate in ("evicted", "moves", "lost")
    return Guest(
        namespace=metadata.get("namespace", "default"),
        name=metadata["name"],
        uid=str(metadata.get("uid", "")),
        fate=fate,
        why=why,
        notes=tuple(_notes(metadata, spec, local)) if leaves else (),
        expected=expected,
    )


def _uncontrolled(item: Mapping[str, Any], *, elsewhere: bool, comes_back: bool) -> tuple[Fate, str]:
    """A pod that no controller makes again: the stack's own, or one that somebody made by hand."""
    metadata = item["metadata"]
    own = kube.NETWORK_REVISION in (metadata.get("annotations") or {}) and (
        (metadata.get("labels") or {}).get("app.kubernetes.io/managed-by") == "pulumi"
    )
    if own and _HOST in (item.get("spec", {}).get("nodeSelector") or {}):
        return "stays", "it is the stack's own and bound to this node (workload.perNode)"
    if own and not elsewhere:
        return "stays", "it is the stack's own, and no other node takes it"
    if own:
        return "moves", ""
    if comes_back:
        return "stays", "nothing would make it again, so it is started again with the node"
    return "lost", "nothing makes it again"


def _notes(metadata: Mapping[str, Any], spec: Mapping[str, Any], local: Mapping[tuple[str, str], str]) -> list[str]:
    namespace, notes = metadata.get("namespace", "default"), []
    volumes = spec.get("volumes") or ()
    if scratch := [volume["name"] for volume in volumes if "emptyDir" in volume]:
        notes.append(f"loses what is in its emptyDir {', '.join(scratch)}")
    if paths := [str(volume["hostPath"].get("path", "")) for volume in volumes if "hostPath" in volume]:
        notes.append(f"leaves {', '.join(paths)} of this node")
    for volume in volumes:
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim and (namespace, claim) in local:
            notes.append(f"its volume {claim} is on this node ({local[namespace, claim]}), so it waits until the node takes pods")
    return [*notes, *_addresses(metadata, namespace)]


def _addresses(metadata: Mapping[str, Any], namespace: str) -> list[str]:
    """Of its addresses on networks, those that its annotation pins go with it."""
    annotations = metadata.get("annotations") or {}
    try:
        requested = networks.requests(annotations.get(networks.NETWORKS, ""), namespace)
    except ValueError:
        return []
    pinned = {selection.network for selection in requested if selection.ips or selection.mac}
    notes = []
    for interface in networks.interfaces(annotations.get(networks.STATUS, "")):
        if interface.own and interface.addresses:
            stays = "keeps" if interface.network in pinned else "may get another address than"
            notes.append(f"{stays} {', '.join(interface.addresses)} on {interface.network}")
    return notes


def _local_claims(volumes: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """By namespace and name of the claim: the kind of a PersistentVolume that is on one node alone."""
    kinds = {}
    for item in volumes.get("items") or ():
        spec = item.get("spec", {})
        claim, kind = spec.get("claimRef") or {}, next((kind for kind in ("local", "hostPath") if kind in spec), "")
        if kind and claim:
            kinds[str(claim.get("namespace", "")), str(claim.get("name", ""))] = kind
    return kinds


class Api(Protocol):
    """The Kubernetes API, which may be silent for a while: OSError."""

    def get(self, path: str) -> Any: ...

    def send(self, method: str, path: str, document: Any) -> None: ...


def drain(api: Api, node: str, leaving: Sequence[Guest], limit: float, *, clock: Callable[[], float] = time.monotonic) -> list[str]:
    """Evict these pods of the node, and wait up to `limit` seconds until they have ended. Returns the names of those that have not,
    each with the reason where the API gives one."""
    waiting = Waiting(limit, clock)
    remaining = {guest.uid: guest for guest in leaving}
    evict_at, reasons = dict.fromkeys(remaining, clock()), dict[str, str]()
    while remaining:
        now = clock()
        for uid, guest in remaining.items():
            if evict_at.get(uid, float("inf")) <= now:
                reasons[uid] = _evict(api, guest)
                # One that is evicted is only waited for; each of the others is tried again.
                evict_at[uid] = now + _RETRY_SECONDS if reasons[uid] else float("inf")
        there = _uids(api, node)
        remaining = {uid: guest for uid, guest in remaining.items() if there is None or uid in there}
        if not remaining or waiting.is_over:
            break
        waiting.report(f"{node}: waiting for {_listed(remaining.values())} to end")
        time.sleep(_PAUSE)
    return [f"{guest.full_name}{f' ({reasons[uid]})' if reasons.get(uid) else ''}" for uid, guest in remaining.items()]


def _listed(left: Iterable[Guest]) -> str:
    names = [guest.full_name for guest in left]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _evict(api: Api, guest: Guest) -> str:
    """Request the pod's end; why it does not end yet, empty where it does."""
    path = f"/api/v1/namespaces/{guest.namespace}/pods/{guest.name}/eviction"
    document = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": guest.namespace, "name": guest.name},
        # Another pod of the name, as a StatefulSet makes it, is not meant.
        "deleteOptions": {"preconditions": {"uid": guest.uid}},
    }
    try:
        api.send("POST", path, document)
    except urllib.error.HTTPError as error:
        if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            return ""
        return _message(error)
    except OSError as error:
        return f"the API does not answer: {error}"
    return ""


def _message(error: urllib.error.HTTPError) -> str:
    """The API's own words."""
    try:
        return str(json.load(error).get("message") or error)
    except (ValueError, AttributeError, OSError):
        return str(error)


def _uids(api: Api, node: str) -> set[str] | None:
    """UIDs of the pods on the node; None where the API does not answer."""
    try:
        document = api.get(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")
        return {
            str(item["metadata"].get("uid", ""))
            for item in document.get("items") or ()
            if item.get("status", {}).get("phase") not in _ENDED
        }
    except (OSError, ValueError):
        return None
