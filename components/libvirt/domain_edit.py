"""Editing a domain's definition in place: the elements that this program manages are set, everything else stays. Pure.

People add NICs, disks, USB and PCI devices, tuning, metadata and more to a domain. So a domain that exists is never defined
from the plan: its present definition is taken, what is managed is found in it (the NIC by its MAC address, disks by their
files, the console log at the first serial port) and changed where it differs, and the rest is written back as it was.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from components.libvirt import domain_agent, domain_devices, domain_firmware, domain_spec, domain_xml, nic_xml, xml
from components.libvirt.domain_devices import Device
from components.libvirt.domain_spec import MARK, DomainSpec

KIB = 1024


@dataclass(frozen=True)
class Difference:
    """A managed property that is not what it should be."""

    name: str
    """Name of the property, as "root disk"."""
    actual: str
    """What it is, in words."""
    wanted: str
    """What it should be, in words."""
    alias: str = ""
    """Of a device that can be attached to a running guest and detached; "" for what cannot."""
    deferred: bool = False
    """Whether no restart is made for it."""

    def __str__(self) -> str:
        return f"{self.name}: {self.actual}, not {self.wanted}"


# --- the mark


def _set_mark(root: ET.Element, spec: DomainSpec) -> None:
    mark = domain_xml.mark(root)
    if mark is None:
        mark = ET.SubElement(domain_xml.sub(root, "metadata"), "mark:stack", {"xmlns:mark": MARK})
    for name in ("definition", "nic"):
        mark.attrib.pop(name, None)
    for name, value in domain_spec.mark_attributes(spec).items():
        mark.set(name, value)


def mark_differs(document: str, spec: DomainSpec) -> bool:
    """Whether the mark says another owner, node or disk, or that other parts of the NIC are set. It says nothing of the machine,
    which needs no restart for it."""
    mark = domain_xml.mark(domain_xml.parse(document))
    wanted = domain_spec.mark_attributes(spec)
    return mark is None or any(mark.get(name) != wanted.get(name) for name in ("owner", "node", "serial", "nic"))


# --- memory and CPUs


def balloon(document: str) -> int:
    """MiB of its memory that the balloon keeps from a running guest. One is lost in rounding."""
    current, whole = domain_xml.current_memory(domain_xml.parse(document))
    return whole - current if whole - current > 1 else 0


def _set_memory(root: ET.Element, spec: DomainSpec) -> None:
    for tag in ("memory", "currentMemory"):
        element = domain_xml.sub(root, tag)
        element.set("unit", "KiB")
        element.text = str((spec.memory_mib + domain_xml.dimms(root)) * KIB)


def _set_cpus(root: ET.Element, spec: DomainSpec) -> None:
    count = domain_xml.sub(root, "vcpu")
    if int(count.text or "0") > spec.cpus and count.get("current"):
        count.set("current", str(spec.cpus))  # room to add more, made by hand
    else:
        count.text = str(spec.cpus)
        count.attrib.pop("current", None)
    domain_xml.drop(root, "vcpus")  # libvirt's list of the single ones, which it makes again


def _set_cpu(root: ET.Element, spec: DomainSpec) -> None:
    cpu, wanted = domain_xml.sub(root, "cpu"), domain_spec.cpu(spec)
    domain_xml.drop(cpu, "model", "vendor")
    cpu.attrib.clear()
    cpu.attrib.update(wanted.attrib)
    for element in reversed(list(wanted)):
        cpu.insert(0, element)


def _same_machine(actual: str, wanted: str) -> bool:
    """libvirt writes the release in place of an alias: pc-q35-7.2 for q35."""
    alias = {"q35": "pc-q35-", "pc": "pc-i440fx-"}.get(wanted)
    return actual == wanted or (alias is not None and actual.startswith(alias))


def _set_machine(root: ET.Element, spec: DomainSpec) -> None:
    domain_xml.sub(domain_xml.sub(root, "os"), "type").set("machine", spec.machine)


# --- disks, NIC, console


def _add_disk(root: ET.Element, spec: DomainSpec, target: str, path: str, *, first: bool = False) -> None:
    devices = domain_xml.devices(root)
    made = domain_spec.disk(spec, target, path)
    disks = devices.findall("disk")
    place = 0 if first or not disks else list(devices).index(disks[-1]) + 1
    devices.insert(place, made)


def _set_interface(root: ET.Element, spec: DomainSpec) -> None:
    interface, wanted = domain_xml.interface(root, spec), domain_spec.interface(spec)
    if interface is None:
        domain_xml.devices(root).append(wanted)
        return
    domain_xml.sub(interface, "mac").set("address", spec.mac.lower())
    if domain_xml.interface_words(interface) != domain_xml.interface_words(wanted):
        domain_xml.drop(interface, "source", "target", "virtualport")
        interface.set("type", wanted.get("type", ""))
        source = wanted.find("source")
        if source is not None:
            interface.insert(1, source)
        nic_xml.set_property(interface, "Open vSwitch", spec.nic_port.openvswitch)


def _set_console_log(root: ET.Element, spec: DomainSpec) -> None:
    devices = domain_xml.devices(root)
    if devices.find("serial") is None:
        domain_xml.drop(devices, "console")
        devices.extend(domain_spec.console(spec))
    for tag in ("serial", "console"):
        port = devices.find(tag)
        if port is None or (tag == "console" and domain_xml.attribute(port, "target", "type") not in {"", "serial"}):
            continue
        log = port.find("log")
        if log is None:
            log = ET.Element("log", append="off")
            port.insert(0, log)
        log.set("file", spec.console_log)


# --- what is managed


@dataclass(frozen=True)
class Managed:
    """A property of the definition that this program manages."""

    name: str
    """Name of the property, as "root disk"."""
    actual: str
    """What the definition says, in words."""
    wanted: str
    """What it should say, in words."""
    write: Callable[[], None]
    """Sets it in the definition."""
    live: bool = True
    """Whether a guest that runs with another value has to be restarted for it."""
    alias: str = ""
    """Of a device that can be attached to a running guest and detached; "" for what cannot."""

    @property
    def difference(self) -> Difference:
        """It as a difference, whether it is one or not."""
        return Difference(self.name, self.actual, self.wanted, self.alias, deferred=bool(self.alias) and not self.live)


def _root_words(disk: ET.Element | None, path: str) -> str:
    if disk is None:
        return "none"
    cache = domain_xml.attribute(disk, "driver", "cache") or "default"
    # A disk put in its place by hand has its own format; that it is there is an obstacle, no difference.
    kind = domain_xml.attribute(disk, "driver", "type") or "raw" if domain_xml.source(disk) == path else "qcow2"
    return f"{kind}, cache {cache}"


def _set_root(root: ET.Element, disk: ET.Element | None, spec: DomainSpec) -> None:
    if disk is None:
        _add_disk(root, spec, domain_xml.ROOT_TARGET, spec.disk_path, first=True)
        return
    driver = domain_xml.sub(disk, "driver")
    driver.set("cache", spec.disk_cache)
    if domain_xml.source(disk) == spec.disk_path:
        driver.attrib.update(name="qemu", type="qcow2")


def _readonly_words(disk: ET.Element | None) -> str:
    if disk is None:
        return "none"
    kind = domain_xml.attribute(disk, "driver", "type") or "raw"
    return f"{domain_xml.source(disk) or 'empty'}, {kind}{', read-only' if disk.find('readonly') is not None else ''}"


def _set_readonly(root: ET.Element, disk: ET.Element | None, path: str, spec: DomainSpec) -> None:
    if disk is None:
        _add_disk(root, spec, domain_devices.free_target(domain_xml.devices(root)), path)
        return
    domain_xml.drop(disk, "source", "backingStore")
    disk.insert(1, ET.Element("source", file=path))
    disk.set("type", "file")
    domain_xml.sub(disk, "driver").attrib.update(name="qemu", type="raw")
    domain_xml.sub(disk, "readonly")


def _managed(root: ET.Element, spec: DomainSpec, former: Collection[str]) -> Iterator[Managed]:
    disk, seed = domain_xml.root_disk_element(root, spec.disk_path), domain_xml.seed_disk(root, spec)
    extra, spare = domain_xml.extra_disks(root, spec, former)
    own = domain_xml.mib(root.find("memory")) - domain_xml.dimms(root)
    current, whole = domain_xml.current_memory(root)
    balloon = "empty" if current == whole else f"leaves {current} of {whole} MiB"
    machine = spec.machine if _same_machine(domain_xml.machine(root), spec.machine) else domain_xml.machine(root)
    nic = [domain_xml.interface_words(interface) for interface in (domain_xml.interface(root, spec), domain_spec.interface(spec))]
    set_memory = partial(_set_memory, root, spec)

    yield Managed("virtualization type", root.get("type", ""), spec.virt_type, partial(root.set, "type", spec.virt_type))
    yield Managed("memory", f"{own} MiB", f"{spec.memory_mib} MiB", set_memory)
    # A guest that runs is given its memory back without a restart.
    yield Managed("memory balloon", balloon, "empty", set_memory, live=False)
    yield Managed("CPUs", str(domain_xml.cpus(root)), str(spec.cpus), partial(_set_cpus, root, spec))
    # libvirt resolves some modes when the guest starts, so the mark of a running guest says what it runs with: see `restarts`.
    yield Managed("CPU mode", domain_xml.cpu(root), domain_spec.cpu_words(spec), partial(_set_cpu, root, spec), live=False)
    yield Managed("machine type", machine, spec.machine, partial(_set_machine, root, spec))
    yield from _managed_firmware(root, spec)
    yield Managed(
        "root disk", _root_words(disk, spec.disk_path), f"qcow2, cache {spec.disk_cache}", partial(_set_root, root, disk, spec)
    )
    for name, path, element in (
        ("seed disk", spec.seed_path, seed),
        *((f"extra disk {number}", *pair) for number, pair in enumerate(zip(spec.extra_disks, extra, strict=True), 1)),
    ):
        yield Managed(name, _readonly_words(element), f"{path}, raw, read-only", partial(_set_readonly, root, element, path, spec))
    for element in spare:
        remove = partial(domain_xml.devices(root).remove, element)
        yield Managed(f"disk {domain_xml.target(element)}", _readonly_words(element), "none", remove)
    yield Managed("network interface", nic[0], nic[1], partial(_set_interface, root, spec))
    yield from _managed_port(root, spec)
    yield Managed("console log", domain_xml.console_log(root), spec.console_log, partial(_set_console_log, root, spec))
    yield from _managed_devices(domain_xml.devices(root), spec.devices)


def _managed_port(root: ET.Element, spec: DomainSpec) -> Iterator[Managed]:
    """What is set of the first NIC's port, or was, as the mark says; the rest of it is left to hands."""
    interface, mark = domain_xml.interface(root, spec), domain_xml.mark(root)
    ours = ("" if mark is None else mark.get("nic", "")).split(", ")
    actual = nic_xml.Port() if interface is None else nic_xml.actual(interface)
    for name in nic_xml.PROPERTIES:
        if spec.nic_port[name] or name in ours:
            write = partial(_set_port, root, spec, name)
            wanted = spec.nic_port[name] or "none"
            yield Managed(nic_xml.property_name(name), actual[name] or "none", wanted, write)


