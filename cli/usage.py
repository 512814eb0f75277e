"""How many addresses of the stack's networks are taken: of each node's part of a range, or of all of it. Pure.

Addresses that pods report are counted. host-local's own record on a node may hold more: addresses that were never given back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from cli.kube import Pod
from cli.networks import same_address
from components.config.addresses import AddressRange
from components.config.network_plan import NetworkPlan, NodeNetworkPlan
from components.config.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Part:
    """A range of addresses of a network, and those of it that pods have."""

    network: NetworkPlan
    node: str
    """Node whose pods take from the range; empty: those of all nodes."""
    range: AddressRange
    taken: frozenset[IPv4Address]
    """Addresses of the range that pods have."""
    booked: frozenset[IPv4Address] = frozenset()
    """Addresses of the range that the network's book has for somebody, whether a pod has them or not."""

    @property
    def size(self) -> int:
        return len(self.range)

    @property
    def free(self) -> int:
        return self.size - len(self.taken | self.booked)

    def plain(self) -> dict[str, Any]:
        return {
            "network": self.network.name,
            "node": self.node,
            "range": str(self.range),
            "size": self.size,
            "taken": len(self.taken),
            "booked": len(self.booked),
            "free": self.free,
        }


def parts(plan: Plan, pods: Sequence[Pod], nodes: Sequence[str]) -> tuple[Part, ...]:
    """The parts of all ranges: with host-local, which counts on each node by itself, one for each node of `nodes`. A network
    without a range, as with dhcp, has none."""
    listed = []
    for network in plan.networks:
        whole = network.settings.range
        addresses = [(pod, address) for pod, address in _pod_addresses(network, pods) if isinstance(address, IPv4Address)]
        if network.settings.ipam == "host-local":
            listed += [
                _part(network, on_node.slice, [address for pod, address in addresses if pod.node == name], node=name)
                for name, on_node in _on_nodes(network, plan)
                if name in nodes and on_node.slice is not None
            ]
        elif whole is not None:
            listed.append(_part(network, whole, [address for _pod, address in addresses]))
    return tuple(listed)


def _part(network: NetworkPlan, range_: AddressRange, addresses: Sequence[IPv4Address], *, node: str = "") -> Part:
    taken = frozenset(address for address in addresses if address in range_)
    booked = frozenset(entry.ip for entry in network.settings.addresses.values() if entry.ip is not None and entry.ip in range_)
    return Part(network=network, node=node, range=range_, taken=taken, booked=booked)


def _on_nodes(network: NetworkPlan, plan: Plan) -> Iterator[tuple[str, NodeNetworkPlan]]:
    """The network on each node by the node's name."""
    for node in plan.nodes:
        for on_node in node.networks:
            if on_node.network.name == network.name:
                yield node.name, on_node


def warnings(plan: Plan, pods: Sequence[Pod], network_parts: Sequence[Part]) -> tuple[str, ...]:
    """What is used up, or nearly so, and addresses that a node should not have."""
    outside = [text for network in plan.networks for text in _outside(network, plan, pods)]
    return (*_short(network_parts), *outside)


def _pod_addresses(network: NetworkPlan, pods: Sequence[Pod]) -> Iterator[tuple[Pod, IPv4Address | IPv6Address]]:
    for pod in pods:
        for interface in pod.interfaces if not pod.ended else ():
            for text in interface.addresses if interface.network == network.reference else ():
                if address := same_address(text):
                    yield pod, ip_address(address)


def _short(network_parts: Sequence[Part]) -> Iterator[str]:
    for part in network_parts:
        path = part.network.path
        where = f"{path}.range {part.range}" + (f" of node {part.node}" if part.node else "")
        remedy = f"widen {path}.range" + (f" and {path}.addressesPerNode" if part.network.settings.addresses_per_node else "")
        if part.booked:
            continue  # a range that its book shares out is meant to be full
        if part.free == 0:
            stays = ", so the next pod stays in ContainerCreating" if part.node else ""
            yield f"{where}: all {part.size} addresses are taken{stays}; {remedy}, or remove a pod"
        elif part.free == 1 and part.size > 1:
            yield f"{where}: one address of {part.size} is left; {remedy}, or remove a pod"


def _outside(network: NetworkPlan, plan: Plan, pods: Sequence[Pod]) -> Iterator[str]:
    """Addresses that host-local would not give on this node: those of a pod from before its range was changed."""
    if network.settings.ipam != "host-local":
        return
    on_nodes = dict(_on_nodes(network, plan))
    for pod, address in _pod_addresses(network, pods):
        on_node = on_nodes.get(pod.node)
        if on_node is None:
            continue
        own = on_node.slice if isinstance(address, IPv4Address) else on_node.ipv6_slice
        if own is not None and address not in own:
            yield (
                f"pod {pod.full_name} has {address}, outside of the range {own} that {network.path} has on its node {pod.node}, so "
                "another pod may be given it too; delete it, so that it is made again"
            )
