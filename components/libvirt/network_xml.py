"""libvirt networks: what is read from a definition, and the elements that an update names. Pure."""

from __future__ import annotations

import ipaddress
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from components.libvirt.dhcp_range import DhcpRange
from components.libvirt.xml import child, parse, text_of


@dataclass(frozen=True)
class Host:
    """A DHCP reservation: <host mac ip name/>."""

    mac: str
    ip: str
    name: str = ""


@dataclass(frozen=True)
class NetworkFacts:
    name: str
    bridge: str
    forward: str
    """Forward mode (nat, route, bridge, …), "" for an isolated network."""
    ip: str
    netmask: str
    ranges: tuple[DhcpRange, ...] = ()
    hosts: tuple[Host, ...] = ()
    mac: str = ""
    """MAC address of the bridge."""


def read_network(document: str) -> NetworkFacts:
    """The network's name, bridge and its first IPv4 subnet with DHCP ranges and reservations."""
    root = parse(document)
    bridge, forward, own = root.find("bridge"), root.find("forward"), root.find("mac")
    name = root.findtext("name", "")
    mac = "" if own is None else own.get("address", "").lower()
    for ip in root.findall("ip"):
        if ip.get("family", "ipv4") != "ipv4":
            continue
        address = ip.get("address", "")
        mask = ip.get("netmask") or str(ipaddress.IPv4Network(f"0.0.0.0/{ip.get('prefix', '24')}").netmask)
        ranges = []
        for each in ip.findall("dhcp/range"):
            lease = each.find("lease")
            time = None if lease is None else (lease.get("expiry", ""), lease.get("unit", "minutes"))
            first, last = (ipaddress.IPv4Address(each.get(key, "")) for key in ("start", "end"))
            ranges.append(DhcpRange(first, last, time))
        hosts = [Host(each.get("mac", "").lower(), each.get("ip", ""), each.get("name", "")) for each in ip.findall("dhcp/host")]
        return NetworkFacts(
            name,
            "" if bridge is None else bridge.get("name", ""),
            "" if forward is None else forward.get("mode", "nat"),
            address,
            mask,
            tuple(ranges),
            tuple(hosts),
            mac,
        )
    return NetworkFacts(
        name,
        "" if bridge is None else bridge.get("name", ""),
        "" if forward is None else forward.get("mode", "nat"),
        "",
        "",
        mac=mac,
    )


def dhcp_range(each: DhcpRange) -> str:
    """<range start end/> for a network update."""
    root = ET.Element("range", start=str(each.first), end=str(each.last))
    if each.lease is not None:
        child(root, "lease", expiry=each.lease[0], unit=each.lease[1])
    return text_of(root)


def dhcp_host(host: Host) -> str:
    """<host mac name ip/> for a network update."""
    attributes = {"mac": host.mac.lower(), "ip": host.ip}
    if host.name:
        attributes["name"] = host.name
    return text_of(ET.Element("host", attributes))
