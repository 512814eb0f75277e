"""The stack's pod: nginx with an address of its own on the network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import ComponentResource, CustomTimeouts, Input, Output, ResourceHookBinding, ResourceOptions, RunError
from pulumi.output import UNKNOWN
from pulumi.runtime import is_dry_run
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.cluster.cluster import Cluster
from components.config.plan import with_prefix
from components.config.settings import Macvlan, Network, Workload
from components.machine.virtual_machine import VirtualMachine
from components.network.multus import network_status
from components.network.pod_network import MacvlanNetwork

_STATUS = "k8s.v1.cni.cncf.io/network-status"


@dataclass(frozen=True, kw_only=True)
class MacvlanPodArgs:
    """Inputs of `MacvlanPod`."""

    cluster: Cluster
    """The cluster."""
    pod: str
    """The pod's name."""
    machine: VirtualMachine | None
    """The node that it is bound to; None: any."""
    network: MacvlanNetwork
    """Its network."""
    macvlan: Macvlan
    """The setting macvlan."""
    workload: Workload
    """The setting workload."""
    lan: Network
    """The setting network: the LAN that the pod's address is on."""
    after: Sequence[Any]
    """Steps it waits for, so that it cannot start without its second interface."""
    limit: int
    """Seconds until it is Ready."""


class MacvlanPod(ComponentResource):
    """The pod, awaited until it is Ready with its second interface.

    Address and MAC are read from the pod's network-status and never assumed: host-local gives a recreated pod another address
    (measured). Errors: a pod that is not Ready in time, with its events; RunError for a pod without net1.
    """

    address: Output[str]
    """IPv4 address of net1."""
    mac: Output[str]
    """MAC address of net1."""
    uid: Output[str]
    """The pod's metadata.uid; another pod has another one."""

    def __init__(self, name: str, args: MacvlanPodArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:macvlan:MacvlanPod", name, {}, opts)
        workload, machine, limit = args.workload, args.machine, f"{args.limit}s"
        annotations: dict[str, Input[str]] = {
            "k8s.v1.cni.cncf.io/networks": attachment(args.macvlan, workload, args.lan),
            "k3s-macvlan.dev/network-revision": args.network.revision,
            # RFC 9535; an escaped path fails after the pod was made (docs/measured.md 23).
            "pulumi.com/waitFor": json.dumps(["condition=Ready", f"jsonpath={{.metadata.annotations['{_STATUS}']}}"]),
        }
        pod = core.Pod(
            name,
            metadata=meta.ObjectMetaArgs(
                name=args.pod,
                namespace=workload.namespace,
                labels={"app.kubernetes.io/name": workload.name, "app.kubernetes.io/managed-by": "pulumi"},
                annotations=annotations,
            ),
            spec=core.PodSpecArgs(
                automount_service_account_token=False,
                node_selector={"kubernetes.io/hostname": machine.node.name} if machine else None,
                tolerations=[core.TolerationArgs(operator="Exists")] if machine else None,
                containers=[
                    core.ContainerArgs(
                        name="web",
                        image=workload.image,
                        image_pull_policy="IfNotPresent",
                        ports=[core.ContainerPortArgs(name="http", container_port=workload.port)],
                        security_context=core.SecurityContextArgs(allow_privilege_escalation=False),
                    )
                ],
            ),
            opts=ResourceOptions.merge(
                args.cluster.child_options,
                ResourceOptions(
                    parent=self,
                    deleted_with=machine.domain if machine else None,
                    depends_on=[*args.network.ready, *args.after],
                    # A running pod keeps the network that it was created with.
                    replace_on_changes=["metadata.annotations"],
                    delete_before_replace=True,
                    custom_timeouts=CustomTimeouts(create=limit, update=limit, delete=limit),
                    hooks=ResourceHookBinding(on_error=[args.network.report]),
                ),
            ),
        )
        self.pod = args.pod
        self.node = machine.node.name if machine else None
        interface: Output[dict[str, Any]] = pod.metadata.annotations.apply(lambda known: _interface(known, args.pod))
        self.address = interface.apply(lambda entry: str(entry["ips"][0]))
        self.mac = interface.apply(lambda entry: str(entry["mac"]))
        self.uid = pod.metadata.uid
        self.register_outputs({"address": self.address, "mac": self.mac})


def _interface(annotations: dict[str, Any] | None, pod: str) -> Any:
    """`second_interface`, not known yet in a preview that would make the pod: the provider then gives back its inputs."""
    if is_dry_run() and not network_status(annotations or {}):
        return Output.from_input(UNKNOWN)
    return second_interface(annotations, pod)


def attachment(macvlan: Macvlan, workload: Workload, network: Network) -> str:
    """The value of the pod's networks annotation."""
    if workload.address is not None:
        address = with_prefix(network.cidr, workload.address)
        return json.dumps([{"name": macvlan.name, "namespace": macvlan.namespace, "ips": [address]}])
    return macvlan.name if macvlan.namespace == workload.namespace else f"{macvlan.namespace}/{macvlan.name}"


def second_interface(annotations: dict[str, Any] | None, pod: str) -> dict[str, Any]:
    """The network-status entry of net1; RunError where a pod has none."""
    for entry in network_status(annotations or {}):
        if entry.get("interface") == "net1" and entry.get("ips") and entry.get("mac"):
            return entry
    raise RunError(
        f"pod {pod} runs without net1: its network-status annotation names no such interface. It came up while Multus was "
        f"not in place; delete it (kubectl delete pod {pod}) and run `pulumi up --refresh`"
    )
