"""A network that changes: which pods of others still have the former one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi import Output, ResourceHook

from components.cluster.kubernetes_api import client
from components.cluster.network_status import network_status

NETWORK_REVISION = "k3s-macvlan.dev/network-revision"
"""Annotation of the program's own networks, and of its own pods, which are recreated when it changes."""


def changed_network_report(name: str, kubeconfig: Output[str]) -> ResourceHook:
    """A hook to run after the update of any NetworkAttachmentDefinition: logs which pods are to be made again by hand. It never
    fails.

    One for all, because a run that deletes a network registers no hook of that network's own, and the engine then reports the
    missing hook.
    """

    async def report(args: pulumi.ResourceHookArgs) -> None:
        if args.new_inputs is None or _revision(args.old_inputs) == _revision(args.new_inputs):
            return
        text = await kubeconfig.future()
        metadata = args.new_inputs["metadata"]
        network = f"{metadata['namespace']}/{metadata['name']}"
        try:
            on_it = pods_of_others(client(text or "")("/api/v1/pods"), network)
        except Exception as error:
            pulumi.log.warn(f"network {network} has changed; which pods still have the former one is not known: {error}")
            return
        if on_it:
            pulumi.log.warn(
                f"network {network} has changed, and a pod keeps what it was created with: delete these, so that they are made "
                f"again with it: {', '.join(on_it)}"
            )

    return ResourceHook(name, report)


def _revision(inputs: Mapping[str, Any] | None) -> Any:
    metadata = (inputs or {}).get("metadata") or {}
    return (metadata.get("annotations") or {}).get(NETWORK_REVISION)


def pods_of_others(pods: Mapping[str, Any], network: str) -> list[str]:
    """namespace/name of the pods on a network (namespace/name) that are not the stack's own. Pure."""
    names = []
    for pod in pods["items"]:
        metadata = pod["metadata"]
        annotations = metadata.get("annotations") or {}
        if NETWORK_REVISION not in annotations and any(entry.get("name") == network for entry in network_status(annotations)):
            names.append(f"{metadata['namespace']}/{metadata['name']}")
    return sorted(names)
