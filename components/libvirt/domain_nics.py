"""The further network interfaces of a machine as devices. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any

from components.libvirt import nic_xml
from components.libvirt.domain_devices import PREFIX, Device
from components.libvirt.xml import child, text_of


def devices(inputs: Mapping[str, Any]) -> tuple[Device, ...]:
    """Those of the input `nics` of a `Domain`."""
    return tuple(
        Device(alias=f"{PREFIX}nic-{nic['name']}", name=f"network interface {nic['name']}", element=text_of(_element(nic)))
        for nic in inputs.get("nics") or ()
    )


def macs(inputs: Mapping[str, Any]) -> set[str]:
    """MAC addresses of all of a machine's NICs."""
    return {inputs["mac"].lower(), *(nic["mac"].lower() for nic in inputs.get("nics") or ())}


def _element(nic: Mapping[str, Any]) -> ET.Element:
    kind = "network" if nic.get("network") else "bridge"
    element = ET.Element("interface", type=kind)
    child(element, "mac", address=nic["mac"].lower())
    source = child(element, "source", **{kind: nic[kind]})
    if nic.get("portgroup"):
        source.set("portgroup", nic["portgroup"])
    child(element, "model", type=nic["model"])
    nic_xml.put(element, nic_xml.port(nic))
    child(element, "alias", name=f"{PREFIX}nic-{nic['name']}")
    return element
