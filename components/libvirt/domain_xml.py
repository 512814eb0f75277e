"""Reading a domain's definition: where in it is what this program manages. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from xml.parsers import expat

from components.libvirt import domain_spec, xml
from components.libvirt.domain_spec import MARK, DomainSpec

ROOT_TARGET = "vda"


def parse(document: str) -> ET.Element:
    """The definition with names as they are written: prefixes of other namespaces (qemu:commandline, metadata) survive."""
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(document, True)
    return builder.close()


def devices(root: ET.Element) -> ET.Element:
    element = root.find("devices")
    return ET.SubElement(root, "devices") if element is None else element


def sub(parent: ET.Element, tag: str) -> ET.Element:
    element = parent.find(tag)
    return ET.SubElement(parent, tag) if element is None else element


def attribute(parent: ET.Element | None, path: str, name: str) -> str:
    element = None if parent is None else parent.find(path)
    return "" if element is None else element.get(name, "")


def drop(parent: ET.Element, *tags: str) -> None:
    for tag in tags:
        for element in parent.findall(tag):
            parent.remove(element)


def mark(root: ET.Element) -> ET.Element | None:
    metadata = root.find("metadata")
    for element in [] if metadata is None else list(metadata):
        prefix, _, local = element.tag.rpartition(":")
        name = f"xmlns:{prefix}" if prefix else "xmlns"
        if local == "stack" and any(scope.get(name) == MARK for scope in (element, metadata, root) if scope is not None):
            return element
    return None


# --- memory and CPUs


def mib(element: ET.Element | None) -> int:
    return 0 if element is None else xml.mib(int(element.text or "0"), element.get("unit", "KiB"))


def dimms(root: ET.Element) -> int:
    """MiB of memory devices, which <memory> counts too."""
    return sum(mib(size) for size in root.findall("devices/memory/target/size"))


def memory_mib(document: str) -> int:
    """MiB of the domain without its memory devices."""
    root = parse(document)
    return mib(root.find("memory")) - dimms(root)


def current_memory(root: ET.Element) -> tuple[int, int]:
    """(MiB that the balloon leaves the guest, MiB of all its memory)."""
    whole = mib(root.find("memory"))
    current = root.find("currentMemory")
    return (whole if current is None else mib(current)), whole


def cpus(root: ET.Element) -> int:
    count = root.find("vcpu")
    return 0 if count is None else int(count.get("current") or count.text or "0")


def cpu(root: ET.Element) -> str:
    cpu = root.find("cpu")
    if cpu is None:
        return "none"
    mode = cpu.get("mode", "custom")
    return f"custom {cpu.findtext('model', '')}" if mode == "custom" else mode


def machine(root: ET.Element) -> str:
    return attribute(root, "os/type", "machine")


# --- disks, NIC, console


def disks(root: ET.Element) -> list[ET.Element]:
    return root.findall("devices/disk")


def source(disk: ET.Element) -> str:
    source = disk.find("source")
    names = ("file", "dev", "dir", "volume", "name")
    return "" if source is None else next((value for name in names if (value := source.get(name))), "")


def below(disk: ET.Element) -> Iterator[str]:
    """Files under the disk's own, as far as the definition names them."""
    layer = disk.find("backingStore")
    while layer is not None:
        if path := source(layer):
            yield path
        layer = layer.find("backingStore")


def target(disk: ET.Element) -> str:
    return attribute(disk, "target", "dev")


def root_disk_element(root: ET.Element, path: str) -> ET.Element | None:
    """By its file; under a snapshot, by the file below; else what is in its place."""
    candidates = [disk for disk in disks(root) if source(disk) == path]
    candidates += [disk for disk in disks(root) if path in below(disk)]
    return next(iter([*candidates, *(disk for disk in disks(root) if target(disk) == ROOT_TARGET)]), None)


@dataclass(frozen=True)
class RootDisk:
    """The disk that the guest boots from, as the domain has it. source: its file or other source; target: its name."""

    source: str
    target: str
    over: bool
    """Whether the definition names the stack's own file below it."""


def root_disk(document: str, path: str) -> RootDisk | None:
    """path: of the file that this program made for it."""
    disk = root_disk_element(parse(document), path)
    return None if disk is None else RootDisk(source(disk), target(disk), path in below(disk))


def targets(document: str) -> list[str]:
    """Names of all disks with a medium."""
    return [target(disk) for disk in disks(parse(document)) if source(disk)]


def files(document: str) -> list[str]:
    """Every file that a disk of the domain is on, also the ones below."""
    paths = [path for disk in disks(parse(document)) for path in (source(disk), *below(disk)) if path]
    return list(dict.fromkeys(paths))


def shared_files(document: str) -> list[str]:
    """Files of the domain's disks that it may only read."""
    return [source(disk) for disk in disks(parse(document)) if disk.find("readonly") is not None and source(disk)]


def seed_disk(root: ET.Element, spec: DomainSpec) -> ET.Element | None:
    """By its file; else what is in its place, if it is one that can only be read from the same directory."""
    directory = PurePosixPath(spec.seed_path).parent
    for disk in disks(root):
        if source(disk) == spec.seed_path:
            return disk
    for disk in disks(root):
        same_directory = PurePosixPath(source(disk) or "/").parent == directory
        if target(disk) == "vdb" and disk.find("readonly") is not None and same_directory:
            return disk
    return None


def extra_disks(root: ET.Element, spec: DomainSpec, former: Collection[str]) -> tuple[list[ET.Element | None], list[ET.Element]]:
    """(an element for each wanted disk, where there is one; elements of former ones that are too many)."""
    by_path = {source(disk): disk for disk in disks(root)}
    spare = [disk for path, disk in by_path.items() if path in former and path not in spec.extra_disks]
    elements: list[ET.Element | None] = [by_path.get(path) for path in spec.extra_disks]
    for number, disk in enumerate(elements):
        if disk is None and spare:
            elements[number] = spare.pop(0)
    return elements, spare


def interface(root: ET.Element, spec: DomainSpec) -> ET.Element | None:
    """By its MAC address; else what is in its place, enp1s0."""
    interfaces = root.findall("devices/interface")
    mac = spec.mac.lower()
    for interface in interfaces:
        if attribute(interface, "mac", "address").lower() == mac:
            return interface
    for interface in interfaces:
        address = interface.find("address")
        if address is not None and address.get("type") == "pci":
            place = [int(address.get(name, "0"), 0) for name in ("domain", "bus", "slot", "function")]
            if place == [0, domain_spec.MAC_BUS, 0, 0]:
                return interface
    return None


def interface_words(interface: ET.Element | None) -> str:
    if interface is None:
        return "none"
    source = interface.find("source")
    kind, name = interface.get("type", ""), ""
    if source is not None:
        # A running NIC on a network names that network's bridge too.
        kind = next((name for name in ("network", "bridge") if source.get(name)), kind)
        name = source.get(kind, "") or source.get("dev", "")
    return f"{attribute(interface, 'mac', 'address').lower()} on {kind} {name}".strip()


def console_log(root: ET.Element) -> str:
    return attribute(root, "devices/serial/log", "file") or "none"
