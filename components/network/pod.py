"""The stack's pod: nginx with an address of its own on the network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import (
    ComponentResource,
    CustomTimeouts,
    ErrorHook,
    Input,
    Output,
    ResourceHook,
    ResourceHookBinding,
    ResourceOptions,
    RunError,
)
from pulumi.output import UNKNOWN
from pulumi.runtime import is_dry_run
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components.cluster.cluster import Cluster
from components.cluster.network_status import NETWORK_STATUS, network_status
from components.config.network_plan import NetworkPlan
from components.config.plan import PodPlan
from components.config.settings import Workload
from components.machine.virtual_machine import VirtualMachine
from components.network import cni
from components.network.changed_network import NETWORK_REVISION
from components.network.leftover_pod import MACHINE, NETWORKS
from components.network.pod_network import PodNetwork
from components.network.running_pods import RunningPods, shape_of_settings

# From here on every user may listen.
_FIRST_PORT = 1024


@dataclass(frozen=True, kw_only=True)
class MacvlanPodArgs:
    """Inputs of `MacvlanPod`."""

    cluster: Cluster
    """The cluster."""
    pod: PodPlan
    """The pod's name and what it has on its networks."""
    machine: VirtualMachine | None
    """The node that it is bound to; None: any."""
    host: VirtualMachine | None
    """The one machine that it can run on; None: there are several. Where K3s's data outlive it, another one recreates the pod."""
    networks: Mapping[str, PodNetwork]
    """All networks by name."""
    running: RunningPods
    """The stack's pods that run."""
    make_way: ResourceHook
    """Deletes a pod of its name that an earlier run has left."""
    report: ErrorHook
    """Logs why the pod is not ready."""
    workload: Workload
    """The setting workload, with its user and directories."""
    after: Sequence[Any]
    """Steps it waits for, so that it cannot start without its second interface."""
    limit: int
    """Seconds until it is Ready."""


@dataclass(frozen=True, kw_only=True)
class PodInterface:
    """An interface of a pod on a network."""

    network: NetworkPlan
    """The network."""
    address: Output[str]
    """Its IPv4 address."""
    mac: Output[str]
    """Its MAC address."""


