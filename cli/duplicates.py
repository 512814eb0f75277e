"""Addresses and MAC addresses that more than one interface has, over all pods and nodes. Pure.

Only interfaces on one segment can collide: the same address on two VLANs is no mistake. A segment is named by the interface of the
nodes that the pods' interfaces are on, a NIC (enp1s0) or a VLAN on it (enp1s0.50); where that is not known, by the network's name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cli.kube import Definition, KubeNode, Pod
from cli.networks import same_address, same_hardware
from cli.stack import Node
from components.config.plan import Plan
from components.config.settings import Settings

_TYPES_ON_PARENT = ("macvlan", "ipvlan", "vlan")
"""Plugins whose interfaces are on the segment of their parent interface, or on a VLAN of it."""

_TYPES_WITH_ITS_MAC = ("ipvlan", "vlan")
"""Those of them whose interfaces have the MAC address of their parent."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """The segments of nodes and of networks, each by the name of its interface on the nodes."""

    nodes: str = ""
    """The segment that the nodes are on."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """Segment by network (namespace/name)."""
    own: frozenset[str] = frozenset()
    """Networks (namespace/name) whose pods have MAC addresses of their own, and not their node's."""

    def of(self, network: str) -> str:
        return self.parents.get(network, network)


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """An address that several interfaces have."""

    kind: str
    """address or mac."""
    value: str
    """The IP address, or the MAC address with colons."""
    holders: tuple[str, ...]
    """The interfaces that have it, as text."""

    def __str__(self) -> str:
        what = "address" if self.kind == "address" else "MAC address"
        return f"the {what} {self.value} is on {len(self.holders)} interfaces: {'; '.join(self.holders)}"


def segments(config: Settings, plan: Plan, definitions: Iterable[Definition]) -> Segments:
    """The segments of the stack's own networks and of every other that the API reports."""
    node_interface = config.network.interface
    types, parents = {}, {}
    for definition in definitions:
        types[definition.network] = definition.type
        if definition.type in _TYPES_ON_PARENT:
            # Without a parent a plugin takes the interface of the default route, which is the nodes' own.
            parent = definition.master or node_interface
            parents[definition.network] = parent if definition.vlan is None else f"{parent}.{definition.vlan}"
    for network in plan.networks:
        types[network.reference], parents[network.reference] = network.settings.type, network.link
    # Of a network whose type is not known nothing is reported.
    own = frozenset(network for network, type_ in types.items() if type_ not in ("", *_TYPES_WITH_ITS_MAC))
    return Segments(nodes=node_interface, parents=parents, own=own)


def duplicates(
    pods: Sequence[Pod], nodes: Sequence[Node], kube_nodes: Sequence[KubeNode], plan: Plan | None, stack_segments: Segments
) -> tuple[Duplicate, ...]:
    """Each address and MAC address with several holders.

    nodes: the stack's. kube_nodes: the cluster's. plan: None where it is not known.
    """
    holders_of: defaultdict[tuple[str, str, str], dict[str, None]] = defaultdict(dict)
    for kind, segment, value, holder in (*_of_pods(pods, stack_segments), *_of_nodes(nodes, kube_nodes, plan, stack_segments)):
        if value:
            holders_of[kind, segment, value][holder] = None
    return tuple(
        Duplicate(kind=kind, value=_shown(kind, value), holders=tuple(holders))
        for (kind, _segment, value), holders in sorted(holders_of.items())
        if len(holders) > 1
    )


def _of_pods(pods: Sequence[Pod], stack_segments: Segments) -> Iterator[tuple[str, str, str, str]]:
    for pod in pods:
        if pod.ended:
            continue
        deletion = ", being deleted" if pod.deleted else ""
        for interface in pod.interfaces:
            holder = f"pod {pod.namespace}/{pod.name} {interface.name} (node {pod.node}{deletion})"
            for address in interface.addresses:
                yield "address", stack_segments.of(interface.network), same_address(address), holder
            if interface.network in stack_segments.own:
                yield "mac", stack_segments.of(interface.network), same_hardware(interface.mac), holder


def _of_nodes(
    nodes: Sequence[Node], kube_nodes: Sequence[KubeNode], plan: Plan | None, stack_segments: Segments
) -> Iterator[tuple[str, str, str, str]]:
    for node in nodes:
        yield "address", stack_segments.nodes, same_address(node.address), f"node {node.name}"
        yield "mac", stack_segments.nodes, same_hardware(node.mac), f"node {node.name}"
    for kube_node in kube_nodes:
        for address in kube_node.addresses:
            yield "address", stack_segments.nodes, same_address(address), f"node {kube_node.name}"
    for node_plan in plan.nodes if plan else ():
        if not any(node.name == node_plan.name for node in nodes):
            continue
        for on_node in node_plan.networks:
            if on_node.access_address:
                holder = f"node {node_plan.name} (nodeAccess of {on_node.network.name})"
                yield "address", stack_segments.of(on_node.network.reference), str(on_node.access_address), holder


def _shown(kind: str, value: str) -> str:
    return value if kind == "address" else ":".join(value[index : index + 2] for index in range(0, len(value), 2))
