"""A domain of the stack: what it is made from, its definition, and what is read from one. Pure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.libvirt import (
    domain_agent,
    domain_devices,
    domain_disks,
    domain_firmware,
    domain_hostdevs,
    domain_nics,
    nic_xml,
)
from components.libvirt.domain_devices import Device
from components.libvirt.nic_xml import NO_PORT, Port
from components.libvirt.xml import child, mib, parse, text_of

MARK = "https://k3s-macvlan.dev/domain/1"
"""Namespace of the element in a domain's <metadata> that says whose it is."""

ET.register_namespace("mark", MARK)

MARK_FORMAT = "1"


@dataclass(frozen=True, kw_only=True)
class DomainSpec:
    """Everything a domain's XML says. Paths are absolute and on the hypervisor."""

    name: str
    uuid: str
    owner: str
    node: str
    disk_id: str
    """`OverlayDisk.serial` of its disk: another one is another machine."""
    memory_mib: int
    cpus: int
    mac: str
    network: str | None
    bridge: str | None
    disk_path: str
    seed_path: str
    extra_disks: Sequence[str] = ()
    console_log: str
    virt_type: str
    """kvm or qemu."""
    cpu_mode: str
    """host-passthrough, host-model, maximum or custom."""
    cpu_model: str = ""
    disk_cache: str = "none"
    machine: str = "q35"
    arch: str = "x86_64"
    firmware: str = domain_firmware.BIOS
    """bios or efi."""
    secure_boot: bool = False
    devices: Sequence[Device] = ()
    """Beyond those of every machine."""
    nic_port: Port = NO_PORT
    """How the first NIC is plugged in, beyond its network or bridge."""

    @property
    def nvram_path(self) -> str:
        """Of the variables of UEFI."""
        return domain_firmware.nvram_path(self.node, self.console_log, secure_boot=self.secure_boot)


def from_inputs(inputs: Mapping[str, Any], *, virt_type: str) -> DomainSpec:
    """The specification that the inputs of a `Domain` make. virt_type: auto, kvm or qemu, as far as it is known."""
    mode = inputs["cpu_mode"]
    if mode == "auto" and virt_type != "auto":
        mode = "host-passthrough" if virt_type == "kvm" else "maximum"
    return DomainSpec(
        name=inputs["name"],
        uuid=inputs["uuid"],
        owner=inputs["owner"],
        node=inputs["node"],
        disk_id=inputs["disk_serial"],
        memory_mib=inputs["memory_mib"],
        cpus=inputs["cpus"],
        mac=inputs["mac"],
        network=inputs.get("network") or None,
        bridge=inputs.get("bridge") or None,
        disk_path=inputs["disk_path"],
        seed_path=inputs["seed_path"],
        extra_disks=tuple(inputs.get("extra_disks") or ()),
        console_log=inputs["console_log"],
        virt_type=virt_type,
        cpu_mode=mode,
        cpu_model=inputs.get("cpu_model") or "",
        disk_cache=inputs["disk_cache"],
        machine=inputs["machine"],
        devices=(
            *domain_agent.devices(),
            *domain_nics.devices(inputs),
            *domain_disks.devices(inputs),
            *domain_hostdevs.devices(inputs),
        ),
        nic_port=nic_xml.port(inputs.get("nic_port")),
        firmware=inputs.get("firmware") or domain_firmware.BIOS,
        secure_boot=bool(inputs.get("secure_boot")),
    )


MAC_BUS = 1
"""PCI bus of the NIC. The first root port of q35 is bus 1, and systemd names a NIC at 01:00.0 enp1s0."""


