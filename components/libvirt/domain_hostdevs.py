"""USB and PCI devices of the host as devices of a machine. Pure.

https://libvirt.org/formatdomain.html#usb-pci-scsi-devices
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

from components.libvirt.domain_devices import PREFIX, Device
from components.libvirt.node_devices import PORT
from components.libvirt.xml import child, text_of


def devices(inputs: Mapping[str, Any]) -> Iterator[Device]:
    """Those of the input `host_devices`; without the ones that are absent, may be so, and cannot be named until they are there."""
    for given in inputs.get("host_devices") or ():
        element = _element(given)
        if element is not None:
            alias = f"{PREFIX}device-{given['name']}"
            child(element, "alias", name=alias)
            # An absent one may be so, and libvirt starts a guest without it.
            yield Device(alias=alias, name=f"device {given['name']}", element=text_of(element), deferred=not given.get("address"))


def _element(given: Mapping[str, Any]) -> ET.Element | None:
    kind, choice, place = str(given["kind"]), str(given["choice"]), str(given.get("address") or "")
    element = ET.Element("hostdev", mode="subsystem", type=kind, managed="yes")
    source = child(element, "source")
    if kind == "usb" and given.get("optional"):
        source.set("startupPolicy", "optional")
    if kind == "usb" and not choice.startswith(PORT):
        # By what it is: libvirt finds it at each start of the guest, wherever it is plugged in then.
        vendor, product = choice.split(":")
        child(source, "vendor", id=f"0x{vendor}")
        child(source, "product", id=f"0x{product}")
        return element
    if not place:
        return None
    if kind == "usb":
        bus, number = place.split()
        child(source, "address", bus=bus, device=number)
        return element
    domain, bus, rest = place.split(":")
    slot, function = rest.split(".")
    child(source, "address", domain=f"0x{domain}", bus=f"0x{bus}", slot=f"0x{slot}", function=f"0x{function}")
    return element
