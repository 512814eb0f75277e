"""MacvlanNetwork and MacvlanPod: pods with an address of their own on the real network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from pulumi import ComponentResource, CustomTimeouts, Input, Output, ResourceHookBinding, ResourceOptions, RunError
from pulumi.output import UNKNOWN
from pulumi.runtime import is_dry_run
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta

from components import remote
from components.addresses import AddressRange
from components.events import pod_report
from components.k3s import Cluster
from components.machine import VirtualMachine
from components.multus import Multus, network_status
from components.plan import with_prefix
from components.settings import Macvlan, Network, Workload

_STATUS = "k8s.v1.cni.cncf.io/network-status"
# Multus looks here for the configuration of a NetworkAttachmentDefinition that has none of its own.
_NODE_NETWORKS = "/etc/cni/multus/net.d"
_NO_GATEWAY = "0.0.0.0"  # noqa: S104


@dataclass(frozen=True, kw_only=True)
class MacvlanNetworkArgs:
    """master: parent interface on the nodes."""

    machines: Sequence[VirtualMachine]
    cluster: Cluster
    multus: Multus
    macvlan: Macvlan
    network: Network
    master: str


class MacvlanNetwork(ComponentResource):
    """The NetworkAttachmentDefinition; with per-node slices also each node's own configuration of it.

    revision: changes with the configuration. ready: steps after which pods may use it. report: for the pods, tells why one is not
    ready.
    """

    def __init__(self, name: str, args: MacvlanNetworkArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:macvlan:MacvlanNetwork", name, {}, opts)
        own = ResourceOptions.merge(args.cluster.inside, ResourceOptions(parent=self))
        sliced = args.macvlan.addresses_per_node is not None and args.macvlan.ipam == "host-local"
        whole = configuration(args.macvlan, args.network, args.master, args.macvlan.range)
        self.definition = CustomResource(
            f"{name}-definition",
            api_version="k8s.cni.cncf.io/v1",
            kind="NetworkAttachmentDefinition",
            metadata=meta.ObjectMetaArgs(name=args.macvlan.name, namespace=args.macvlan.namespace),
            # Empty, it is each node's own file (cniconfig.go of the definition's client). Without the field, a network that is
            # cut into slices later would be sent with `spec: null`, which its CRD refuses (seen).
            spec={"config": "" if sliced else canonical(whole)},
            opts=ResourceOptions.merge(own, ResourceOptions(depends_on=[args.multus.crd])),
        )
        files = {
            machine.node.name: canonical(configuration(args.macvlan, args.network, args.master, machine.node.slice))
            for machine in (args.machines if sliced else [])
        }
        path = f"{_NODE_NETWORKS}/{args.macvlan.name}.conf"
        written = [
            remote.file(
                f"{machine.node.name}-network",
                path,
                files[machine.node.name],
                connection=machine.connection,
                triggers=[machine.serial],
                opts=ResourceOptions.merge(machine.inside, ResourceOptions(parent=self, depends_on=[machine.ready])),
            )
            for machine in (args.machines if sliced else [])
        ]
        # Not the nodes' files: another node must not make other nodes' pods anew.
        common = {"whole": whole, "addressesPerNode": args.macvlan.addresses_per_node}
        self.revision = hashlib.sha256(canonical(common).encode()).hexdigest()[:16]
        self.ready = [self.definition, *written]
        self.report = pod_report("pod-report", args.cluster.kubeconfig)
        self.register_outputs({"revision": self.revision})


def configuration(macvlan: Macvlan, network: Network, master: str, addresses: AddressRange) -> dict[str, Any]:
    """The CNI configuration. https://www.cni.dev/plugins/current/main/macvlan/, .../main/ipvlan/, .../ipam/host-local/

    No route and no gateway unless asked for: neighbours need none, and a default route by net1 takes the pod off ClusterIP
    and DNS (measured: its route stands before eth0's). Multicast goes out on the network itself: through a gateway the groups'
    frames would be unicast to it.
    """
    config: dict[str, Any] = {
        "cniVersion": macvlan.cni_version,
        "name": macvlan.name,
        "type": macvlan.type,
        "master": master,
        "mode": macvlan.mode,
    }
    if macvlan.mtu is not None:
        config["mtu"] = macvlan.mtu
    everywhere = [IPv4Network("0.0.0.0/0")] if macvlan.default_route else []
    by_gateway = [*everywhere, *(route for route in macvlan.routes if not route.is_multicast)]
    on_link = [{"dst": str(route)} for route in macvlan.routes if route.is_multicast]
    gateway = str(network.gateway)
    if macvlan.ipam == "static":
        # The address comes with the pod's annotation.
        config["capabilities"] = {"ips": True}
        config["ipam"] = {"type": "static", "routes": [*({"dst": str(each), "gw": gateway} for each in by_gateway), *on_link]}
        return config
    config["ipam"] = {
        "type": "host-local",
        "subnet": str(network.cidr),
        "rangeStart": str(addresses.first),
        "rangeEnd": str(addresses.last),
        # host-local gives each address a gateway, the subnet's first host where none is set, and a route without one of its own
        # takes that; 0.0.0.0 is none for the kernel (measured, plugins v1.4.0).
        "routes": [*({"dst": str(each)} for each in by_gateway), *({**each, "gw": _NO_GATEWAY} for each in on_link)],
        **({"gateway": gateway} if by_gateway else {}),
        **({"dataDir": macvlan.data_directory} if macvlan.data_directory else {}),
    }
    return config


def canonical(document: dict[str, Any]) -> str:
    """JSON that is equal where the documents are."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class MacvlanPodArgs:
    """pod: its name. machine: where it is bound to, if anywhere. after: steps it waits for, so that it cannot start without
    its second interface. limit: seconds until Ready."""

    cluster: Cluster
    pod: str
    machine: VirtualMachine | None
    network: MacvlanNetwork
    macvlan: Macvlan
    workload: Workload
    lan: Network
    after: Sequence[Any]
    limit: int


class MacvlanPod(ComponentResource):
    """The pod, awaited until it is Ready with its second interface.

    address, mac: of that interface, from the pod's network-status; never assumed, since host-local gives a new address to a
    pod that is made anew (measured). uid: the pod's identity.
    """

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
                args.cluster.inside,
                ResourceOptions(
                    parent=self,
                    deleted_with=machine.domain if machine else None,
                    depends_on=[*args.network.ready, *args.after],
                    # A running pod keeps the network it was made with.
                    replace_on_changes=["metadata.annotations"],
                    delete_before_replace=True,
                    custom_timeouts=CustomTimeouts(create=limit, update=limit, delete=limit),
                    hooks=ResourceHookBinding(on_error=[args.network.report]),
                ),
            ),
        )
        self.pod = args.pod
        self.node = machine.node.name if machine else None
        interface: Output[dict[str, Any]] = pod.metadata.annotations.apply(lambda found: _interface(found, args.pod))
        self.address: Output[str] = interface.apply(lambda found: str(found["ips"][0]))
        self.mac: Output[str] = interface.apply(lambda found: str(found["mac"]))
        self.uid: Output[str] = pod.metadata.uid
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
