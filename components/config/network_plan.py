"""The networks for pods as they are on the nodes: interfaces, addresses and slices, computed from settings alone. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from components.config.addresses import AddressRange, Ipv6Range, merge
from components.config.nic_plan import devices, in_subnet, smallest_mtu
from components.config.pod_networks import IPV6_MTU, BookedAddress, PodNetwork, StaticIpv6
from components.config.settings import Settings


@dataclass(frozen=True, kw_only=True)
class NetworkPlan:
    """One network for pods, with what other settings give."""

    name: str
    """Of the NetworkAttachmentDefinition, and in the setting podNetworks."""
    settings: PodNetwork
    """Its entry of podNetworks."""
    parent: str
    """NIC of the nodes, as enp1s0."""
    cidr: IPv4Network
    """Its addresses."""
    gateway: IPv4Address | None
    """Its router; None: it has none."""
    of_nodes: bool
    """Whether it is on the nodes' own interface and in their subnet."""
    mtu: int | None = None
    """MTU of the pods' interface in bytes, where settings say it; None: the NIC's own."""
    node_subnet: bool = False
    """Whether nodes have an address of their own in its subnet on its link, so that a route of the subnet is theirs too."""
    nic: str = ""
    """Of a further NIC of the nodes that it is on: the device, with another one of which pods lose their interface."""

    @property
    def tuned(self) -> bool:
        """Whether the plugin tuning sets how the pods' interface takes IPv6. Below its MTU there is nothing to set, and the plugin
        would fail the pod (measured)."""
        return self.settings.tunes_ipv6 and (self.mtu is None or self.mtu >= IPV6_MTU)

    @property
    def link(self) -> str:
        """Interface of the nodes that the pods' interfaces are on: the parent, or its VLAN's, as enp1s0.50."""
        return self.parent if self.settings.vlan is None else f"{self.parent}.{self.settings.vlan}"

    @property
    def reference(self) -> str:
        """namespace/name, as Multus names it."""
        return f"{self.settings.namespace}/{self.name}"

    @property
    def path(self) -> str:
        """Of its settings."""
        return f"podNetworks.{self.name}"

    @property
    def sliced(self) -> bool:
        """Whether each node has a part of the range, and so a configuration of its own."""
        return self.settings.ipam == "host-local" and self.settings.addresses_per_node is not None

    @property
    def booked(self) -> list[IPv4Address]:
        """Addresses of its book, by name."""
        return [entry.ip for _, entry in sorted(self.settings.addresses.items()) if entry.ip is not None]

    @property
    def access_link(self) -> str:
        """The nodes' own macvlan interface on it, at most 15 characters."""
        return f"mva-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, kw_only=True)
class NodeNetworkPlan:
    """One network for pods on one node."""

    network: NetworkPlan
    """The network."""
    slice: AddressRange | None
    """Addresses that this node may give to its pods; None where nobody counts."""
    ipv6_slice: Ipv6Range | None
    """Likewise IPv6 addresses."""
    exclusive: tuple[AddressRange, ...]
    """Addresses that only pods on this node and its own macvlan interface can have; empty where nodes share them."""
    access_address: IPv4Address | None
    """Of the node's own macvlan interface, through which it reaches the pods on it; None: it has none."""


@dataclass(frozen=True, kw_only=True)
class AttachmentPlan:
    """What a pod has on a network."""

    network: NetworkPlan
    """The network."""
    booked: BookedAddress | None
    """The pod's entry in the network's book; None: it has none."""


def networks(settings: Settings) -> tuple[NetworkPlan, ...]:
    """The networks: those that are the nodes' own first, then the others, each by name. Not by the stack file, whose order of keys
    the engine does not keep."""
    planned = (_network(name, network, settings) for name, network in settings.pod_networks.items())
    return tuple(sorted(planned, key=lambda network: (not network.of_nodes, network.name)))


