"""What was added to a domain by hand, as opposed to what this program and libvirt itself have put there. Pure."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from components.libvirt import domain_devices, domain_firmware, domain_xml, xml
from components.libvirt.domain_spec import DomainSpec

ATTACHABLE = (
    "disk", "controller", "filesystem", "interface", "smartcard", "serial", "parallel", "channel", "input", "hostdev", "redirdev",
    "rng", "memory", "watchdog", "shmem", "vsock", "lease",
)  # fmt: skip
"""Devices that libvirt can attach to a running guest and take off it."""

OURS_ALWAYS = ("emulator", "console", "memballoon", "audio", "video", "hub")
TOP = (
    "name", "uuid", "genid", "metadata", "memory", "currentMemory", "vcpu", "vcpus", "resource", "os", "features", "cpu", "clock",
    "on_poweroff", "on_reboot", "on_crash", "pm", "devices", "seclabel", "cputune",
)  # fmt: skip
"""Elements of a definition that are no addition, or are looked at one by one."""


def _host_device(device: ET.Element) -> str:
    source = device.find("source")
    if source is None:
        return ""
    vendor, product = domain_xml.attribute(source, "vendor", "id"), domain_xml.attribute(source, "product", "id")
    if vendor or product:
        return f"{vendor}:{product}"
    address = source.find("address")
    kept = dict(source.attrib) if address is None else dict(address.attrib)
    return " ".join(f"{name}={value}" for name, value in sorted(kept.items()) if name != "type")


def _backend(device: ET.Element) -> str:
    return f"{device.get('model', '')} {device.findtext('backend', '')}".strip()


NAMES: Mapping[str, Callable[[ET.Element], str]] = {
    "interface": lambda device: domain_xml.attribute(device, "mac", "address").lower(),
    "disk": domain_xml.target,
    "hostdev": lambda device: f"{device.get('type', device.get('mode', ''))} {_host_device(device)}",
    "controller": lambda device: f"{device.get('type', '')} {device.get('index', '')}",
    "filesystem": lambda device: domain_xml.attribute(device, "target", "dir"),
    "channel": lambda device: domain_xml.attribute(device, "target", "name") or device.get("type", ""),
    "serial": lambda device: f"port {domain_xml.attribute(device, 'target', 'port')}",
    "parallel": lambda device: f"port {domain_xml.attribute(device, 'target', 'port')}",
    "input": lambda device: f"{device.get('type', '')} {device.get('bus', '')}",
    "redirdev": lambda device: f"{device.get('bus', '')} {device.get('type', '')}",
    "memory": lambda device: f"{device.get('model', '')} {domain_xml.mib(device.find('target/size'))} MiB",
    "rng": _backend,
}


def _name(device: ET.Element) -> str:
    """What distinguishes one device from another of its kind, alike in the stored and in the running definition."""
    name_of = NAMES.get(device.tag)
    return (name_of(device) if name_of else device.get("model") or device.get("name") or device.get("type") or "").strip()


USUAL: Mapping[str, Callable[[ET.Element], bool]] = {
    "controller": lambda device: device.get("type") in {"pci", "usb", "sata", "ide", "virtio-serial"},
    "input": lambda device: device.get("bus") == "ps2",
    "rng": lambda device: _backend(device) == "virtio /dev/urandom",
    "watchdog": lambda device: device.get("model") == "itco",  # libvirt 9.1 and later give q35 one
}
"""Kinds of devices that this program or libvirt puts into a definition by itself; the function says whether one device is such a
default."""


def _is_ours(device: ET.Element, root: ET.Element, spec: DomainSpec, former: Collection[str]) -> bool:
    """Whether this program or libvirt itself has put the device there."""
    extra, spare = domain_xml.extra_disks(root, spec, former)
    disks = [domain_xml.root_disk_element(root, spec.disk_path), domain_xml.seed_disk(root, spec), *extra, *spare]
    single = [*disks, domain_xml.interface(root, spec), root.find("devices/serial")]
    usual = USUAL.get(device.tag)
    return (
        device.tag in OURS_ALWAYS
        or bool(domain_devices.alias(device))
        or any(device is element for element in single)
        or (usual is not None and usual(device))
    )


def _words(device: ET.Element) -> str:
    """The device for people. Of what may hold a secret (passwords of displays, arguments), only the kind."""
    name = _name(device)
    match device.tag:
        case "disk":
            return f"{device.get('device', 'disk')} {name} ({domain_xml.source(device) or 'empty'})"
        case "interface":
            return f"network interface {domain_xml.interface_words(device)}"
        case "hostdev":
            return f"host device {name}"
        case tag:
            return f"{tag} {name}".strip()


def _tuning(root: ET.Element, spec: DomainSpec) -> Iterator[str]:
    for element in root:
        if element.tag not in TOP:
            yield element.tag
    if (tuning := root.find("cputune")) is not None and len(tuning):
        yield "cputune"
    mark = domain_xml.mark(root)
    metadata = root.find("metadata")
    for element in [] if metadata is None else list(metadata):
        if element is not mark:
            yield f"metadata {element.tag}"
    ours = spec.firmware == domain_firmware.EFI or domain_firmware.is_ours(root, spec.node, spec.console_log)
    if not ours and domain_xml.attribute(root, "os", "firmware"):
        yield "os firmware"
    system = {"type", "boot", *(domain_firmware.ELEMENTS if ours else ())}
    features = {"acpi", "apic", *(("smm",) if ours and spec.secure_boot else ())}
    for path, usual in (("features", features), ("cpu", {"model", "vendor"}), ("os", system)):
        for element in [] if (parent := root.find(path)) is None else list(parent):
            if element.tag not in usual:
                yield f"{path} {element.tag}"


def unmanaged(document: str, spec: DomainSpec, former: Collection[str] = ()) -> list[str]:
    """What was added to the definition by hand. It is kept in every change and lost when the domain is recreated."""
    root = domain_xml.parse(document)
    additions = [_words(device) for device in domain_xml.devices(root) if not _is_ours(device, root, spec, former)]
    return list(dict.fromkeys([*additions, *_tuning(root, spec)]))


@dataclass(frozen=True)
class Device:
    """A device of the running guest alone."""

    words: str
    """The device, for people."""
    document: str
    """Its XML, as it can be added to the stored definition."""


def only_running(live: str, stored: str, spec: DomainSpec, former: Collection[str] = ()) -> list[Device]:
    """Devices attached by hand to the running guest and not to its stored definition: a restart would take them off."""
    running, next_start = domain_xml.parse(live), domain_xml.parse(stored)
    known = Counter((device.tag, _name(device)) for device in domain_xml.devices(next_start))
    additions = []
    for device in domain_xml.devices(running):
        if device.tag not in ATTACHABLE or _is_ours(device, running, spec, former):
            continue
        if known[device.tag, _name(device)]:
            known[device.tag, _name(device)] -= 1
        else:
            additions.append(Device(_words(device), xml.text_of(_detached(device))))
    return additions


def _detached(device: ET.Element) -> ET.Element:
    """The device without what libvirt gave it when it was attached."""
    copied = copy.deepcopy(device)
    for alias in copied.findall("alias"):
        if not alias.get("name", "").startswith("ua-"):
            copied.remove(alias)
    domain_xml.drop(copied, "address", "backingStore", "mirror")
    source = copied.find("source")
    if source is not None:
        source.attrib.pop("index", None)
        if copied.tag == "interface" and source.get("network"):
            copied.set("type", "network")
            for name in ("portid", "bridge"):
                source.attrib.pop(name, None)
        if copied.tag == "hostdev" and source.find("vendor") is not None:
            domain_xml.drop(source, "address")
        if copied.tag in {"serial", "parallel", "channel"} and copied.get("type") == "pty":
            copied.remove(source)
    if copied.tag == "interface" and domain_xml.attribute(copied, "target", "dev").startswith(("vnet", "macvtap")):
        domain_xml.drop(copied, "target")
    if copied.tag == "channel":
        for target in copied.findall("target"):
            target.attrib.pop("state", None)
    return copied
