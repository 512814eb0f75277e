"""What this program manages in a device of its own, in words. Pure.

Alike whether the device is wanted, stored or running, so without what libvirt adds by itself: its place on PCI, the name of its
target, its state.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping

from components.libvirt import nic_xml


def channel(device: ET.Element) -> str:
    target = device.find("target")
    return "none" if target is None else f"{target.get('type', '')} {target.get('name', '')}".strip()


def hostdev(device: ET.Element) -> str:
    """Which device of the host it is, and whether the guest starts without it. A guest that was started while it was absent runs
    with it as missing."""
    source = device.find("source")
    if source is None:
        return "none"
    kind, place = device.get("type", "").upper(), source.find("address")
    identity = [int(part.get("id", "0"), 0) for name in ("vendor", "product") if (part := source.find(name)) is not None]
    if identity:
        text = f"{kind} {':'.join(f'{number:04x}' for number in identity)}"
    elif place is None:
        text = kind
    elif kind == "USB":
        text = f"USB bus {int(place.get('bus', '0'), 0)} device {int(place.get('device', '0'), 0)}"
    else:
        text = f"{kind} {pci_address(place)}"
    optional = ", optional" if source.get("startupPolicy") == "optional" else ""
    return f"{text}{optional}{', absent' if source.get('missing') == 'yes' else ''}"


def pci_address(element: ET.Element) -> str:
    """0000:03:00.0 of an element <address> of PCI."""
    return pci_place(lambda name: element.get(name, "0"))


def pci_place(part: Callable[[str], str]) -> str:
    """0000:03:00.0. part: domain, bus, slot and function as libvirt writes them."""
    numbers = {name: int(part(name), 0) for name in ("domain", "bus", "slot", "function")}
    return "{domain:04x}:{bus:02x}:{slot:02x}.{function:x}".format(**numbers)


def disk(device: ET.Element) -> str:
    """Without its file: another one in its place is no change but an obstacle (obstacles.py)."""
    target, driver = device.find("target"), device.find("driver")
    bus = "" if target is None else target.get("bus", "")
    cache = "" if driver is None else driver.get("cache", "")
    return f"{device.findtext('serial', 'no serial')} on {bus}, cache {cache or 'default'}"


def controller(device: ET.Element) -> str:
    return f"{device.get('type', '')} {device.get('model', '')}".strip()


WORDS: Mapping[str, Callable[[ET.Element], str]] = {
    "channel": channel,
    "hostdev": hostdev,
    "interface": nic_xml.words,
    "controller": controller,
    "disk": disk,
}
"""By the device's tag."""