def domain(spec: DomainSpec) -> str:
    """The domain's XML.

    The NIC sits at PCI 01:00.0, so it is enp1s0 whatever else the guest has. Disks are files by path, because
    virt-aa-helper cannot resolve volumes (terraform-provider-libvirt 1163). The seed is a virtio disk, because cloud
    kernels lack AHCI (measured.md 11).
    """
    if (spec.network is None) == (spec.bridge is None):
        raise ValueError("a domain's interface is on a libvirt network or on a bridge: exactly one of the two")
    root = ET.Element("domain", type=spec.virt_type)
    child(root, "name", spec.name)
    child(root, "uuid", spec.uuid)
    ET.SubElement(child(root, "metadata"), f"{{{MARK}}}stack", mark_attributes(spec))
    child(root, "memory", str(spec.memory_mib), unit="MiB")
    child(root, "currentMemory", str(spec.memory_mib), unit="MiB")
    child(root, "vcpu", str(spec.cpus), placement="static")
    system = child(root, "os")
    child(system, "type", "hvm", arch=spec.arch, machine=spec.machine)
    child(system, "boot", dev="hd")
    features = child(root, "features")
    child(features, "acpi")
    child(features, "apic")
    if spec.firmware == domain_firmware.EFI:
        domain_firmware.write(root, spec.firmware, spec.nvram_path, secure_boot=spec.secure_boot)
    root.append(cpu(spec))
    clock = child(root, "clock", offset="utc")
    child(clock, "timer", name="rtc", tickpolicy="catchup")
    child(clock, "timer", name="pit", tickpolicy="delay")
    child(clock, "timer", name="hpet", present="no")
    child(root, "on_poweroff", "destroy")
    child(root, "on_reboot", "restart")
    child(root, "on_crash", "restart")
    devices = child(root, "devices")
    for number, path in enumerate([spec.disk_path, spec.seed_path, *spec.extra_disks]):
        devices.append(disk(spec, f"vd{chr(ord('a') + number)}", path))
    # The NIC's port must be the first, or libvirt gives bus 1 to a disk.
    child(devices, "controller", type="pci", index="0", model="pcie-root")
    child(devices, "controller", type="pci", index=str(MAC_BUS), model="pcie-root-port")
    for _ in range(domain_devices.SPARE_PORTS if spec.machine.startswith(("q35", "pc-q35")) else 0):
        child(devices, "controller", type="pci", model="pcie-root-port")
    devices.append(interface(spec))
    devices.extend(console(spec))
    for device in spec.devices:
        domain_devices.put(devices, device)
    child(devices, "memballoon", model="virtio")
    rng = child(devices, "rng", model="virtio")
    child(rng, "backend", "/dev/urandom", model="random")
    return text_of(root)


def mark_attributes(spec: DomainSpec) -> dict[str, str]:
    """Attributes of the element in a domain's metadata that says whose it is.

    cpu: the CPU of the specification, because libvirt writes what it resolves to into the definition of a running guest. nic: what
    is set of the first NIC's port, because the rest of it is left to hands.
    """
    marked = {"owner": spec.owner, "format": MARK_FORMAT, "node": spec.node, "serial": spec.disk_id, "cpu": cpu_words(spec)}
    port = ", ".join(name for name in nic_xml.PROPERTIES if spec.nic_port[name])
    return {**marked, "nic": port} if port else marked


def mark(spec: DomainSpec) -> str:
    """That element alone, as it is set in the metadata of a domain."""
    return text_of(ET.Element("stack", mark_attributes(spec)))


def cpu_words(spec: DomainSpec) -> str:
    return f"custom {spec.cpu_model}" if spec.cpu_mode == "custom" else spec.cpu_mode


def cpu(spec: DomainSpec) -> ET.Element:
    """The element <cpu>."""
    if spec.cpu_mode == "custom":
        element = ET.Element("cpu", mode="custom", match="exact", check="none")
        child(element, "model", spec.cpu_model, fallback="allow")
        return element
    if spec.cpu_mode == "host-model":
        return ET.Element("cpu", mode="host-model")
    return ET.Element("cpu", mode=spec.cpu_mode, check="none", migratable="on")


