"""A pod that a run has created and not recorded, because it was killed before, or that a cluster's data have brought back."""

from __future__ import annotations

import time
import urllib.error
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import pulumi
from pulumi import Output, ResourceHook

from components.cluster.kubernetes_api import client, delete
from components.network.changed_network import NETWORK_REVISION
from components.network.running_pods import shape_of_spec
from components.node.hook_threads import in_thread

NETWORKS = "k8s.v1.cni.cncf.io/networks"
"""Annotation that names a pod's networks."""

MACHINE = "k3s-macvlan.dev/machine"
"""Annotation that names the machine of a pod, by its disk ID, where the cluster's data outlive it. On another machine a pod has
other addresses, and until its kubelet says so the API gives the former ones (seen)."""


def leftover_pod_hook(name: str, kubeconfig: Output[str], limit: float) -> ResourceHook:
    """A hook to run before the creation of a pod of the stack: deletes one of its name that is on other networks, of a former
    machine or of another shape, and waits up to `limit` seconds for its end.

    A pod keeps the networks that it was created with, and the provider would take over the existing one, or find a conflict. One on
    the same networks and machine, and of the same shape, it does take over. The hook never fails: the creation then reports what is
    wrong.
    """

    async def make_way(args: pulumi.ResourceHookArgs) -> None:
        text = await kubeconfig.future()
        if text and args.new_inputs is not None:
            await in_thread(_delete_leftover, text, args.new_inputs, limit)

    return ResourceHook(name, make_way)


def _delete_leftover(kubeconfig: str, wanted: Mapping[str, Any], limit: float) -> None:
    namespace, pod = wanted["metadata"]["namespace"], wanted["metadata"]["name"]
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
    end = time.monotonic() + limit
    try:
        get = client(kubeconfig)
        if not is_leftover(get(path), wanted):
            return
        pulumi.log.info(
            f"pod {namespace}/{pod} of an earlier run is on other networks, of a former machine or of other settings: it is deleted"
        )
        delete(kubeconfig, path)
        while time.monotonic() < end:
            get(path)
            time.sleep(1)
    except Exception as error:
        # The API's answer for a pod that is not there, or not any more.
        if not (isinstance(error, urllib.error.HTTPError) and error.code == HTTPStatus.NOT_FOUND):
            pulumi.log.warn(f"whether a pod {pod} is left of an earlier run is not known: {error!r}")


def is_leftover(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a pod is the stack's own, by its metadata, and on other networks, another machine or of another shape than wanted.
    Pure."""
    metadata, other = present["metadata"], wanted["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    own = NETWORK_REVISION in annotations and all(labels.get(key) == value for key, value in (other.get("labels") or {}).items())
    return own and (
        any(annotations.get(key) != other["annotations"].get(key) for key in (NETWORKS, NETWORK_REVISION, MACHINE))
        or shape_of_spec(present["spec"]) != shape_of_spec(wanted["spec"])
    )
