"""A USB or PCI device of a hypervisor that a machine is to have: that it is there, that it is the only one, and where it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, ReadResult, Resource

from components.custom.provider import DeclarativeProvider, Props, is_unknown, properties
from components.custom.reporting import say
from components.libvirt import node_devices
from components.libvirt.connection import HypervisorError, connect
from components.libvirt.domain_spec import read_domain
from components.libvirt.node_devices import PORT, NodeDevice
from components.libvirt.xml import parse

KINDS = ("usb", "pci")
PRESENT = "there"
"""`address` of a USB device that is named by what it is: libvirt finds it by that."""


@dataclass(frozen=True, kw_only=True)
class HostDeviceArgs:
    """Inputs of `HostDevice`."""

    uri: Input[str]
    """libvirt's connection URI of the hypervisor, as qemu:///system."""
    kind: Input[str]
    """usb or pci."""
    choice: Input[str]
    """Vendor and product as 1a86:7523, a USB port as "port 1-2.3", or a PCI address as 0000:03:00.0."""
    owner: Input[str]
    """"project/stack", whose machines may have it."""
    setting: Input[str]
    """The setting that chooses it, for errors, as agents.devices.zigbee.usb."""
    optional: Input[bool] = False
    """Whether its absence is no error."""


class HostDeviceProvider(DeclarativeProvider):
    replaces = ("uri", "kind", "choice")
    updates = ("optional",)
    keeps = ("setting", "owner")
    outputs = ("address",)

    def validate(self, olds: Props, news: Props) -> list[tuple[str, str]]:
        kind = news.get("kind")
        return [] if is_unknown(kind) or kind in KINDS else [("kind", f"{kind!r} is none of {', '.join(KINDS)}")]

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        with connect(inputs["uri"]) as connection:
            device = _found(connection, inputs)
            if device is not None:
                _refuse_unshielded(inputs, device)
                _refuse_used(connection, inputs, device)
        if device is None:
            say(f"{inputs['setting']} = {inputs['choice']}: absent on {inputs['uri']}, and optional: the machine runs without it")
        outputs = {**inputs, "address": _address(inputs, device)}
        return CreateResult(f"{inputs['uri']}#{inputs['kind']}/{inputs['choice']}", outputs)

    def read(self, id_: str, props: Props) -> ReadResult:
        """One that is absent and not optional is reported as deleted, so that the next `up` refuses before it changes anything."""
        state = self.known(props)
        with connect(state["uri"]) as connection:
            present = node_devices.chosen(node_devices.of_host(connection, state["kind"]), state["choice"])
        if not present and not state.get("optional"):
            return ReadResult("", {})
        # Which of several it is, the next create refuses to guess.
        kept = next((device for device in present if device.place == state.get("address")), present[0] if present else None)
        return self.read_result(id_, {**state, "address": _address(state, kept)})


def _found(connection: Any, inputs: Props) -> NodeDevice | None:
    """The device; None for one that is absent and optional. HypervisorError with what is there for another, and for several."""
    devices = node_devices.of_host(connection, inputs["kind"])
    present = node_devices.chosen(devices, inputs["choice"])
    where, kind = f"{inputs['setting']} = {inputs['choice']}", inputs["kind"].upper()
    if len(present) > 1:
        by = f'"{PORT}{present[0].place}"' if inputs["kind"] == "usb" else f'"{present[0].place}"'
        raise HypervisorError(
            f"{where}: {len(present)} {kind} devices of {inputs['uri']} are that: {node_devices.listed(present)}. Name the one "
            f"that is meant by its place, as {by}"
        )
    if present:
        return present[0]
    if inputs.get("optional"):
        return None
    raise HypervisorError(
        f"{where}: there is no such {kind} device on {inputs['uri']}. There are: {node_devices.listed(devices)}. Plug it in, "
        "correct the setting, or set optional: true for a machine that starts without it"
    )


def _address(inputs: Props, device: NodeDevice | None) -> str:
    """What libvirt needs to find it; "" for one that is absent."""
    if device is None:
        return ""
    if device.kind == "pci":
        return device.place
    return device.number if str(inputs["choice"]).startswith(PORT) else PRESENT


def _refuse_unshielded(inputs: Props, device: NodeDevice) -> None:
    """Raise for a PCI device without an IOMMU: a machine that got it would not start."""
    if device.kind == "pci" and not device.group:
        raise HypervisorError(
            f"{inputs['setting']} = {inputs['choice']}: {device} on {inputs['uri']} is in no IOMMU group, and the host hands a PCI "
            "device to a machine through its IOMMU alone. Switch VT-d or AMD-Vi on in the firmware, add intel_iommu=on to the "
            "kernel's command line (an AMD host needs no such word), and reboot the host"
        )


def _refuse_used(connection: Any, inputs: Props, device: NodeDevice) -> None:
    """Raise if a machine of others that runs has it. One of this stack may be about to give it up."""
    for domain in connection.listAllDomains(_active()):
        document = domain.XMLDesc(0)
        owner = read_domain(document).owner
        if owner == inputs["owner"]:
            continue
        if any(node_devices.is_given(device, element) for element in parse(document).findall("devices/hostdev")):
            name = domain.name()
            remedy = f"take it out of the devices of stack {owner}" if owner else f"virsh detach-device {name} FILE --live --config"
            raise HypervisorError(
                f"{inputs['setting']} = {inputs['choice']}: domain {name!r} on {inputs['uri']} has {device} now, and one machine "
                f"has a device at a time. Choose another, or free it: {remedy}"
            )


def absent(connection: Any, given: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of the devices that a machine was given, its `host_devices`, those without which it would not start now, for people."""
    # A guest starts without an optional USB device; of PCI libvirt knows none that is optional.
    needed = [item for item in given if item.get("address") and not (item["kind"] == "usb" and item.get("optional"))]
    kinds = sorted({item["kind"] for item in needed})
    present = [device for kind in kinds for device in node_devices.of_host(connection, kind)]
    return [f"{item['name']} ({item['choice']})" for item in needed if not any(_is(device, item) for device in present)]


def _is(device: NodeDevice, given: Mapping[str, Any]) -> bool:
    """Whether it is the one that libvirt would take for what a machine was given."""
    if device.kind != given["kind"]:
        return False
    if given["address"] == PRESENT:
        return bool(given["choice"] == device.identity)
    return given["address"] in (device.place, device.number)


def _active() -> int:
    import libvirt  # noqa: PLC0415

    return int(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)


class HostDevice(Resource, module="libvirt", name="HostDevice"):
    """A USB or PCI device of a hypervisor that a machine is to have. Nothing of the device is changed.

    Raises HypervisorError, with a list of what is there, if it is absent and not optional, or if several are what is named; and if
    it is of PCI and the host has no IOMMU, or a machine of others that runs has it. Everything that the stack makes on the
    hypervisor depends on it.
    """

    address: Output[str]
    """PCI address, or number of a USB device that is named by its port; "there" for one that is named by what it is; empty for one
    that is absent."""

    def __init__(self, resource_name: str, args: HostDeviceArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(HostDeviceProvider(), resource_name, properties(args, HostDeviceProvider.outputs), opts)
