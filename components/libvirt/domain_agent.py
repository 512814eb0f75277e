"""The channel of QEMU's guest agent, which every machine has; a program of the guest answers on it, if it is installed. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence

from components.libvirt import domain_devices
from components.libvirt.domain_devices import PREFIX, Device
from components.libvirt.xml import child, parse, text_of

CHANNEL = "org.qemu.guest_agent.0"
"""Name by which libvirt and the agent know it."""
ALIAS = f"{PREFIX}agent"


def devices() -> tuple[Device, ...]:
    """The channel. A machine that runs without it gets it when it starts next, unless libvirt attaches it at once."""
    element = ET.Element("channel", type="unix")
    child(element, "target", type="virtio", name=CHANNEL)
    child(element, "alias", name=ALIAS)
    return (Device(alias=ALIAS, name="guest agent's channel", element=text_of(element), deferred=True),)


def next_to_others(wanted: Sequence[Device], *documents: str) -> tuple[Device, ...]:
    """The wanted devices without the channel, if somebody has added one of this name: two of them stop a machine from starting.

    documents: the machine's definitions.
    """
    channels = [element for document in documents for element in _channels(document)]
    others = bool(channels) and not any(domain_devices.alias(element) == ALIAS for element in channels)
    return tuple(device for device in wanted if device.alias != ALIAS or not others)


def answers(live: str) -> bool:
    """Whether an agent listens in the guest. live: the definition of the running guest."""
    return any(target.get("state") == "connected" for element in _channels(live) if (target := element.find("target")) is not None)


def _channels(document: str) -> Iterator[ET.Element]:
    for element in parse(document).findall("devices/channel"):
        target = element.find("target")
        if target is not None and target.get("name") == CHANNEL:
            yield element
