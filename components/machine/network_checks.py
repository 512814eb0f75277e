"""The checks of a node's own address: their parameters, and the resource that probes addresses from here."""

from __future__ import annotations

from pulumi import Resource

from components.config.plan import NodePlan, Plan
from components.config.settings import Network
from components.custom.free_addresses import FreeAddresses, FreeAddressesArgs

LAN_CHECK = "lan-check.sh"


def lan_check(node: NodePlan) -> dict[str, str]:
    """Parameters of lan-check.sh."""
    return {"MAC": node.mac, "ADDRESS": str(node.address), "RANGES": ""}


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
