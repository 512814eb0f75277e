"""Leases of a libvirt network's DHCP server: who holds an address, and whether that machine is still there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from components.custom import free_addresses
from components.libvirt import domain_spec
from components.libvirt.connection import code, find
from components.libvirt.network_xml import NetworkFacts

IMAGE_HOST = "k3s-macvlan-image"
"""Host name of the machines that make prepared images, of whatever project."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """An IPv4 lease."""

    mac: str
    """MAC address of its machine, in lower case."""
    address: str
    """The IPv4 address."""
    name: str = ""
    """Host name that the machine has sent; "" where it has sent none."""
    client: str = ""
    """Client identifier that the machine has sent, hexadecimal with colons; "" where it has sent none."""
    until: int = 0
    """When it ends, in seconds since 1970."""

    def __str__(self) -> str:
        return f"{self.address} of {self.name or 'a machine'} ({self.mac})"

    @property
    def end(self) -> str:
        """The end in local time."""
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.until))


def leases(network: Any) -> list[Lease]:
    """The IPv4 leases that the network's DHCP server holds now; none of a network that has no such server or does not run."""
    import libvirt  # noqa: PLC0415

    try:
        entries: list[dict[str, Any]] = network.DHCPLeases()
    except libvirt.libvirtError as error:
        if code(error) in {libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_INVALID}:
            return []
        raise
    return [
        Lease(
            mac=str(entry.get("mac") or "").lower(),
            address=str(entry["ipaddr"]),
            name=str(entry.get("hostname") or ""),
            client=str(entry.get("clientid") or ""),
            until=int(entry.get("expirytime") or 0),
        )
        for entry in entries
        if entry.get("ipaddr") and ":" not in str(entry["ipaddr"])
    ]


# --- whether the machine is there


@dataclass(frozen=True)
class Standing:
    """Whether a lease's machine is there, as far as this program can observe it."""

    lease: Lease
    alive: bool
    """Whether the machine is there."""
    evidence: str
    """What says so, as a clause."""


def standings(connection: Any, facts: NetworkFacts, held: Sequence[Lease], *, project: str) -> list[Standing]:
    """Of each lease whether its machine is there. facts: the network's live definition.

    A machine is not there any more when no domain of the hypervisor, running or defined, has its MAC address and nobody answers at
    its address. A machine that is not on the network's bridge cannot query that; then only machines of this project (by the host
    name that it gives them) count as deleted when their domain is, since they are nothing else.
    """
    if not held:
        return []
    domains = _domains(connection)
    here = on_bridge(facts)
    unknown = [lease for lease in held if lease.mac not in domains]
    answers = free_addresses.neighbours([IPv4Address(lease.address) for lease in unknown]) if here and unknown else {}
    return [_standing(lease, domains, answers if here else None, project) for lease in held]


def _standing(lease: Lease, domains: dict[str, str], answers: dict[IPv4Address, str] | None, project: str) -> Standing:
    """answers: MAC addresses by address of who answered; None where nobody could be queried."""
    if lease.mac in domains:
        return Standing(lease, True, f"domain {domains[lease.mac]!r} has its MAC address")
    nobody = "no domain there has its MAC address"
    if answers is not None:
        other = answers.get(IPv4Address(lease.address))
        return Standing(lease, bool(other), f"{other} answers at this address" if other else f"{nobody} and nobody answers at it")
    if lease.name == IMAGE_HOST:
        return Standing(lease, False, f"{nobody}, and machines of this name make prepared images and are deleted then")
    if lease.name.startswith(f"{project}-"):
        return Standing(lease, False, f"{nobody}, and a machine of this name is one of {project}'s")
    return Standing(lease, True, f"{nobody}, but whether another machine has it cannot be asked from here")


def _domains(connection: Any) -> dict[str, str]:
    """The hypervisor's domains by each MAC address that they have, in their running or their stored definition."""
    import libvirt  # noqa: PLC0415

    names: dict[str, str] = {}
    for domain in connection.listAllDomains(0):
        for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
            xml = find(domain.XMLDesc, flags)
            if xml is not None:  # None: removed meanwhile
                names |= dict.fromkeys(domain_spec.read_domain(xml).macs, domain.name())
    return names


def on_bridge(facts: NetworkFacts) -> bool:
    """Whether this machine is the one on which the network's bridge is.

    By the MAC address that libvirt gave the bridge: a network of the same name and subnet is on many machines, and how the
    connection reaches libvirt does not say where it ends.
    """
    return bool(facts.bridge and facts.mac and facts.ip) and free_addresses.has(facts.bridge, facts.mac, IPv4Address(facts.ip))
