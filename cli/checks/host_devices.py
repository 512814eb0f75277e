"""USB and PCI devices of a hypervisor that its machines are given: whether they are there, and whether the host lets them go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from cli.findings import Finding, Findings, error, ok, warning
from components.config.devices import DevicePlan
from components.config.plan import NodePlan
from components.libvirt import node_devices, xml
from components.libvirt.domain_devices import PREFIX
from components.libvirt.domain_spec import read_domain
from components.libvirt.node_devices import PORT, NodeDevice

CHECK = "devices"
_HARMLESS = ("", "vfio-pci", "pci-stub", "pcieport")
"""Drivers of the host that leave a device's IOMMU group to VFIO."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was observed on one host."""

    devices: Sequence[NodeDevice] = ()
    """All its USB and PCI devices."""
    uses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By PCI address what the host itself has on the device: interfaces and disks."""
    running: Mapping[str, str] = field(default_factory=dict)
    """XML of all domains that run, by name."""


def check(connection: Any, nodes: Sequence[NodePlan], owner: str) -> Findings:
    """nodes: those on this host. owner: the mark of the stack's own domains."""
    if any(node.devices for node in nodes):
        yield from assess(observe(connection), nodes, owner)


def observe(connection: Any) -> Facts:
    import libvirt  # noqa: PLC0415

    devices = [device for kind in ("usb", "pci") for device in node_devices.of_host(connection, kind)]
    capabilities = libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET | libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_STORAGE
    children = [xml.parse(device.XMLDesc(0)) for device in connection.listAllDevices(capabilities)]
    domains = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
    return Facts(
        devices=devices,
        uses=uses(children, devices),
        running={domain.name(): domain.XMLDesc(0) for domain in domains},
    )


def uses(children: Iterable[Element], devices: Iterable[NodeDevice]) -> dict[str, list[str]]:
    """By PCI address the names of the host's interfaces and disks on it. children: documents of node devices of both kinds."""
    places = {device.place for device in devices if device.kind == "pci"}
    users: dict[str, list[str]] = {}
    for child in children:
        name = child.findtext("capability/interface") or child.findtext("capability/block") or ""
        for place in places & set(child.findtext("path", "").split("/")):
            users.setdefault(place, []).append(name)
    return users


def assess(facts: Facts, nodes: Sequence[NodePlan], owner: str) -> Findings:
    by_node: dict[str, list[NodeDevice]] = {}
    for node in nodes:
        for device in node.devices:
            present = [item for item in node_devices.chosen(facts.devices, device.choice) if item.kind == device.kind]
            if len(present) == 1:
                by_node.setdefault(node.name, []).append(present[0])
            yield from _present(device, present, facts)
    yield from _twice(by_node)
    for node in nodes:
        for item in by_node.get(node.name, ()):
            other = _user(item, facts, owner)
            if other:
                yield _used(node, item, other)
            elif item.kind == "pci":
                yield from assess_pci(node, item, facts, by_node[node.name])
        yield from assess_running(node, facts)


def _present(device: DevicePlan, present: Sequence[NodeDevice], facts: Facts) -> Findings:
    what = f"{device.setting} = {device.choice}"
    kind = device.kind.upper()
    there = node_devices.listed([item for item in facts.devices if item.kind == device.kind])
    if len(present) > 1:
        by = f"{PORT}{present[0].place}" if device.kind == "usb" else present[0].place
        yield error(
            CHECK,
            f"{what}: {len(present)} {kind} devices are that: {node_devices.listed(present)}",
            "which one is meant is not known, and `up` refuses",
            f'name it by its place, as {device.kind}: "{by}"',
        )
    elif present:
        yield ok(CHECK, f"{what}: {present[0]}")
    elif device.optional:
        yield warning(
            CHECK,
            f"{what}: no such {kind} device; there are: {there}",
            "the machine runs without it, since it is optional, and its node has the label all the same",
            "plug it in, then ./lab refresh and ./lab up; or correct the setting",
        )
    else:
        yield error(
            CHECK,
            f"{what}: no such {kind} device; there are: {there}",
            "`up` refuses before it changes anything",
            "plug it in, correct the setting, or set optional: true",
        )


