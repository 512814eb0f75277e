"""The book of addresses (`podNetworks.NETWORK.addresses`) against the pods that the API reports. Pure.

An entry's names are the user's own, so its pod is found by what the pod has: the booked address or the booked MAC address, on the
network's interface of the nodes. The stack's own pods are found by their names too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from cli.duplicates import Segments
from cli.kube import Pod
from cli.networks import Interface, same_address, same_hardware
from components.config.network_plan import NetworkPlan
from components.config.plan import Plan
from components.config.pod_networks import BookedAddress
from components.config.settings import Settings

THERE, REQUESTED, NOT_THERE, UNKNOWN = "there", "requested", "not there", "not known"
"""States of an entry. REQUESTED: a pod requests it and does not have it yet. UNKNOWN: it has neither address nor MAC address by
which a pod could be found."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry of a network's book."""

    name: str
    booked: BookedAddress
    state: str
    """One of the states above."""
    pods: tuple[str, ...] = ()
    """namespace/name of the pods that have it or request it."""
    problems: tuple[str, ...] = ()
    """In what a pod that has it differs from it, each with the remedy."""

    def plain(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ip": str(self.booked.ip or ""),
            "ipv6": str(self.booked.ipv6 or ""),
            "mac": self.booked.mac or "",
            "namespace": self.booked.namespace or "",
            "state": self.state,
            "pods": list(self.pods),
            "problems": list(self.problems),
        }


@dataclass(frozen=True, kw_only=True)
class Unbooked:
    """An address of a pod on a network with static addresses that its book does not have."""

    pod: str
    """namespace/name."""
    interface: str
    address: str
    in_range: bool
    """It is in the network's range, from which pods may take one without an entry."""

    def plain(self) -> dict[str, Any]:
        return {"pod": self.pod, "interface": self.interface, "address": self.address, "in_range": self.in_range}


@dataclass(frozen=True, kw_only=True)
class Book:
    """The book of one network."""

    network: NetworkPlan
    entries: tuple[Entry, ...]
    unbooked: tuple[Unbooked, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong; an address on several pods is among the duplicates."""
        path = self.network.path
        outside = f" and is not in {path}.range" if self.network.settings.range is not None else ""
        unbooked = [
            f"pod {item.pod} {item.interface} has {item.address}, which {path}.addresses does not have{outside}, so another may be "
            "given it: book it there"
            for item in self.unbooked
            if not item.in_range
        ]
        return (*(problem for entry in self.entries for problem in entry.problems), *unbooked)


def compare(config: Settings, plan: Plan, pods: Sequence[Pod], segments: Segments) -> tuple[Book, ...]:
    """The book of each network against the pods that have not ended."""
    alive = [pod for pod in pods if not pod.ended]
    return tuple(
        Book(
            network=network,
            entries=tuple(
                _entry(name, booked, network, config, plan, alive, segments) for name, booked in network.settings.addresses.items()
            ),
            unbooked=tuple(_unbooked(network, alive)) if network.settings.ipam == "static" else (),
        )
        for network in plan.networks
    )


def _entry(  # noqa: PLR0917
    name: str, booked: BookedAddress, network: NetworkPlan, config: Settings, plan: Plan, pods: Sequence[Pod], segments: Segments
) -> Entry:
    own = (config.workload.namespace, name) if _is_own(name, network, plan) else None
    holders = [
        (pod, interface)
        for pod in pods
        for interface in pod.interfaces
        if segments.of(interface.network) == network.link
        and (_has(interface, booked) or (own == (pod.namespace, pod.name) and interface.network == network.reference))
    ]
    asking = [] if holders else [pod for pod in pods if _requests(pod, network, booked, own=own == (pod.namespace, pod.name))]
    if holders:
        state = THERE
    elif asking:
        state = REQUESTED
    else:
        state = NOT_THERE if own or booked.ip or booked.ipv6 or booked.mac else UNKNOWN
    return Entry(
        name=name,
        booked=booked,
        state=state,
        pods=tuple(dict.fromkeys(pod.full_name for pod in (*(pod for pod, _interface in holders), *asking))),
        problems=tuple(text for pod, interface in holders for text in _problems(name, booked, network, pod, interface)),
    )


def _is_own(name: str, network: NetworkPlan, plan: Plan) -> bool:
    """Whether a pod of the stack's own of this name is on the network."""
    return any(pod.name == name and any(item.network.name == network.name for item in pod.attachments) for pod in plan.pods)


def _has(interface: Interface, booked: BookedAddress) -> bool:
    addresses = _addresses(interface)
    if booked.ip in addresses or booked.ipv6 in addresses:
        return True
    return booked.mac is not None and same_hardware(interface.mac) == same_hardware(booked.mac)


def _addresses(interface: Interface) -> set[IPv4Address | IPv6Address]:
    return {ip_address(address) for text in interface.addresses if (address := same_address(text))}


def _requests(pod: Pod, network: NetworkPlan, booked: BookedAddress, *, own: bool) -> bool:
    """own: it is the stack's pod of the entry's name."""
    for selection in pod.requests:
        if selection.network != network.reference:
            continue
        if own:
            return True
        addresses = {same_address(text.partition("/")[0]) for text in selection.ips}
        if {str(booked.ip), str(booked.ipv6)} & addresses:
            return True
        if booked.mac is not None and same_hardware(selection.mac) == same_hardware(booked.mac):
            return True
    return False


def _problems(name: str, booked: BookedAddress, network: NetworkPlan, pod: Pod, interface: Interface) -> Iterator[str]:
    path = f"{network.path}.addresses.{name}"
    addresses = _addresses(interface)
    shown = ", ".join(interface.addresses) or "no address"
    differences = []
    if interface.network != network.reference:
        differences.append(f"it is on {interface.network} in place of {network.reference}")
    wanted = [address for address in (booked.ip, booked.ipv6) if address is not None and address not in addresses]
    differences += [f"it has {shown} in place of {address}" for address in wanted]
    if booked.mac and interface.mac and same_hardware(interface.mac) != same_hardware(booked.mac):
        differences.append(f"it has the MAC address {interface.mac} in place of {booked.mac}")
    if booked.namespace and pod.namespace != booked.namespace:
        differences.append(f"it is in namespace {pod.namespace} in place of {booked.namespace}")
    if differences:
        by_server = network.settings.ipam == "dhcp" and booked.ip is not None and booked.ip not in addresses
        source = "the DHCP server's reservation for its MAC address" if by_server else f"its annotation (./lab attach {name})"
        yield (
            f"pod {pod.full_name} {interface.name} is that of {path}, and {', '.join(differences)}; correct the book or {source}, "
            "and delete the pod, so that it is made again"
        )


def _unbooked(network: NetworkPlan, pods: Sequence[Pod]) -> Iterator[Unbooked]:
    booked = {address for entry in network.settings.addresses.values() for address in (entry.ip, entry.ipv6)}
    range_ = network.settings.range
    for pod in pods:
        for interface in pod.interfaces:
            if interface.network != network.reference:
                continue
            for address in sorted(_addresses(interface) - booked, key=str):
                in_range = isinstance(address, IPv4Address) and range_ is not None and address in range_
                yield Unbooked(pod=pod.full_name, interface=interface.name, address=str(address), in_range=in_range)
