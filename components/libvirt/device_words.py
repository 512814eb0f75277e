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


WORDS: Mapping[str, Callable[[ET.Element], str]] = {
    "channel": channel,
    "interface": nic_xml.words,
}
"""By the device's tag."""