def disk(spec: DomainSpec, target: str, path: str) -> ET.Element:
    """The element <disk>: the node's own, or another file that is only read."""
    own = path == spec.disk_path
    element = ET.Element("disk", type="file", device="disk")
    driver = child(element, "driver", name="qemu", type="qcow2" if own else "raw")
    if own:
        driver.set("cache", spec.disk_cache)
        driver.set("discard", "unmap")
    child(element, "source", file=path)
    child(element, "target", dev=target, bus="virtio")
    if not own:
        child(element, "readonly")
    return element


def interface(spec: DomainSpec) -> ET.Element:
    """The element <interface> of the first NIC."""
    kind = "network" if spec.network is not None else "bridge"
    element = ET.Element("interface", type=kind)
    child(element, "mac", address=spec.mac.lower())
    child(element, "source", **{kind: spec.network or spec.bridge or ""})
    child(element, "model", type="virtio")
    nic_xml.put(element, spec.nic_port)
    child(element, "address", type="pci", domain="0x0000", bus=f"0x{MAC_BUS:02x}", slot="0x00", function="0x0")
    return element


def console(spec: DomainSpec) -> list[ET.Element]:
    """The elements <serial>, with its log, and <console>."""
    serial = ET.Element("serial", type="pty")
    child(serial, "log", file=spec.console_log, append="off")
    child(serial, "target", type="isa-serial", port="0")
    console = ET.Element("console", type="pty")
    child(console, "target", type="serial", port="0")
    return [serial, console]


@dataclass(frozen=True)
class DomainFacts:
    """What a domain's XML says, as far as this program uses it. `owner` is "" for a domain without the mark."""

    name: str
    uuid: str
    owner: str
    node: str
    disk_id: str
    """`OverlayDisk.serial` of its disk."""
    memory_mib: int
    cpus: int
    virt_type: str
    macs: tuple[str, ...]
    networks: tuple[str, ...]
    bridges: tuple[str, ...]
    disks: tuple[str, ...]
    """Paths in the order of their target names."""
    console_log: str


def read_domain(document: str) -> DomainFacts:
    root = parse(document)
    mark = root.find(f"metadata/{{{MARK}}}stack")
    memory = root.find("memory")
    log = root.find("devices/serial/log")
    disks = {
        target.get("dev", ""): source.get("file", "")
        for disk in root.findall("devices/disk")
        if (target := disk.find("target")) is not None and (source := disk.find("source")) is not None
    }
    count = root.find("vcpu")
    sources = root.findall("devices/interface/source")
    marked: Mapping[str, str] = {} if mark is None else mark.attrib
    return DomainFacts(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        owner=marked.get("owner", ""),
        node=marked.get("node", ""),
        disk_id=marked.get("serial", ""),
        memory_mib=0 if memory is None else mib(int(memory.text or "0"), memory.get("unit", "KiB")),
        cpus=0 if count is None else int(count.get("current") or count.text or "0"),
        virt_type=root.get("type", ""),
        macs=tuple(mac.get("address", "").lower() for mac in root.findall("devices/interface/mac")),
        networks=tuple(name for source in sources if (name := source.get("network"))),
        # A running NIC on a network names that network's bridge too.
        bridges=tuple(name for source in sources if not source.get("network") and (name := source.get("bridge"))),
        disks=tuple(path for _, path in sorted(disks.items())),
        console_log="" if log is None else log.get("file", ""),
    )


def virt_type_used(connection: Any, virt_type: str) -> str:
    """kvm or qemu. virt_type: the same, or auto: kvm where libvirt offers it."""
    if virt_type != "auto":
        return virt_type
    return "kvm" if supports_kvm(connection.getCapabilities()) else "qemu"


def supports_kvm(capabilities: str, arch: str = "x86_64") -> bool:
    """Whether the connection's capabilities offer KVM for full guests of this architecture."""
    for guest in parse(capabilities).findall("guest"):
        if guest.findtext("os_type") == "hvm":
            for architecture in guest.findall("arch"):
                if architecture.get("name") == arch and any(kind.get("type") == "kvm" for kind in architecture.findall("domain")):
                    return True
    return False