def _set_port(root: ET.Element, spec: DomainSpec, name: str) -> None:
    interface = domain_xml.interface(root, spec)
    if interface is not None:
        nic_xml.set_property(interface, name, spec.nic_port[name])


def _managed_firmware(root: ET.Element, spec: DomainSpec) -> Iterator[Managed]:
    """UEFI, or BIOS in place of it. UEFI that was set by hand stays where BIOS is wanted, which machines have by default."""
    if spec.firmware == domain_firmware.EFI or domain_firmware.is_ours(root, spec.node, spec.console_log):
        wanted = domain_firmware.words(spec.firmware, secure_boot=spec.secure_boot)
        write = partial(domain_firmware.write, root, spec.firmware, spec.nvram_path, secure_boot=spec.secure_boot)
        yield Managed("firmware", domain_firmware.actual_words(root), wanted, write)


def _managed_devices(devices: ET.Element, wanted: Sequence[Device]) -> Iterator[Managed]:
    present = domain_devices.present(devices)
    for device in wanted:
        actual = domain_devices.words(present.get(device.alias))
        put = partial(domain_devices.put, devices, device)
        words = domain_devices.wanted_words(device)
        yield Managed(device.name, actual, words, put, live=not device.deferred, alias=device.alias)
    for name, element in domain_devices.too_many(devices, wanted):
        alias, words = domain_devices.alias(element), domain_devices.words(element)
        live = element.tag not in domain_devices.DETACHED_BY_THEIR_RESOURCE
        yield Managed(name, words, "none", partial(devices.remove, element), live=live, alias=alias)


