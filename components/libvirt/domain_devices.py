"""Devices that this program adds to a machine beyond those of every machine, and finds again by their aliases. Pure.

libvirt keeps an alias that begins with "ua-" and hands it on to QEMU (https://libvirt.org/formatdomain.html#devices). So what has
one of ours is ours, wherever it is in a definition, and what has none is of others.
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from components.libvirt.device_words import WORDS
from components.libvirt.xml import parse

PREFIX = "ua-k3s-macvlan-"
"""Of the aliases."""

SPARE_PORTS = 16
"""PCI ports of a new machine next to its NIC's, so that devices are attached while it runs. Six to eight of them are those of every
machine's devices. A machine without a free one is restarted for a device."""

DETACHED_BY_THEIR_RESOURCE = ("disk",)
"""Tags of devices that a running guest keeps when they are no longer wanted: their file system is unmounted first, and then the
resource of their volume detaches them when it is deleted."""


STAYING = ("controller",)
"""Tags of devices that are left when they are no longer wanted: others may have attached devices to them."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device of a machine that libvirt attaches and detaches while the guest runs, where it can."""

    alias: str
    """libvirt's user alias, `PREFIX` and what it is, as ua-k3s-macvlan-nic-enp2s0."""
    name: str
    """For people, in previews and errors: "network interface enp2s0"."""
    element: str
    """Its XML as for attachDevice, with the alias."""
    deferred: bool = False
    """Where it cannot be attached to a running guest it comes with the next start, and no restart is made for it."""


def alias(device: ET.Element) -> str:
    """The alias of a device that is ours; "" for one of others."""
    element = device.find("alias")
    name = "" if element is None else element.get("name", "")
    return name if name.startswith(PREFIX) else ""


def words(device: ET.Element | None) -> str:
    return "none" if device is None else WORDS[device.tag](device)


def wanted_words(device: Device) -> str:
    return words(parse(device.element))


def present(devices: ET.Element | None) -> dict[str, ET.Element]:
    """By alias: those that are ours in the element <devices>."""
    return {} if devices is None else {name: device for device in devices if (name := alias(device))}


def too_many(devices: ET.Element, wanted: Sequence[Device]) -> Iterator[tuple[str, ET.Element]]:
    """(name for people, element) of each that is ours and no longer wanted."""
    names = {device.alias for device in wanted}
    for name, element in present(devices).items():
        if name not in names and element.tag not in STAYING:
            yield f"{element.tag} {name.removeprefix(PREFIX)}", element


def put(devices: ET.Element, device: Device) -> None:
    """Add the device to <devices>, or put it in place of the one with its alias, whose place on PCI and name it keeps."""
    element, former = parse(device.element), present(devices).get(device.alias)
    if former is not None:
        address = former.find("address")
        if address is not None and element.find("address") is None and _same_bus(former, element):
            element.append(copy.deepcopy(address))
    if element.tag == "disk":
        _name_disk(devices, element, former)
    if former is None:
        alike = devices.findall(element.tag)
        devices.insert(list(devices).index(alike[-1]) + 1 if alike else len(devices), element)
    else:
        devices[list(devices).index(former)] = element


def _target(disk: ET.Element, name: str) -> str:
    target = disk.find("target")
    return "" if target is None else target.get(name, "")


def _same_bus(former: ET.Element, element: ET.Element) -> bool:
    return former.tag == element.tag and _target(former, "bus") == _target(element, "bus")


def _name_disk(devices: ET.Element, element: ET.Element, former: ET.Element | None) -> None:
    """libvirt wants a target's name in each <disk>. The guest need not have it."""
    target = element.find("target")
    if target is None or target.get("dev"):
        return
    if former is not None and _same_bus(former, element) and _target(former, "dev"):
        target.set("dev", _target(former, "dev"))
    else:
        target.set("dev", free_target(devices, "vd" if target.get("bus", "virtio") == "virtio" else "sd"))


def free_target(devices: ET.Element, prefix: str = "vd") -> str:
    """A name that no disk has yet: vdb or later, for the first is the root disk's."""
    used = {_target(disk, "dev") for disk in devices.findall("disk")}
    letters = "abcdefghijklmnopqrstuvwxyz"
    names = [f"{prefix}{letter}" for letter in letters[1:]] + [f"{prefix}{one}{two}" for one in letters for two in letters]
    return next(name for name in names if name not in used)


def attachable(document: str, name: str) -> ET.Element | None:
    """The device with this alias in a definition that is to be stored, as it can be attached to a running guest: libvirt gives it a
    place there. None: the definition has none."""
    element = present(parse(document).find("devices")).get(name)
    if element is not None:
        for address in element.findall("address"):
            element.remove(address)
    return element
