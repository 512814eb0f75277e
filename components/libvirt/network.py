"""What the stack borrows from a libvirt network: addresses taken out of its DHCP ranges, and reservations.

The network itself belongs to the host. It is changed by net-update alone, live and in its stored definition, so guests of
others keep their connection; dnsmasq is restarted by libvirt in a blink and keeps its leases.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from components.custom.provider import Props
from components.libvirt import network_xml
from components.libvirt.connection import HypervisorError, find
from components.libvirt.dhcp_range import DhcpRange
from components.libvirt.lease_release import give_back
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

    definitions = []
    if network.isPersistent():
        facts = network_xml.read_network(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
        definitions.append(Layer("config", libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG, facts))
    if network.isActive():
        definitions.append(Layer("live", libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE, network_xml.read_network(network.XMLDesc(0))))
    return definitions


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
    definitions = layers(network)
    if definitions:
        give_back(connection, network, definitions[-1].facts, macs)


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
    for dhcp_range in current[same:]:
        network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, network_xml.dhcp_range(dhcp_range), layer.flag)
    for dhcp_range in wanted[same:]:
        network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, section, -1, network_xml.dhcp_range(dhcp_range), layer.flag)


# --- reservations


def drop_hosts(network: Any, macs: Collection[str]) -> None:
    """Remove the reservations of these MACs from both definitions, those that are there."""
    import libvirt  # noqa: PLC0415

    wanted = {mac.lower() for mac in macs}
    section = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST
    for layer in layers(network) if wanted else ():
        for host in layer.facts.hosts:
            if host.mac in wanted:
                network.update(libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, section, -1, network_xml.dhcp_host(host), layer.flag)
