"""How many addresses of the stack's network are taken: of each node's part of the range, or of all of it. Pure.

Addresses that pods report are counted. host-local's own record on a node may hold more: addresses that were never given back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from cli.kube import Pod
from cli.networks import same_address
from components.config.addresses import AddressRange
from components.config.plan import Plan
from components.config.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Part:
    """A range of addresses, and those of it that pods have."""

    node: str
    """Node whose pods take from the range; empty: those of all nodes."""
    range: AddressRange
    taken: frozenset[IPv4Address]
    """Addresses of the range that pods have."""

    @property
    def size(self) -> int:
        return len(self.range)

    @property
    def free(self) -> int:
        return self.size - len(self.taken)

    def plain(self) -> dict[str, Any]:
        return {"node": self.node, "range": str(self.range), "size": self.size, "taken": len(self.taken), "free": self.free}


def parts(config: Settings, plan: Plan, pods: Sequence[Pod], nodes: Sequence[str]) -> tuple[Part, ...]:
    """The parts of `macvlan.range`: with host-local, which counts on each node by itself, one for each node of `nodes`."""
    pod_addresses = list(_pod_addresses(config, pods))
    if config.macvlan.ipam != "host-local":
        whole = config.macvlan.range
        return (Part(node="", range=whole, taken=frozenset(address for _pod, address in pod_addresses if address in whole)),)
    return tuple(
        Part(
            node=node.name,
            range=node.slice,
            taken=frozenset(address for pod, address in pod_addresses if pod.node == node.name and address in node.slice),
        )
        for node in plan.nodes
        if node.name in nodes
    )


def warnings(config: Settings, plan: Plan, pods: Sequence[Pod], node_parts: Sequence[Part]) -> tuple[str, ...]:
    """What is used up, or nearly so, and addresses that a node should not have."""
    return (*_short(config, node_parts), *_outside(config, plan, pods))


def _pod_addresses(config: Settings, pods: Sequence[Pod]) -> Iterator[tuple[Pod, IPv4Address]]:
    network = f"{config.macvlan.namespace}/{config.macvlan.name}"
    for pod in pods:
        for interface in pod.interfaces if not pod.ended else ():
            for text in interface.addresses if interface.network == network else ():
                address = same_address(text)
                if "." in address:
                    yield pod, IPv4Address(address)


def _short(config: Settings, node_parts: Sequence[Part]) -> Iterator[str]:
    for part in node_parts:
        where = f"macvlan.range {part.range}" + (f" of node {part.node}" if part.node else "")
        remedy = "widen macvlan.range" + (" and macvlan.addressesPerNode" if config.macvlan.addresses_per_node else "")
        if part.free == 0:
            stays = ", so the next pod stays in ContainerCreating" if part.node else ""
            yield f"{where}: all {part.size} addresses are taken{stays}; {remedy}, or remove a pod"
        elif part.free == 1 and part.size > 1:
            yield f"{where}: one address of {part.size} is left; {remedy}, or remove a pod"


def _outside(config: Settings, plan: Plan, pods: Sequence[Pod]) -> Iterator[str]:
    """Addresses that host-local would not give on this node: those of a pod from before its range was changed."""
    if config.macvlan.ipam != "host-local":
        return
    own = {node.name: node.slice for node in plan.nodes}
    for pod, address in _pod_addresses(config, pods):
        if pod.node in own and address not in own[pod.node]:
            yield (
                f"pod {pod.namespace}/{pod.name} has {address}, outside of the range {own[pod.node]} of its node {pod.node}, so "
                "another pod may be given it too; delete it, so that it is made again"
            )
