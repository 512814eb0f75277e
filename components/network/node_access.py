"""NodeAccess: a node reaches the macvlan pods that run on it.

The kernel lets a parent interface and its macvlan children not talk to each other. A macvlan interface of the node's own,
in bridge mode on the same parent, is another child, so the pods answer it (multus-cni issue 226).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import summarize_address_range

from pulumi import ComponentResource, ResourceOptions

from components.config.settings import Macvlan
from components.machine.virtual_machine import VirtualMachine
from components.node import command


@dataclass(frozen=True, kw_only=True)
class NodeAccessArgs:
    """Inputs of `NodeAccess`."""

    machine: VirtualMachine
    """The node's machine; its plan has the address."""
    macvlan: Macvlan
    """The setting macvlan."""
    master: str
    """The pods' parent interface on the node."""


class NodeAccess(ComponentResource):
    """Interface mvaccess0 on one node with routes for the pods of that node, kept over reboots; deleted with the component.

    Only the node's own slice of the range is routed by it: pods of other nodes are reached over the network.
    """

    def __init__(self, name: str, args: NodeAccessArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:access:NodeAccess", name, {}, opts)
        machine, node = args.machine, args.machine.node
        ranges = " ".join(str(network) for network in summarize_address_range(node.slice.first, node.slice.last))
        on = {"ACTION": "on", "PARENT": args.master, "ADDRESS": str(node.access_address), "RANGES": ranges}
        machine.run(
            name,
            command.Script(name="node-access.sh", environment=on, limit=120),
            on_delete=command.Script(name="node-access.sh", environment={"ACTION": "off"}, limit=120),
            opts=ResourceOptions(parent=self, depends_on=[machine.ssh_ready]),
        )
        self.register_outputs({})
