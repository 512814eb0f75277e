"""PodNetwork: one network that gives pods addresses of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import Alias, ComponentResource, ResourceHook, ResourceHookBinding, ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta import v1 as meta

from components.cluster.cluster import Cluster
from components.config.network_plan import NetworkPlan, NodeNetworkPlan
from components.machine.virtual_machine import VirtualMachine
from components.network import cni
from components.network.changed_network import NETWORK_REVISION
from components.network.multus import Multus
from components.network.node_networks import NodeNetworks
from components.node import command

# Multus looks here for the configuration of a NetworkAttachmentDefinition that has none of its own. A list has its own ending
# (multus-cni: pkg/types, libcni ConfFiles).
_NODE_NETWORKS = "/etc/cni/multus/net.d"


@dataclass(frozen=True, kw_only=True)
class PodNetworkArgs:
    """Inputs of `PodNetwork`."""

    network: NetworkPlan
    """The network."""
    machines: Sequence[VirtualMachine]
    """All nodes."""
    on_nodes: Sequence[NodeNetworks]
    """What the networks need on each of them."""
    cluster: Cluster
    """The cluster."""
    multus: Multus
    """Its CRD must exist before the NetworkAttachmentDefinition."""
    changed: ResourceHook
    """Runs after an update of its definition."""


class PodNetwork(ComponentResource):
    """The NetworkAttachmentDefinition; with slices of the range per node, also each node's own configuration of it."""

    network: NetworkPlan
    """The plan it is made from."""
    revision: str
    """16 hex digits, others when the configuration changes."""
    ready: list[pulumi.Resource]
    """The steps after which pods may use the network."""

    def __init__(self, name: str, args: PodNetworkArgs, opts: ResourceOptions | None = None) -> None:
        former = ResourceOptions(aliases=[Alias(type_="k3s-macvlan:macvlan:MacvlanNetwork")])
        super().__init__("k3s-macvlan:network:PodNetwork", name, {}, ResourceOptions.merge(former, opts))
        self.network = network = args.network
        self.revision = cni.revision(network)
        own = ResourceOptions.merge(args.cluster.child_options, ResourceOptions(parent=self))
        self.definition = CustomResource(
            f"{name}-definition",
            api_version="k8s.cni.cncf.io/v1",
            kind="NetworkAttachmentDefinition",
            # The revision, so that a change shows where each node has the configuration in a file.
            metadata=meta.ObjectMetaArgs(
                name=network.name,
                namespace=network.settings.namespace,
                annotations={NETWORK_REVISION: self.revision},
            ),
            # Empty, it is each node's own file (cniconfig.go of the definition's client). Without the field, a network that is
            # cut into slices later would be sent with `spec: null`, which its CRD refuses (seen).
            spec={"config": "" if network.sliced else cni.canonical(cni.whole(network))},
            opts=ResourceOptions.merge(
                own, ResourceOptions(depends_on=[args.multus.crd], hooks=ResourceHookBinding(after_update=[args.changed]))
            ),
        )
        written = [
            self._file(machine, node_network)
            for machine in args.machines
            for node_network in machine.node.networks
            if node_network.network is network and network.sliced
        ]
        checked = [step for node_networks in args.on_nodes for step in node_networks.checked[network.name]]
        self.ready = [self.definition, *written, *checked]
        self.register_outputs({"revision": self.revision})

    def _file(self, machine: VirtualMachine, node_network: NodeNetworkPlan) -> pulumi.Resource:
        configuration = cni.on_node(node_network)
        ending = "conflist" if "plugins" in configuration else "json"
        return command.file(
            f"{machine.node.name}-{self.network.name}-network",
            f"{_NODE_NETWORKS}/{self.network.name}.{ending}",
            cni.canonical(configuration),
            connection=machine.connection,
            triggers=[machine.disk_id],
            opts=ResourceOptions.merge(machine.child_options, ResourceOptions(parent=self, depends_on=[machine.ssh_ready])),
        )
