"""NodeAccess: a node reaches the macvlan pods that run on it.

The kernel lets a parent interface and its macvlan children not talk to each other. A macvlan interface of the node's own,
in bridge mode on the same parent, is another child, so the pods answer it (multus-cni issue 226).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import summarize_address_range

import pulumi
from pulumi import ComponentResource, ResourceOptions

from components.config.addresses import AddressRange
from components.config.network_plan import NodeNetworkPlan
from components.machine.virtual_machine import VirtualMachine
from components.node import command


@dataclass(frozen=True, kw_only=True)
class NodeAccessArgs:
    """Inputs of `NodeAccess`."""

    machine: VirtualMachine
    """The node's machine."""
    node_network: NodeNetworkPlan
    """The network on this node, with the node's own address on it."""
    after: Sequence[pulumi.Resource]
    """What makes the pods' parent interface, where the machine does not have it."""


class NodeAccess(ComponentResource):
    """A macvlan interface of the node's own on one network, with routes for the network's pods, kept over reboots; deleted with the
    component.

    With host-local only the node's own slice of the range is routed by it: pods of other nodes are reached over the network. With
    dhcp the whole subnet is, and where the node has an address in it the booked addresses alone: the route of the subnet is the
    node's own there.
    """

    def __init__(self, name: str, args: NodeAccessArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:access:NodeAccess", name, {}, opts)
        network = args.node_network.network
        link = {"LINK": network.access_link}
        on = {
            "ACTION": "on",
            "PARENT": network.link,
            "ADDRESS": str(args.node_network.access_address),
            "RANGES": " ".join(str(block) for addresses in _of_pods(args.node_network) for block in _blocks(addresses)),
        }
        args.machine.run(
            name,
            command.Script(name="node-access.sh", environment={**link, **on}, limit=120),
            on_delete=command.Script(name="node-access.sh", environment={**link, "ACTION": "off"}, limit=120),
            opts=ResourceOptions(parent=self, depends_on=[args.machine.ssh_ready, *args.after]),
        )
        self.register_outputs({})


def _of_pods(node_network: NodeNetworkPlan) -> list[AddressRange]:
    """Addresses of the network's pods that may be on this node."""
    settings = node_network.network.settings
    if node_network.slice is not None:
        return [node_network.slice]
    booked = [AddressRange.single(address) for address in node_network.network.booked]
    if settings.ipam == "dhcp" and not node_network.network.node_subnet:
        cidr = node_network.network.cidr
        return [AddressRange(cidr.network_address, cidr.broadcast_address)]
    return [*([settings.range] if settings.range is not None else []), *booked]


def _blocks(addresses: AddressRange) -> list[str]:
    return [str(block) for block in summarize_address_range(addresses.first, addresses.last)]