class MacvlanPod(ComponentResource):
    """The pod, awaited until it is Ready with its interfaces on its networks.

    Addresses and MAC addresses are read from the pod's network-status and never assumed: host-local gives a recreated pod another
    address (measured). Errors: a pod that is not Ready in time, with its events; RunError for a pod without one of them.
    """

    interfaces: list[PodInterface]
    """Its interfaces on networks, net1 first."""
    uid: Output[str]
    """The pod's metadata.uid; another pod has another one."""

    def __init__(self, name: str, args: MacvlanPodArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:macvlan:MacvlanPod", name, {}, opts)
        workload, machine, limit = args.workload, args.machine, f"{args.limit}s"
        attached = args.pod.attachments
        entries = [cni.attachment(item.network, item.booked) for item in attached]
        networks = [args.networks[item.network.name] for item in attached]
        annotations: dict[str, Input[str]] = {
            NETWORKS: cni.annotation(entries, workload.namespace),
            NETWORK_REVISION: args.running.unless_replaced(
                args.pod.name,
                shape_of_settings(workload, machine.node.name if machine else ""),
                ",".join(network.revision for network in networks),
            ),
            # RFC 9535; an escaped path fails after the pod was made (docs/measured.md 23).
            **({MACHINE: args.host.disk_id} if args.host and args.host.node.k3s_disk else {}),
            "pulumi.com/waitFor": json.dumps(["condition=Ready", f"jsonpath={{.metadata.annotations['{NETWORK_STATUS}']}}"]),
        }
        pod = core.Pod(
            name,
            metadata=meta.ObjectMetaArgs(
                name=args.pod.name,
                namespace=workload.namespace,
                labels={"app.kubernetes.io/name": workload.name, "app.kubernetes.io/managed-by": "pulumi"},
                annotations=annotations,
            ),
            spec=core.PodSpecArgs(
                automount_service_account_token=False,
                node_selector={"kubernetes.io/hostname": machine.node.name} if machine else None,
                tolerations=[core.TolerationArgs(operator="Exists")] if machine else None,
                security_context=_pod_security(workload),
                containers=[
                    core.ContainerArgs(
                        name="web",
                        image=workload.image,
                        image_pull_policy="IfNotPresent",
                        ports=[core.ContainerPortArgs(name="http", container_port=workload.port)],
                        security_context=core.SecurityContextArgs(
                            allow_privilege_escalation=False,
                            capabilities=core.CapabilitiesArgs(drop=["ALL"]) if workload.user else None,
                        ),
                        volume_mounts=[
                            core.VolumeMountArgs(name=f"directory-{number}", mount_path=path)
                            for number, path in enumerate(workload.empty_dirs or (), start=1)
                        ]
                        or None,
                    )
                ],
                volumes=[
                    core.VolumeArgs(name=f"directory-{number}", empty_dir=core.EmptyDirVolumeSourceArgs())
                    for number, _ in enumerate(workload.empty_dirs or (), start=1)
                ]
                or None,
            ),
            opts=ResourceOptions.merge(
                args.cluster.child_options,
                ResourceOptions(
                    parent=self,
                    deleted_with=machine.domain if machine else None,
                    depends_on=[*(step for network in networks for step in network.ready), *args.after],
                    # A running pod keeps the networks that it was created with.
                    replace_on_changes=["metadata.annotations"],
                    delete_before_replace=True,
                    custom_timeouts=CustomTimeouts(create=limit, update=limit, delete=limit),
                    hooks=ResourceHookBinding(before_create=[args.make_way], on_error=[args.report]),
                ),
            ),
        )
        self.pod = args.pod.name
        self.node = machine.node.name if machine else None
        known = pod.metadata.annotations
        self.interfaces = [
            _pod_interface(item.network, f"net{number}", known, self.pod) for number, item in enumerate(attached, start=1)
        ]
        self.uid = pod.metadata.uid
        self.register_outputs({interface.network.name: interface.address for interface in self.interfaces})


def _pod_security(workload: Workload) -> core.PodSecurityContextArgs | None:
    """What PodSecurity's level `restricted` requires of a pod. It allows the kernel parameter, with which a user without
    capabilities may listen on the port."""
    if not workload.user:
        return None
    return core.PodSecurityContextArgs(
        run_as_non_root=True,
        run_as_user=workload.user,
        seccomp_profile=core.SeccompProfileArgs(type="RuntimeDefault"),
        sysctls=[core.SysctlArgs(name="net.ipv4.ip_unprivileged_port_start", value="0")] if workload.port < _FIRST_PORT else None,
    )


def _pod_interface(network: NetworkPlan, interface: str, annotations: Output[Any], pod: str) -> PodInterface:
    entry: Output[dict[str, Any]] = annotations.apply(lambda known: _interface(known, network.reference, interface, pod))
    return PodInterface(
        network=network,
        address=entry.apply(lambda values: str(values["ips"][0])),
        mac=entry.apply(lambda values: str(values["mac"])),
    )


def _interface(annotations: dict[str, Any] | None, network: str, interface: str, pod: str) -> Any:
    """`pod_interface`, or not known in a preview: for a pod that is to be made the provider gives back its inputs, for one that is
    to be replaced the former one's annotations, which may lack an interface or have it on another network."""
    try:
        return pod_interface(annotations, network, interface, pod)
    except RunError:
        if is_dry_run():
            return Output.from_input(UNKNOWN)
        raise


def pod_interface(annotations: dict[str, Any] | None, network: str, interface: str, pod: str) -> dict[str, Any]:
    """The network-status entry of an interface, as net1, on a network, as default/macvlan-conf; RunError where a pod has none."""
    for entry in network_status(annotations or {}):
        if (entry.get("interface"), entry.get("name")) == (interface, network) and entry.get("ips") and entry.get("mac"):
            return entry
    raise RunError(
        f"pod {pod} runs without {interface} on {network}: its network-status annotation names no such interface. It came up while "
        f"Multus was not in place; delete it (kubectl delete pod {pod}) and run `pulumi up --refresh`"
    )
