"""USB and PCI devices of a hypervisor, as libvirt lists them: read, and found by what a setting says. Reading and finding are pure.

https://libvirt.org/formatnode.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from xml.etree.ElementTree import Element

from components.libvirt.connection import HypervisorError, code
from components.libvirt.device_words import pci_address, pci_place
from components.libvirt.xml import parse

PORT = "port "
"""Before a USB port where a setting names one."""

_PORT = re.compile(r"[0-9]+-[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class NodeDevice:
    """A device of the host."""

    kind: str
    """usb or pci."""
    node: str
    """libvirt's name of it, as pci_0000_03_00_0."""
    place: str
    """Where it is: the PCI address 0000:03:00.0, or the USB port 1-2.3."""
    identity: str
    """Vendor and product, as 1a86:7523."""
    label: str = ""
    """The names of both, for people."""
    number: str = ""
    """Of a USB device the number that it has now: "1 6" is the sixth of bus 1. It has another after it was plugged in again."""
    driver: str = ""
    """The host's driver that it is bound to."""
    bridge: bool = False
    """It is a bridge of the host's PCI."""
    group: str = ""
    """Number of its IOMMU group; empty without an IOMMU."""
    group_members: tuple[str, ...] = ()
    """PCI addresses of all devices of that group."""

    def __str__(self) -> str:
        where = f"{PORT}{self.place}" if self.kind == "usb" else self.place
        return f"{self.identity} at {where}{f' ({self.label})' if self.label else ''}"


def of_host(connection: Any, kind: str) -> list[NodeDevice]:
    """All devices of the kind, usb or pci."""
    import libvirt  # noqa: PLC0415

    flags = {
        "usb": libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_USB_DEV,
        "pci": libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV,
    }
    try:
        listed = connection.listAllDevices(flags[kind])
    except libvirt.libvirtError as error:
        if code(error) != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        raise HypervisorError(
            "libvirt lists no devices of this hypervisor: install its driver for them there (libvirt-daemon-driver-nodedev), or "
            "take `devices` out of the settings"
        ) from None
    return read_all(_documents(listed))


def _documents(listed: Iterable[Any]) -> list[str]:
    import libvirt  # noqa: PLC0415

    documents = []
    for device in listed:
        try:
            documents.append(device.XMLDesc(0))
        except libvirt.libvirtError as error:
            if code(error) != libvirt.VIR_ERR_NO_NODE_DEVICE:  # unplugged meanwhile
                raise
    return documents


def read_all(documents: Iterable[str]) -> list[NodeDevice]:
    """The devices that these documents describe, by their places."""
    devices = [device for document in documents if (device := read(document)) is not None]
    return sorted(devices, key=lambda device: (device.kind, device.place))


def read(document: str) -> NodeDevice | None:
    """The USB or PCI device that a document describes; None for another kind, and for a hub that is USB's own."""
    root = parse(document)
    for capability in root.findall("capability"):
        match capability.get("type"):
            case "usb_device":
                return _usb(root, capability)
            case "pci":
                return _pci(root, capability)
    return None


def _usb(root: Element, capability: Element) -> NodeDevice | None:
    place = PurePosixPath(root.findtext("path", "")).name
    if not _PORT.fullmatch(place):
        return None
    return NodeDevice(
        kind="usb",
        node=root.findtext("name", ""),
        place=place,
        identity=_identity(capability),
        label=_label(capability),
        number=f"{capability.findtext('bus', '')} {capability.findtext('device', '')}",
        driver=root.findtext("driver/name", ""),
    )


def _pci(root: Element, capability: Element) -> NodeDevice:
    group = capability.find("iommuGroup")
    members = [] if group is None else [pci_address(place) for place in group.findall("address")]
    kinds = {inner.get("type", "") for inner in capability.findall("capability")}
    return NodeDevice(
        kind="pci",
        node=root.findtext("name", ""),
        place=pci_place(lambda name: capability.findtext(name, "0")),
        identity=_identity(capability),
        label=_label(capability),
        driver=root.findtext("driver/name", ""),
        # Of the class too, which libvirt has reported since 5.2, since the capability is there with the driver's rights alone.
        bridge=bool(kinds & {"pci-bridge", "cardbus-bridge"}) or capability.findtext("class", "").startswith("0x06"),
        group="" if group is None else group.get("number", ""),
        group_members=tuple(members),
    )


def _identity(capability: Element) -> str:
    parts = [capability.find(name) for name in ("vendor", "product")]
    numbers = ["" if part is None else part.get("id", "").removeprefix("0x").lower() for part in parts]
    return f"{numbers[0]:>04}:{numbers[1]:>04}"


def _label(capability: Element) -> str:
    return " ".join(" ".join(capability.findtext(name, "").split()) for name in ("vendor", "product")).strip()


def chosen(devices: Sequence[NodeDevice], choice: str) -> list[NodeDevice]:
    """Those that a setting names by vendor:product, by port or by PCI address."""
    place = choice.removeprefix(PORT)
    return [device for device in devices if choice == device.identity or place == device.place]


def listed(devices: Sequence[NodeDevice]) -> str:
    """What is there, for an error; without bridges, of which nobody gives one to a machine."""
    return "; ".join(str(device) for device in devices if not device.bridge) or "none"


def is_given(device: NodeDevice, hostdev: Element) -> bool:
    """Whether it is the device of an element <hostdev> of a running guest, which names a USB device by its present number too."""
    place = hostdev.find("source/address")
    if place is None or hostdev.get("type") != device.kind:
        return False
    if device.kind == "usb":
        return f"{place.get('bus', '')} {place.get('device', '')}" == device.number
    return pci_address(place) == device.place
