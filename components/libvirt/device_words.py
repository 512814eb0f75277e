"""What this program manages in a device of its own, in words. Pure.

Alike whether the device is wanted, stored or running, so without what libvirt adds by itself: its place on PCI, the name of its
target, its state.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping


def channel(device: ET.Element) -> str:
    target = device.find("target")
    return "none" if target is None else f"{target.get('type', '')} {target.get('name', '')}".strip()


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
    "controller": controller,
    "disk": disk,
}
"""By the device's tag."""
