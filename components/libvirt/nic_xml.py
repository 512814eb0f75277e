"""What this program sets in an element <interface> beyond the network that it is on: VLANs, Open vSwitch, queues. Pure.

https://libvirt.org/formatdomain.html#network-interfaces
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.libvirt.xml import child

PROPERTIES = ("VLAN", "Open vSwitch", "queues")
"""Of a port, by their names for people."""

LIVE = ("VLAN",)
"""Those that libvirt may change while the guest runs."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """How a NIC is plugged into its bridge. "" for what is left to libvirt and to hands."""

    vlan: str = ""
    """"50"; "trunk 50,60"; "trunk 50,60 native 10"."""
    openvswitch: str = ""
    """"yes" where the bridge is one of Open vSwitch."""
    queues: str = ""
    """How many."""

    def __getitem__(self, name: str) -> str:
        return {"VLAN": self.vlan, "Open vSwitch": self.openvswitch, "queues": self.queues}[name]


NO_PORT = Port()
"""All of it is left to libvirt and to hands."""


def port(given: Mapping[str, Any] | None) -> Port:
    """From inputs of a `Domain`."""
    values = given or {}
    return Port(**{name: str(values.get(name) or "") for name in ("vlan", "openvswitch", "queues")})


def actual(interface: ET.Element) -> Port:
    """What an element says."""
    virtualport, driver = interface.find("virtualport"), interface.find("driver")
    return Port(
        vlan=_vlan_text(interface.find("vlan")),
        openvswitch="yes" if virtualport is not None and virtualport.get("type") == "openvswitch" else "",
        queues="" if driver is None else driver.get("queues", ""),
    )


def _vlan_text(element: ET.Element | None) -> str:
    tags = [] if element is None else element.findall("tag")
    if element is None or not tags:
        return ""
    native = next((tag.get("id", "") for tag in tags if tag.get("nativeMode") == "untagged"), "")
    # libvirt takes several tags, and a native one, for a trunk without further words.
    if element.get("trunk") != "yes" and len(tags) == 1 and not native:
        return tags[0].get("id", "")
    numbers = sorted(int(tag.get("id", "0")) for tag in tags if tag.get("id") != native)
    return f"trunk {','.join(map(str, numbers))}" + (f" native {native}" if native else "")


def set_property(interface: ET.Element, name: str, value: str) -> None:
    """Set one of PROPERTIES; "" removes it. A virtual port of another type is of others."""
    if name == "VLAN":
        _remove(interface, "vlan")
        if value:
            interface.append(_vlan(value))
    elif name == "Open vSwitch":
        _remove(interface, "virtualport")
        if value:
            child(interface, "virtualport", type="openvswitch")
    else:
        driver = interface.find("driver")
        if driver is None and value:
            driver = child(interface, "driver")
        if driver is not None:
            driver.attrib.pop("queues", None)
            if value:
                driver.set("queues", value)
            elif not driver.attrib and not len(driver):
                interface.remove(driver)


def _remove(interface: ET.Element, tag: str) -> None:
    for element in interface.findall(tag):
        interface.remove(element)


def _vlan(text: str) -> ET.Element:
    trunk, _, rest = text.rpartition("trunk ")
    element = ET.Element("vlan")
    if not trunk and not text.startswith("trunk "):
        child(element, "tag", id=text)
        return element
    tags, _, native = rest.partition(" native ")
    element.set("trunk", "yes")
    if native:
        child(element, "tag", id=native, nativeMode="untagged")
    for tag in tags.split(","):
        child(element, "tag", id=tag)
    return element


def put(interface: ET.Element, wanted: Port) -> None:
    """Set what is wanted, in an element that has none of it."""
    for name in PROPERTIES:
        if wanted[name]:
            set_property(interface, name, wanted[name])


def property_name(name: str) -> str:
    """One of PROPERTIES as a managed property of the first NIC."""
    return f"{name} of the network interface"


def property_words(name: str, value: str) -> str:
    """One of PROPERTIES for people."""
    vlan = value if value.startswith("trunk ") else f"VLAN {value}"
    return {"VLAN": vlan, "Open vSwitch": "Open vSwitch", "queues": f"{value} queues"}[name]


def words(interface: ET.Element) -> str:
    """What is managed of a NIC of ours. Of one on a libvirt network, that gives it VLANs and a virtual port while it runs."""
    source, mac, model = interface.find("source"), interface.find("mac"), interface.find("model")
    kind, place = interface.get("type", ""), ""
    if source is not None:
        # A running NIC on a network names that network's bridge too.
        kind = next((name for name in ("network", "bridge") if source.get(name)), kind)
        place = source.get(kind, "") or source.get("dev", "")
        place += f" ({source.get('portgroup')})" if source.get("portgroup") else ""
    properties = actual(interface)
    parts = [
        f"{'' if mac is None else mac.get('address', '').lower()} on {kind} {place}",
        "no model" if model is None else model.get("type", ""),
        *(property_words(name, properties[name]) for name in (PROPERTIES if kind == "bridge" else ("queues",)) if properties[name]),
    ]
    return ", ".join(part.strip() for part in parts)