def wanted(spec: DomainSpec) -> dict[str, str]:
    """What each managed property should be, in words."""
    return {managed.name: managed.wanted for managed in _managed(domain_xml.parse(domain_spec.domain(spec)), spec, ())}


def differences(document: str, spec: DomainSpec, former: Collection[str] = ()) -> list[Difference]:
    """What of the managed properties is not as it should be. former: files of extra disks that this program attached."""
    return [
        managed.difference for managed in _managed(domain_xml.parse(document), spec, former) if managed.actual != managed.wanted
    ]


def devices_to_change(live: str, spec: DomainSpec) -> list[Difference]:
    """Devices that a running guest has otherwise than it should, also those for which no restart is made; not those that their own
    resource detaches."""
    wanted = {device.alias for device in spec.devices}
    return [
        managed.difference
        for managed in _managed_devices(domain_xml.devices(domain_xml.parse(live)), spec.devices)
        if managed.actual != managed.wanted and (managed.live or managed.alias in wanted)
    ]


def next_to_others(spec: DomainSpec, *documents: str | None) -> DomainSpec:
    """The specification without the device that somebody has added to the machine already. documents: its definitions."""
    known = [document for document in documents if document is not None]
    return replace(spec, devices=domain_agent.next_to_others(spec.devices, *known))


