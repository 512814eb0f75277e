"""Devices of the hypervisor that a node's machine is given: how they are named, and the labels they bring. Pure.

Whether a device is there, only its hypervisor knows: libvirt/host_device.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import model_validator

from components.config.model import Model
from components.config.problems import Mistake, matching, refuse

LABEL = "k3s-macvlan.dev/device-"
"""Before a device's name, the label of a node whose machine has it."""
PRESENT = "true"
"""Value of that label, as Node Feature Discovery writes what is there."""

DeviceName = Annotated[
    str,
    matching(
        r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$",
        "not a name of a device; write 1 to 40 lower-case letters, digits and '-', the first and the last no '-'",
    ),
]
Usb = Annotated[
    str,
    matching(
        r"^(?i:[0-9a-f]{4}:[0-9a-f]{4}|port [0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3}){0,6})$",
        'not a USB device; write vendor:product as lsusb prints it, such as "1a86:7523", or the port that it is plugged into, as '
        "the kernel names it, such as port 1-2.3",
        to_lower=True,
    ),
]
Pci = Annotated[
    str,
    matching(
        r"^(?i:[0-9a-f]{4}:[0-9a-f]{4}|[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])$",
        'not a PCI device; write its address as lspci -D prints it, in quotes, such as "0000:03:00.0", or vendor:product as lspci '
        '-n prints it, such as "8086:1572"',
        to_lower=True,
    ),
]


class Device(Model):
    """A USB or PCI device of the hypervisor."""

    usb: Usb | None = None
    """USB device: `"1a86:7523"`, vendor and product, whichever port it is plugged into; or `port 1-2.3`, whatever is plugged in
    there."""
    pci: Pci | None = None
    """PCI device: `"0000:03:00.0"`, its address; or `"8086:1572"`, vendor and product, of which the hypervisor has one. It needs an
    IOMMU, and is taken from the hypervisor while the machine runs."""
    optional: bool = False
    """Whether the machine starts without it where it is absent. Otherwise its absence is an error before anything is changed."""

    @model_validator(mode="after")
    def _one(self) -> Device:
        if (self.usb is None) == (self.pci is None):
            conflict = "a device is usb or pci, exactly one of the two; set one of them"
            refuse([Mistake(("usb",), self.usb, conflict, ("pci",))])
        return self


@dataclass(frozen=True, kw_only=True)
class DevicePlan:
    """A device of a node's machine."""

    name: str
    """In the settings and in the node's label."""
    kind: Literal["usb", "pci"]
    choice: str
    """1a86:7523, port 1-2.3 or 0000:03:00.0: by what it is found on the hypervisor."""
    optional: bool
    """Whether the machine starts without it."""
    setting: str
    """Path of the setting that chooses it, as agents.devices.zigbee.usb."""


def planned(role: str, node: str, of_group: Mapping[str, Device], of_node: Mapping[str, Device] | None) -> tuple[DevicePlan, ...]:
    """The devices of a node, by name: the group's, and those of its override, which replace one of the same name."""
    chosen = {
        **{name: (f"{role}s.devices.{name}", device) for name, device in of_group.items()},
        **{name: (f"{role}s.overrides.{node}.devices.{name}", device) for name, device in (of_node or {}).items()},
    }
    return tuple(_planned(name, path, device) for name, (path, device) in sorted(chosen.items()))


def _planned(name: str, path: str, device: Device) -> DevicePlan:
    kind: Literal["usb", "pci"] = "pci" if device.usb is None else "usb"
    return DevicePlan(
        name=name, kind=kind, choice=device.usb or device.pci or "", optional=device.optional, setting=f"{path}.{kind}"
    )


def labels(devices: Sequence[DevicePlan]) -> dict[str, str]:
    """The labels of a node with these devices. They are set through the API: K3s reads those of its configuration once, when the
    node joins, and a device may come later."""
    return {f"{LABEL}{device.name}": PRESENT for device in devices}
