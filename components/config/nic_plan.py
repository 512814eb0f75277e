"""The further network interfaces of each node, computed from settings alone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network

from components.config.nics import Nic, named
from components.config.settings import Settings, node_names


@dataclass(frozen=True, kw_only=True)
class NicPlan:
    """A network interface of one node beyond its first."""

    name: str
    """In the guest, as enp2s0."""
    mac: str
    """As 52:54:00:ab:00:02."""
    path: str
    """Of its setting: servers.nics.0, or servers.overrides.server-1.nics.0."""
    settings: Nic
    """Its entry of nics."""


@dataclass(frozen=True, kw_only=True)
class NodeNics:
    """The list of a node's further NICs, and where it is set."""

    node: str
    """Name of the node."""
    path: str
    """Of the list: servers.nics, or servers.overrides.server-1.nics."""
    nics: tuple[tuple[str, Nic], ...]
    """(name in the guest, entry)."""
    alone: bool
    """Whether no other node has its NICs from the same list."""


def of_nodes(settings: Settings) -> Iterator[NodeNics]:
    """The lists of all nodes, servers first."""
    for role, group in settings.groups:
        names = node_names(role, group.count)
        own = {name: override.nics for name, override in group.overrides.items() if override.nics is not None}
        sharing = sum(name not in own for name in names)
        for name in names:
            if name in own:
                yield NodeNics(node=name, path=f"{role}s.overrides.{name}.nics", nics=named(own[name] or ()), alone=True)
            else:
                yield NodeNics(node=name, path=f"{role}s.nics", nics=named(group.nics), alone=sharing == 1)


def plans(settings: Settings, mac: Callable[[str, str], str]) -> dict[str, tuple[NicPlan, ...]]:
    """By node. mac: the address made from the names of a node and of a NIC."""
    return {
        own.node: tuple(
            NicPlan(name=name, mac=nic.mac or mac(own.node, name), path=f"{own.path}.{place}", settings=nic)
            for place, (name, nic) in enumerate(own.nics)
        )
        for own in of_nodes(settings)
    }


def devices(settings: Settings, name: str) -> str:
    """What of the nodes' NICs of this name changes only by attaching them again, with which the interfaces on them are lost; empty
    where no node has one."""
    kinds = {f"{nic.model} {nic.queues or 1}" for own in of_nodes(settings) for other, nic in own.nics if other == name}
    return ", ".join(sorted(kinds))


def in_subnet(settings: Settings, name: str, cidr: IPv4Network) -> bool:
    """Whether a node has, or may get, an address of this subnet on its NIC of this name."""
    nics = [nic for own in of_nodes(settings) for other, nic in own.nics if other == name]
    return any(nic.dhcp or (nic.address is not None and nic.address.network.overlaps(cidr)) for nic in nics)


def smallest_mtu(settings: Settings, name: str) -> int | None:
    """The least MTU that nodes give their NIC of this name; None: not all of them say one."""
    mtus = [nic.mtu for own in of_nodes(settings) for other, nic in own.nics if other == name]
    known = [mtu for mtu in mtus if mtu is not None]
    return min(known) if known and len(known) == len(mtus) else None
