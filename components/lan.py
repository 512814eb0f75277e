"""The addresses of a stack on a LAN that is not libvirt's."""

from __future__ import annotations

from pulumi import Resource

from components.libvirt.lan import FreeAddresses, FreeAddressesArgs
from components.plan import Plan
from components.settings import Network


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