def _twice(by_node: Mapping[str, Sequence[NodeDevice]]) -> Findings:
    """A device that two settings name in different ways."""
    first_nodes: dict[tuple[str, str], str] = {}
    for node, devices in by_node.items():
        for device in devices:
            key = (device.kind, device.place)
            if key in first_nodes:
                yield error(
                    CHECK,
                    f"{device} is given to {first_nodes[key]} and to {node}",
                    "one machine has a device at a time, and once",
                    "leave it out of the devices of one of them",
                )
            first_nodes[key] = node


def _user(device: NodeDevice, facts: Facts, owner: str) -> str:
    """Name of a running domain of others that has the device; empty if none has."""
    for name, document in facts.running.items():
        if read_domain(document).owner != owner and any(
            node_devices.is_given(device, element) for element in xml.parse(document).findall("devices/hostdev")
        ):
            return name
    return ""


def _used(node: NodePlan, device: NodeDevice, domain: str) -> Finding:
    return error(
        CHECK,
        f"{device}, which {node.name} is to have, is domain {domain}'s now",
        "one machine has a device at a time",
        f"virsh detach-device {domain} FILE --live --config, shut {domain} down, or choose another device",
    )


def assess_pci(node: NodePlan, device: NodeDevice, facts: Facts, given: Iterable[NodeDevice]) -> Findings:
    """A PCI device as VFIO takes it. given: all devices that the same node is to have."""
    if not device.group:
        yield error(
            CHECK,
            f"{device} is in no IOMMU group: the host has no IOMMU, or does not use it",
            "the host hands a PCI device to a machine through the IOMMU alone",
            "switch VT-d or AMD-Vi on in the firmware, add intel_iommu=on to the kernel's command line (an AMD host needs no such "
            "word), and reboot; then ls /sys/kernel/iommu_groups lists some",
        )
        return
    own = {item.place for item in given}
    others = [
        item
        for item in facts.devices
        if item.kind == "pci" and item.place in device.group_members and item.place not in own and item.driver not in _HARMLESS
    ]
    if others:
        listed = "; ".join(f"{item}, driver {item.driver}" for item in others)
        yield error(
            CHECK,
            f"the IOMMU group {device.group} of {device} has devices that the host uses: {listed}",
            "the host hands a whole group to one machine, or nothing of it",
            f"give them to {node.name} too (devices), unbind them (virsh nodedev-detach {others[0].node}), or put the card into a "
            "slot with a group of its own",
        )
        return
    used = facts.uses.get(device.place)
    if used:
        yield warning(
            CHECK,
            f"the host has {', '.join(used)} on {device}",
            f"it loses {'them' if len(used) > 1 else 'it'} when {node.name} starts, and with it perhaps the way to the host",
            "another device, or make sure that the host does without",
        )
    else:
        yield ok(CHECK, f"{device}: IOMMU group {device.group}, which nothing else of the host is in")


def assess_running(node: NodePlan, facts: Facts) -> Findings:
    """USB devices that the running machine has lost, because they were unplugged since."""
    document = facts.running.get(node.domain)
    if document is None:
        return
    numbers = {device.number for device in facts.devices if device.kind == "usb"}
    for name, number in _usb_numbers(xml.parse(document)):
        if number not in numbers:
            alias = f"{PREFIX}device-{name}"
            yield warning(
                CHECK,
                f"the device {name} of {node.name} was unplugged since the machine got it",
                "libvirt does not hand it on by itself when it is plugged in again",
                f"plug it in, then virsh detach-device-alias {node.domain} {alias} --live, ./lab refresh and ./lab up",
            )


def _usb_numbers(root: Element) -> Iterator[tuple[str, str]]:
    """(name in the settings, number) of each USB device that a running machine was given by this program and has."""
    for element in root.findall("devices/hostdev"):
        alias, source = element.find("alias"), element.find("source")
        name = "" if alias is None else alias.get("name", "")
        place = None if source is None or source.get("missing") == "yes" else source.find("address")
        if element.get("type") == "usb" and name.startswith(f"{PREFIX}device-") and place is not None:
            yield name.removeprefix(f"{PREFIX}device-"), f"{place.get('bus', '')} {place.get('device', '')}"
