"""The checks of a node's addresses and of macvlan: their parameters, and the resource that probes addresses from here."""

from __future__ import annotations

from ipaddress import IPv4Address

from pulumi import Resource

from components.config.plan import NodePlan, Plan, with_prefix
from components.config.settings import Macvlan, Network
from components.custom.free_addresses import FreeAddresses, FreeAddressesArgs

LAN_CHECK = "lan-check.sh"


def lan_check(node: NodePlan, *, pods: bool) -> dict[str, str]:
    """Parameters of lan-check.sh.

    pods: also the addresses that nobody but this node's pods can have. Those hear nothing that the node's NIC sends, so what
    answers is another machine, even when the node probes again later.
    """
    ranges = ",".join(str(addresses) for addresses in node.exclusive) if pods else ""
    return {"MAC": node.mac, "ADDRESS": str(node.address), "RANGES": ranges}


def macvlan_check(node: NodePlan, address: IPv4Address, macvlan: Macvlan, network: Network, *, ping: bool) -> dict[str, str]:
    """Parameters of macvlan-check.sh. address: of the temporary interface. ping: whether the gateway must answer it."""
    return {
        "MAC": node.mac,
        **({"PARENT": macvlan.master} if macvlan.master not in ("", network.interface) else {}),
        **({"MTU": str(macvlan.mtu)} if macvlan.mtu is not None else {}),
        "TEST_ADDRESS": with_prefix(network.cidr, address),
        "GATEWAY": str(network.gateway),
        "MODE": "bridge",
        "PING": "true" if ping else "false",
        "LIMIT_SECONDS": "30",
    }


def free_addresses(plan: Plan, network: Network) -> list[Resource]:
    """The question whether the stack's addresses are free, on a bridge; on a libvirt network its DHCP server answers that."""
    if network.kind == "libvirt":
        return []
    args = FreeAddressesArgs(
        cidr=str(network.cidr),
        ranges=[str(claim) for claim in plan.claims],
        macs=[node.mac for node in plan.nodes],
    )
    return [FreeAddresses("addresses", args)]
