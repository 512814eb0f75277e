"""MacvlanNetwork: the network that gives pods an address of their own on the real network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import pulumi
from pulumi import ComponentResource, ErrorHook, ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta import v1 as meta

from components.cluster.cluster import Cluster
from components.cluster.pod_report import pod_report
from components.config.addresses import AddressRange
from components.config.settings import Macvlan, Network
from components.machine.virtual_machine import VirtualMachine
from components.network.multus import Multus
from components.node import command

# Multus looks here for the configuration of a NetworkAttachmentDefinition that has none of its own.
_NODE_NETWORKS = "/etc/cni/multus/net.d"
_NO_GATEWAY = "0.0.0.0"  # noqa: S104


@dataclass(frozen=True, kw_only=True)
class MacvlanNetworkArgs:
    """Inputs of `MacvlanNetwork`."""

    machines: Sequence[VirtualMachine]
    """All nodes."""
    cluster: Cluster
    """The cluster."""
    multus: Multus
    """Its CRD must exist before the NetworkAttachmentDefinition."""
    macvlan: Macvlan
    """The setting macvlan."""
    network: Network
    """The setting network."""
    master: str
    """The parent interface on the nodes."""


class MacvlanNetwork(ComponentResource):
    """The NetworkAttachmentDefinition; with slices of the range per node, also each node's own configuration of it."""

    revision: str
    """16 hex digits, others when the configuration changes."""
    ready: list[pulumi.Resource]
    """The steps after which pods may use the network."""
    report: ErrorHook
    """For the pods: logs why one is not ready."""

    def __init__(self, name: str, args: MacvlanNetworkArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:macvlan:MacvlanNetwork", name, {}, opts)
        own = ResourceOptions.merge(args.cluster.child_options, ResourceOptions(parent=self))
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
            command.file(
                f"{machine.node.name}-network",
                path,
                files[machine.node.name],
                connection=machine.connection,
                triggers=[machine.disk_id],
                opts=ResourceOptions.merge(machine.child_options, ResourceOptions(parent=self, depends_on=[machine.ssh_ready])),
            )
            for machine in (args.machines if sliced else [])
        ]
        # Without the nodes' files: adding a node must not replace the pods of other nodes.
        common = {"whole": whole, "addressesPerNode": args.macvlan.addresses_per_node}
        self.revision = hashlib.sha256(canonical(common).encode()).hexdigest()[:16]
        self.ready = [self.definition, *written]
        self.report = pod_report("pod-report", args.cluster.kubeconfig)
        self.register_outputs({"revision": self.revision})


def configuration(macvlan: Macvlan, network: Network, master: str, addresses: AddressRange) -> dict[str, Any]:
    """The CNI configuration. https://www.cni.dev/plugins/current/main/macvlan/, .../main/ipvlan/, .../ipam/host-local/

    No route and no gateway unless the settings name them: neighbours need none, and a default route by net1 takes the pod off
    ClusterIP and DNS (measured: its route stands before eth0's). Multicast is on-link: through a gateway the groups'
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
        config["ipam"] = {"type": "static", "routes": [*({"dst": str(route), "gw": gateway} for route in by_gateway), *on_link]}
        return config
    config["ipam"] = {
        "type": "host-local",
        "subnet": str(network.cidr),
        "rangeStart": str(addresses.first),
        "rangeEnd": str(addresses.last),
        # host-local gives each address a gateway, the subnet's first host where none is set, and a route without one of its own
        # takes that; 0.0.0.0 is none for the kernel (measured, plugins v1.4.0).
        "routes": [*({"dst": str(route)} for route in by_gateway), *({**route, "gw": _NO_GATEWAY} for route in on_link)],
        **({"gateway": gateway} if by_gateway else {}),
        **({"dataDir": macvlan.data_directory} if macvlan.data_directory else {}),
    }
    return config


def canonical(document: dict[str, Any]) -> str:
    """JSON that is equal where the documents are."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"))
