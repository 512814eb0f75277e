"""NodeNetworks: what the networks for pods need on one node, and the checks that they work there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ComponentResource, ResourceOptions

from components.config.network_plan import NetworkPlan, NodeNetworkPlan
from components.machine.virtual_machine import VirtualMachine
from components.network.node_access import NodeAccess, NodeAccessArgs
from components.node import command

_GATEWAY_LIMIT = 30


@dataclass(frozen=True, kw_only=True)
class NodeNetworksArgs:
    """Inputs of `NodeNetworks`."""

    machine: VirtualMachine
    """The node's machine; its plan has the networks."""
    plugins_installed: pulumi.Resource
    """The step after which the CNI plugins are there."""
    bin_directory: str
    """Where they are."""
    nics: Mapping[str, pulumi.Resource]
    """By name of each further NIC of the machine: the step after which it can be used."""
    version: str
    """K3s's release."""


class NodeNetworks(ComponentResource):
    """On one node: an interface for each VLAN, the daemon of the plugin dhcp where a network needs it, the check of each network,
    the node's own access to its pods.

    Errors: an interface that cannot be made, or that pods of others are on when it is removed; a daemon that does not start; what a
    check finds.
    """

    checked: dict[str, list[pulumi.Resource]]
    """By network: the steps after which pods may use it here."""

    def __init__(self, name: str, args: NodeNetworksArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:network:NodeNetworks", name, {}, opts)
        self._args, self._machine = args, args.machine
        node_networks = args.machine.node.networks
        # Networks on one VLAN share its interface.
        vlans = {network.network.link: network.network for network in node_networks if network.network.settings.vlan is not None}
        links = {link: self._vlan_link(network) for link, network in vlans.items()}
        daemon = [self._dhcp_daemon()] if any(network.network.settings.ipam == "dhcp" for network in node_networks) else []
        self.checked = {}
        for node_network in node_networks:
            link = links.get(node_network.network.link)
            after = [link] if link else self._nic(node_network.network)
            check = [self._check(node_network, after)] if node_network.network.settings.check else []
            leases = daemon if node_network.network.settings.ipam == "dhcp" else []
            self.checked[node_network.network.name] = [*after, *leases, *check]
            if node_network.access_address is not None:
                arguments = NodeAccessArgs(machine=args.machine, node_network=node_network, after=after)
                access_name = f"{args.machine.node.name}-{node_network.network.name}-access"
                NodeAccess(access_name, arguments, ResourceOptions(parent=self))
        self.register_outputs({})

    def _nic(self, network: NetworkPlan) -> list[pulumi.Resource]:
        """The step that brings the network's parent, where that is one of the machine's further NICs."""
        return [self._args.nics[network.parent]] if network.parent in self._args.nics else []

    def _vlan_link(self, network: NetworkPlan) -> pulumi.Resource:
        machine = self._machine
        named = {"PARENT": network.parent, "VLAN": str(network.settings.vlan)}
        return machine.run(
            f"{machine.node.name}-{network.link}",
            command.Script(name="vlan-link.sh", environment={"ACTION": "on", **named}, limit=60),
            on_delete=command.Script(name="vlan-link.sh", environment={"ACTION": "off", "LIMIT_SECONDS": "60", **named}, limit=90),
            opts=ResourceOptions(parent=self, depends_on=[machine.ssh_ready, *self._nic(network)]),
        )

    def _dhcp_daemon(self) -> pulumi.Resource:
        machine = self._machine
        return machine.run(
            f"{machine.node.name}-dhcp",
            command.Script(name="dhcp-daemon.sh", environment={"ACTION": "on", "BIN_DIR": self._args.bin_directory}, limit=360),
            self._args.version,
            on_delete=command.Script(name="dhcp-daemon.sh", environment={"ACTION": "off", "LIMIT_SECONDS": "30"}, limit=60),
            # Another release of K3s is no reason to end the daemon, which it would not do while pods have leases. States of before
            # have the release among the triggers, so it stays there.
            opts=ResourceOptions(parent=self, depends_on=[self._args.plugins_installed], ignore_changes=["triggers[1]"]),
        )

    def _check(self, node_network: NodeNetworkPlan, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        network, machine = node_network.network, self._machine
        environment = check_parameters(node_network, machine.node.mac)
        # Later the addresses may be those of pods.
        return machine.run(
            f"{machine.node.name}-{network.name}-check",
            command.Script(name="network-check.sh", environment=environment, limit=400),
            *(environment.get(parameter, "") for parameter in ("LINK", "TYPE", "MTU", "GATEWAY")),
            run_once_per_machine=True,
            opts=ResourceOptions(parent=self, depends_on=[machine.network_checked, *after]),
        )


def check_parameters(node_network: NodeNetworkPlan, mac: str) -> dict[str, str]:
    """Parameters of network-check.sh. mac: of the node's NIC."""
    network = node_network.network
    settings = network.settings
    exclusive = ",".join(str(addresses) for addresses in node_network.exclusive)
    # At the addresses that others' pods may have, a MAC address of the book shows who answers.
    booked = ",".join(
        f"{entry.ip}={entry.mac}"
        for _, entry in sorted(settings.addresses.items())
        if entry.ip is not None and entry.mac is not None and not any(entry.ip in addresses for addresses in node_network.exclusive)
    )
    return {
        "SETTING": network.path,
        "MAC": mac,
        **({} if network.of_nodes else {"LINK": network.link}),
        **({"MTU": str(settings.mtu)} if settings.mtu is not None else {}),
        "TYPE": settings.type,
        "MODE": settings.mode_or_default,
        **({"GATEWAY": str(network.gateway)} if network.gateway is not None else {}),
        **({"FREE": exclusive} if exclusive else {}),
        **({"BOOKED": booked} if booked else {}),
        **({"IPV6": "true"} if network.tuned else {}),
        "LIMIT_SECONDS": str(_GATEWAY_LIMIT),
    }
