"""Addresses and MAC addresses that more than one interface has, over all pods and nodes. Pure.

Only what is on one segment can collide: the same address on two VLANs is nobody's mistake. A segment is told by the parent
interface of the pods' interfaces; where that is not known, by the network's name.
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

# Their interfaces are on their parent's segment.
_ON_PARENT = ("macvlan", "ipvlan")


@dataclass(frozen=True, kw_only=True)
class Segments:
    """parents: segment by network (namespace/name). shared: networks whose pods have their node's MAC address, all of them.
    own: networks whose pods have MAC addresses of their own. nodes: the segment that the nodes are on."""

    nodes: str = ""
    parents: Mapping[str, str] = field(default_factory=dict)
    own: frozenset[str] = frozenset()

    def of(self, network: str) -> str:
        return self.parents.get(network, network)


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """kind: address or mac. holders: who has it, as text."""

    kind: str
    value: str
    holders: tuple[str, ...]

    def __str__(self) -> str:
        what = "address" if self.kind == "address" else "MAC address"
        return f"the {what} {self.value} is on {len(self.holders)} interfaces: {'; '.join(self.holders)}"


def segments(config: Settings, plan: Plan, definitions: Iterable[Definition]) -> Segments:
    """The segments of the stack's own network and of every other that the API tells of."""
    nodes = config.network.interface
    types = {each.network: each.type for each in definitions}
    # Without a parent a plugin takes the interface of the default route, which is the nodes' own.
    parents = {each.network: each.master or nodes for each in definitions if each.type in _ON_PARENT}
    stack = f"{config.macvlan.namespace}/{config.macvlan.name}"
    types[stack], parents[stack] = config.macvlan.type, plan.master
    # ipvlan's interfaces have their parent's; of a network that is not known nothing is said.
    own = frozenset(network for network, each in types.items() if each not in ("", "ipvlan"))
    return Segments(nodes=nodes, parents=parents, own=own)


def duplicates(
    pods: Sequence[Pod], nodes: Sequence[Node], known: Sequence[KubeNode], plan: Plan | None, on: Segments
) -> tuple[Duplicate, ...]:
    """Each address and MAC address with several holders. nodes: the stack's; known: the cluster's; plan: None: not known."""
    found: defaultdict[tuple[str, str, str], dict[str, None]] = defaultdict(dict)
    for kind, segment, value, holder in (*_of_pods(pods, on), *_of_nodes(nodes, known, plan, on)):
        if value:
            found[kind, segment, value][holder] = None
    return tuple(
        Duplicate(kind=kind, value=_shown(kind, value), holders=tuple(holders))
        for (kind, _segment, value), holders in sorted(found.items())
        if len(holders) > 1
    )


def _of_pods(pods: Sequence[Pod], on: Segments) -> Iterator[tuple[str, str, str, str]]:
    for pod in pods:
        if pod.ended:
            continue
        going = ", being deleted" if pod.deleted else ""
        for each in pod.interfaces:
            holder = f"pod {pod.namespace}/{pod.name} {each.name} (node {pod.node}{going})"
            for address in each.addresses:
                yield "address", on.of(each.network), same_address(address), holder
            if each.network in on.own:
                yield "mac", on.of(each.network), same_hardware(each.mac), holder


def _of_nodes(
    nodes: Sequence[Node], known: Sequence[KubeNode], plan: Plan | None, on: Segments
) -> Iterator[tuple[str, str, str, str]]:
    for node in nodes:
        yield "address", on.nodes, same_address(node.address), f"node {node.name}"
        yield "mac", on.nodes, same_hardware(node.mac), f"node {node.name}"
    for other in known:
        for address in other.addresses:
            yield "address", on.nodes, same_address(address), f"node {other.name}"
    for planned in plan.nodes if plan else ():
        if planned.access_address and any(node.name == planned.name for node in nodes):
            yield "address", on.of(plan.master), str(planned.access_address), f"node {planned.name} (nodeAccess)"  # type: ignore[union-attr]


def _shown(kind: str, value: str) -> str:
    return value if kind == "address" else ":".join(value[index : index + 2] for index in range(0, len(value), 2))
