"""What the stack borrows from a libvirt network: addresses taken out of its DHCP ranges, and reservations.

The network itself belongs to the host. It is changed by net-update alone, live and in its stored definition, so guests of
others keep their connection; dnsmasq is restarted by libvirt in a blink and keeps its leases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.custom.provider import Props
from components.libvirt import network_xml
from components.libvirt.connection import HypervisorError, find
from components.libvirt.dhcp_range import DhcpRange
from components.libvirt.leases import give_back
from components.libvirt.network_xml import NetworkFacts


@dataclass(frozen=True)
class Layer:
    """One of a network's two definitions: `live` (what dnsmasq runs with) or `config` (what survives a restart)."""

    name: str
    flag: int
    facts: NetworkFacts


def layers(network: Any) -> list[Layer]:
    """The definitions that the network has, each with the flag that changes it alone; the live one, if it runs, is the last."""
    import libvirt  # noqa: PLC0415

    found = []
    if network.isPersistent():
        facts = network_xml.read_network(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
        found.append(Layer("config", libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG, facts))
    if network.isActive():
        found.append(Layer("live", libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE, network_xml.read_network(network.XMLDesc(0))))
    return found


def network_named(connection: Any, name: str) -> Any:
    """The network, which must be active: only then does a change reach the guests."""
    network = find(connection.networkLookupByName, name)
    if network is None:
        raise HypervisorError(f"libvirt network {name!r} is not there. `virsh net-list --all` shows what is; set another network")
    if not network.isActive():
        raise HypervisorError(
            f"libvirt network {name!r} is not active. Start it: virsh net-start {name} && virsh net-autostart {name}"
        )
    return network


# --- taking addresses out of DHCP


def end_leases(connection: Any, network: Any, macs: Sequence[str]) -> None:
    found = layers(network)
    if found:
        give_back(connection, network, found[-1].facts, macs)


def project_of(inputs: Props) -> str:
    return str(inputs["owner"]).partition("/")[0]


def set_ranges(network: Any, layer: Layer, wanted: Sequence[DhcpRange]) -> None:
    """Make one definition's ranges exactly `wanted`, in order: what differs from the first difference on is
    replaced.
    """
    import libvirt  # noqa: PLC0415

    current = list(layer.facts.ranges)
    same = 0
    while same < min(len(current), len(wanted)) and current[same] == wanted[same]:
        same += 1
    section = libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE
    for each in current[same:]:
        network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, network_xml.dhcp_range(each), layer.flag)
    for each in wanted[same:]:
        network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, section, -1, network_xml.dhcp_range(each), layer.flag)


# --- reservations


def drop_host(network: Any, mac: str) -> None:
    """Remove the reservation of this MAC from both definitions, if it is there."""
    import libvirt  # noqa: PLC0415

    section = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST
    for layer in layers(network):
        for host in layer.facts.hosts:
            if host.mac == mac.lower():
                network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, network_xml.dhcp_host(host), layer.flag)