def _network(name: str, network: PodNetwork, settings: Settings) -> NetworkPlan:
    nodes = settings.network
    parent = network.parent or nodes.interface
    cidr = network.cidr or nodes.cidr
    inherited = nodes.gateway if cidr == nodes.cidr else None
    of_parent = nodes.mtu if parent == nodes.interface else smallest_mtu(settings, parent)
    return NetworkPlan(
        name=name,
        settings=network,
        parent=parent,
        cidr=cidr,
        gateway=network.gateway or inherited,
        of_nodes=parent == nodes.interface and network.vlan is None and cidr == nodes.cidr,
        mtu=of_parent if network.mtu is None else network.mtu,
        node_subnet=network.vlan is None
        and (in_subnet(settings, parent, cidr) if parent != nodes.interface else cidr.overlaps(nodes.cidr)),
        nic=devices(settings, parent),
    )


def counted(addresses: AddressRange, role: str, index: int) -> IPv4Address:
    """Servers up from the start of the range, agents down from its end: a new node moves no other."""
    # At the end of all addresses the count ends: conflicts.py reports a range that is too small.
    number = int(addresses.first) + index if role == "server" else int(addresses.last) - index
    return IPv4Address(max(0, min(number, 2**32 - 1)))


def node_networks(planned: tuple[NetworkPlan, ...], role: str, index: int, nodes: int) -> tuple[NodeNetworkPlan, ...]:
    """The networks on one node of `nodes`."""
    return tuple(_on_node(network, role, index, alone=nodes == 1) for network in planned)


def _on_node(network: NetworkPlan, role: str, index: int, *, alone: bool) -> NodeNetworkPlan:
    settings = network.settings
    range_, ipv6 = settings.range, settings.ipv6
    counts = settings.ipam == "host-local" and range_ is not None
    ipv6_range = ipv6.range if counts and isinstance(ipv6, StaticIpv6) else None
    own = _slice(range_, settings.addresses_per_node, role, index) if range_ is not None and counts else None
    access = counted(settings.node_access, role, index) if settings.node_access is not None else None
    return NodeNetworkPlan(
        network=network,
        slice=own,
        ipv6_slice=(
            _ipv6_slice(ipv6_range, range_, settings.addresses_per_node, own)
            if ipv6_range is not None and range_ is not None and own is not None
            else None
        ),
        # Merged, so that the order of the book's entries changes nothing.
        exclusive=tuple(merge(_exclusive(network, own, access, alone=alone))),
        access_address=access,
    )


def _slice(whole: AddressRange, size: int | None, role: str, index: int) -> AddressRange:
    """This node's part of the range, counted like the node addresses; all of it where there are no slices."""
    if size is None:
        return whole
    first = counted(whole, "server", (index if role == "server" else len(whole) // size - 1 - index) * size)
    return AddressRange(first, counted(AddressRange.single(first), "server", size - 1))


def _ipv6_slice(whole: Ipv6Range, range_: AddressRange, size: int | None, own: AddressRange) -> Ipv6Range:
    """The part of the IPv6 range that has the place of `own` in the IPv4 range."""
    if size is None:
        return whole
    start = min(max(int(own.first) - int(range_.first), 0), max(whole.size - size, 0))
    return whole.slice(start, min(size, whole.size))


def _exclusive(
    network: NetworkPlan, own: AddressRange | None, access: IPv4Address | None, *, alone: bool
) -> Iterator[AddressRange]:
    """Addresses of pods on this node alone: its slice and its own interface's; where there is one node, all of the network's."""
    if own is not None and (alone or network.sliced):
        yield own
    if access is not None and (own is None or access not in own):
        yield AddressRange.single(access)
    if not alone or network.settings.ipam == "dhcp":
        return
    if own is None and network.settings.range is not None:
        yield network.settings.range
    for address in network.booked:
        if network.settings.range is None or address not in network.settings.range:
            yield AddressRange.single(address)


def attachments(planned: tuple[NetworkPlan, ...], settings: Settings, pod: str) -> tuple[AttachmentPlan, ...]:
    """What the stack's pod of this name has, in the order of its interfaces."""
    wanted = settings.workload.networks
    names = [network.name for network in planned] if wanted is None else list(wanted)
    by_name = {network.name: network for network in planned}
    return tuple(
        AttachmentPlan(network=by_name[name], booked=by_name[name].settings.addresses.get(pod)) for name in names if name in by_name
    )
