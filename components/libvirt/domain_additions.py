"""What was added to a domain by hand, told from what this program and libvirt itself have put there. Pure."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from components.libvirt import domain_xml, xml
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
    """What tells one device from another of its kind, alike in the stored and in the running definition."""
    found = NAMES.get(device.tag)
    return (found(device) if found else device.get("model") or device.get("name") or device.get("type") or "").strip()


USUAL: Mapping[str, Callable[[ET.Element], bool]] = {
    "controller": lambda device: device.get("type") in {"pci", "usb", "sata", "ide", "virtio-serial"},
    "input": lambda device: device.get("bus") == "ps2",
    "rng": lambda device: _backend(device) == "virtio /dev/urandom",
    "watchdog": lambda device: device.get("model") == "itco",  # libvirt 9.1 and later give q35 one
}
"""Devices that a definition has from this program or from libvirt itself, and of these the ones that are meant."""


def _is_ours(device: ET.Element, root: ET.Element, spec: DomainSpec, former: Collection[str]) -> bool:
    """Whether this program or libvirt itself has put the device there."""
    extra, spare = domain_xml.extra_disks(root, spec, former)
    disks = [domain_xml.root_disk_element(root, spec.disk_path), domain_xml.seed_disk(root, spec), *extra, *spare]
    single = [*disks, domain_xml.interface(root, spec), root.find("devices/serial")]
    usual = USUAL.get(device.tag)
    return device.tag in OURS_ALWAYS or any(device is each for each in single) or (usual is not None and usual(device))


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


def _tuning(root: ET.Element) -> Iterator[str]:
    for each in root:
        if each.tag not in TOP:
            yield each.tag
    if (tuning := root.find("cputune")) is not None and len(tuning):
        yield "cputune"
    mark = domain_xml.mark(root)
    metadata = root.find("metadata")
    for each in [] if metadata is None else list(metadata):
        if each is not mark:
            yield f"metadata {each.tag}"
    for path, usual in (("features", {"acpi", "apic"}), ("cpu", {"model", "vendor"}), ("os", {"type", "boot"})):
        for each in [] if (found := root.find(path)) is None else list(found):
            if each.tag not in usual:
                yield f"{path} {each.tag}"


def unmanaged(document: str, spec: DomainSpec, former: Collection[str] = ()) -> list[str]:
    """What was added to the definition by hand. It is kept in every change and lost when the domain is recreated."""
    root = domain_xml.parse(document)
    found = [_words(each) for each in domain_xml.devices(root) if not _is_ours(each, root, spec, former)]
    return list(dict.fromkeys([*found, *_tuning(root)]))


@dataclass(frozen=True)
class Device:
    """A device of the running guest alone. words: for people. document: as it can be added to the stored definition."""

    words: str
    document: str


def only_running(live: str, stored: str, spec: DomainSpec, former: Collection[str] = ()) -> list[Device]:
    """Devices attached by hand to the running guest and not to its stored definition: a restart would take them off."""
    running, next_start = domain_xml.parse(live), domain_xml.parse(stored)
    known = Counter((each.tag, _name(each)) for each in domain_xml.devices(next_start))
    found = []
    for each in domain_xml.devices(running):
        if each.tag not in ATTACHABLE or _is_ours(each, running, spec, former):
            continue
        if known[each.tag, _name(each)]:
            known[each.tag, _name(each)] -= 1
        else:
            found.append(Device(_words(each), xml.text_of(_detached(each))))
    return found


def _detached(device: ET.Element) -> ET.Element:
    """The device without what libvirt gave it when it was attached."""
    found = copy.deepcopy(device)
    for alias in found.findall("alias"):
        if not alias.get("name", "").startswith("ua-"):
            found.remove(alias)
    domain_xml.drop(found, "address", "backingStore", "mirror")
    source = found.find("source")
    if source is not None:
        source.attrib.pop("index", None)
        if found.tag == "interface" and source.get("network"):
            found.set("type", "network")
            for name in ("portid", "bridge"):
                source.attrib.pop(name, None)
        if found.tag == "hostdev" and source.find("vendor") is not None:
            domain_xml.drop(source, "address")
        if found.tag in {"serial", "parallel", "channel"} and found.get("type") == "pty":
            found.remove(source)
    if found.tag == "interface" and domain_xml.attribute(found, "target", "dev").startswith(("vnet", "macvtap")):
        domain_xml.drop(found, "target")
    if found.tag == "channel":
        for target in found.findall("target"):
            target.attrib.pop("state", None)
    return found