def without_deferred(document: str, spec: DomainSpec) -> DomainSpec:
    """The specification without the devices that can wait for a time when the definition may change."""
    present = domain_devices.present(domain_xml.devices(domain_xml.parse(document)))
    return replace(spec, devices=tuple(device for device in spec.devices if not device.deferred or device.alias in present))


def restarts(live: str, stored: str, spec: DomainSpec, former: Collection[str] = ()) -> list[Difference]:
    """Why a running guest has to be restarted, unless a device can be attached or detached while it runs. live, stored: its
    definition in use and the one of its next start."""
    running = domain_xml.parse(live)
    reasons = [
        managed.difference for managed in _managed(running, spec, former) if managed.live and managed.actual != managed.wanted
    ]
    mark = domain_xml.mark(running)
    cpu = (mark.get("cpu") if mark is not None else None) or domain_xml.cpu(domain_xml.parse(stored))
    if cpu != domain_spec.cpu_words(spec):
        reasons.append(Difference("CPU mode", cpu, domain_spec.cpu_words(spec)))
    return reasons


def running(live: str, stored: str, spec: DomainSpec, former: Collection[str] = ()) -> list[Difference]:
    """What of the managed properties is not as it should be in a running guest."""
    changes = restarts(live, stored, spec, former)
    if missing := balloon(live):
        whole = domain_xml.current_memory(domain_xml.parse(live))[1]
        changes.append(Difference("memory balloon", f"leaves {whole - missing} of {whole} MiB", "empty"))
    return changes


def edit(document: str, spec: DomainSpec, former: Collection[str] = (), keep: Collection[str] = ()) -> str:
    """The definition with all that is managed as it should be, and the rest as it was. keep: devices to be added to it."""
    root = domain_xml.parse(document)
    for managed in list(_managed(root, spec, former)):
        if managed.actual != managed.wanted:
            managed.write()
    _set_mark(root, spec)
    for device in keep:
        domain_xml.devices(root).append(domain_xml.parse(device))
    return xml.text_of(root)


def contradictions(document: str, spec: DomainSpec) -> list[str]:
    """What was set by hand and a new size contradicts, each with what to do; libvirt would refuse, or follow the old one."""
    root = domain_xml.parse(document)
    reasons = []
    command = f"virsh edit {root.findtext('name', spec.name)}"
    cells = root.findall("cpu/numa/cell")
    if cells:
        size = sum(xml.mib(int(cell.get("memory", "0")), cell.get("unit", "KiB")) for cell in cells)
        if size != spec.memory_mib:
            reasons.append(f"its NUMA cells, set by hand, have {size} MiB together: give them {spec.memory_mib} MiB ({command})")
    limit = root.find("maxMemory")
    if limit is not None and domain_xml.mib(limit) < spec.memory_mib + domain_xml.dimms(root):
        whole = spec.memory_mib + domain_xml.dimms(root)
        reasons.append(f"its <maxMemory>, set by hand, is {domain_xml.mib(limit)} MiB: raise it to {whole} MiB or more ({command})")
    topology = root.find("cpu/topology")
    count = root.find("vcpu")
    most = 0 if count is None else int(count.text or "0")
    if (
        topology is not None
        and spec.cpus != domain_xml.cpus(root)
        and not (most > spec.cpus and count is not None and count.get("current"))
    ):
        product = 1
        for name in ("sockets", "dies", "cores", "threads"):
            product *= int(topology.get(name, "1"))
        if product != spec.cpus:
            reasons.append(f"its CPU topology, set by hand, has {product} CPUs: make it {spec.cpus} ({command})")
    return reasons
