"""libvirt's XML and cloud-init's YAML, built and read. Pure: no libvirt, no files, no clock.

Every document is built as a tree and serialised by a library, so a quote, a `<` or a line break in a name is data and can
never become structure. Formats: https://libvirt.org/format.html, https://docs.cloud-init.io (NoCloud, network config v2).
"""

from __future__ import annotations

import ipaddress
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from .ranges import Range

MARK = "https://k3s-macvlan.dev/domain/1"
"""Namespace of the element in a domain's <metadata> that says whose it is."""

MARK_FORMAT = "1"

_UNFIT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

ET.register_namespace("mark", MARK)


def text_of(root: ET.Element) -> str:
    """The document as text. Raises ValueError for a character that XML cannot carry at all."""
    for element in root.iter():
        for value in (element.text or "", *element.attrib.values()):
            if _UNFIT.search(value):
                raise ValueError(f"{value!r} has a control character, which no XML document can carry")
    return ET.tostring(root, encoding="unicode")


def parse(document: str) -> ET.Element:
    """A document that libvirt returned."""
    return ET.fromstring(document)  # noqa: S314 - written by libvirtd, which we trust with the machine


def _child(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


# --- pool and volumes


def pool(name: str, uuid: str, path: str) -> str:
    """A pool of files in one directory. `path` is absolute, on the hypervisor."""
    root = ET.Element("pool", type="dir")
    _child(root, "name", name)
    _child(root, "uuid", uuid)
    _child(_child(root, "target"), "path", path)
    return text_of(root)


@dataclass(frozen=True)
class PoolFacts:
    name: str
    uuid: str
    path: str


def read_pool(document: str) -> PoolFacts:
    root = parse(document)
    return PoolFacts(root.findtext("name", ""), root.findtext("uuid", ""), root.findtext("target/path", ""))


def volume(
    name: str,
    capacity: int,
    *,
    format: str = "raw",
    backing_path: str | None = None,
    backing_format: str = "qcow2",
) -> str:
    """A volume of `capacity` bytes that takes no space yet; with `backing_path` an overlay over that file."""
    root = ET.Element("volume", type="file")
    _child(root, "name", name)
    _child(root, "capacity", str(capacity), unit="bytes")
    _child(root, "allocation", "0", unit="bytes")
    target = _child(root, "target")
    _child(target, "format", type=format)
    if format == "qcow2":
        _child(target, "compat", "1.1")
    if backing_path is not None:
        backing = _child(root, "backingStore")
        _child(backing, "path", backing_path)
        _child(backing, "format", type=backing_format)
    return text_of(root)


@dataclass(frozen=True)
class VolumeFacts:
    name: str
    path: str
    format: str
    capacity: int
    """Bytes a guest sees."""
    backing_path: str
    backing_format: str


def read_volume(document: str) -> VolumeFacts:
    root = parse(document)
    backing_format = root.find("backingStore/format")
    kind = root.find("target/format")
    return VolumeFacts(
        name=root.findtext("name", ""),
        path=root.findtext("target/path", ""),
        format="" if kind is None else kind.get("type", ""),
        capacity=int(root.findtext("capacity", "0")),
        backing_path=root.findtext("backingStore/path", ""),
        backing_format="" if backing_format is None else backing_format.get("type", ""),
    )


QCOW2_HEADER = 32
"""Bytes `qcow2_header` needs."""


@dataclass(frozen=True)
class Qcow2Facts:
    virtual_size: int
    has_backing: bool
    has_data_file: bool


def qcow2_header(head: bytes) -> Qcow2Facts | None:
    """What the first bytes of a qcow2 file say (docs/interop/qcow2.rst of QEMU); None if it is no qcow2 file.

    `head`: at least QCOW2_HEADER bytes; 80 or more to see an external data file.
    """
    if len(head) < QCOW2_HEADER or head[:4] != b"QFI\xfb":
        return None
    version, backing = struct.unpack(">IQ", head[4:16])
    (size,) = struct.unpack(">Q", head[24:32])
    features = struct.unpack(">Q", head[72:80])[0] if version >= 3 and len(head) >= 80 else 0
    return Qcow2Facts(size, backing != 0, bool(features & 4))


# --- domain


@dataclass(frozen=True, kw_only=True)
class DomainSpec:
    """Everything a domain's XML says. Paths are absolute and on the hypervisor."""

    name: str
    uuid: str
    owner: str
    node: str
    serial: str
    """The creation serial of the disk: another serial is another machine."""
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
    _child(root, "name", spec.name)
    _child(root, "uuid", spec.uuid)
    ET.SubElement(_child(root, "metadata"), f"{{{MARK}}}stack", mark_attributes(spec))
    _child(root, "memory", str(spec.memory_mib), unit="MiB")
    _child(root, "currentMemory", str(spec.memory_mib), unit="MiB")
    _child(root, "vcpu", str(spec.cpus), placement="static")
    system = _child(root, "os")
    _child(system, "type", "hvm", arch=spec.arch, machine=spec.machine)
    _child(system, "boot", dev="hd")
    features = _child(root, "features")
    _child(features, "acpi")
    _child(features, "apic")
    root.append(cpu(spec))
    clock = _child(root, "clock", offset="utc")
    _child(clock, "timer", name="rtc", tickpolicy="catchup")
    _child(clock, "timer", name="pit", tickpolicy="delay")
    _child(clock, "timer", name="hpet", present="no")
    _child(root, "on_poweroff", "destroy")
    _child(root, "on_reboot", "restart")
    _child(root, "on_crash", "restart")
    devices = _child(root, "devices")
    for number, path in enumerate([spec.disk_path, spec.seed_path, *spec.extra_disks]):
        devices.append(disk(spec, f"vd{chr(ord('a') + number)}", path))
    # The NIC's port must be the first, or libvirt gives bus 1 to a disk.
    _child(devices, "controller", type="pci", index="0", model="pcie-root")
    _child(devices, "controller", type="pci", index=str(MAC_BUS), model="pcie-root-port")
    devices.append(interface(spec))
    devices.extend(console(spec))
    _child(devices, "memballoon", model="virtio")
    rng = _child(devices, "rng", model="virtio")
    _child(rng, "backend", "/dev/urandom", model="random")
    return text_of(root)


def mark_attributes(spec: DomainSpec) -> dict[str, str]:
    """Attributes of the element in a domain's metadata that says whose it is.

    cpu: the CPU that was asked for, because libvirt writes what it resolves to into the definition of a running guest.
    """
    return {"owner": spec.owner, "format": MARK_FORMAT, "node": spec.node, "serial": spec.serial, "cpu": cpu_words(spec)}


def mark(spec: DomainSpec) -> str:
    """That element alone, as it is set in the metadata of a domain."""
    return text_of(ET.Element("stack", mark_attributes(spec)))


def cpu_words(spec: DomainSpec) -> str:
    return f"custom {spec.cpu_model}" if spec.cpu_mode == "custom" else spec.cpu_mode


def cpu(spec: DomainSpec) -> ET.Element:
    """The element <cpu>."""
    if spec.cpu_mode == "custom":
        found = ET.Element("cpu", mode="custom", match="exact", check="none")
        _child(found, "model", spec.cpu_model, fallback="allow")
        return found
    if spec.cpu_mode == "host-model":
        return ET.Element("cpu", mode="host-model")
    return ET.Element("cpu", mode=spec.cpu_mode, check="none", migratable="on")


def disk(spec: DomainSpec, target: str, path: str) -> ET.Element:
    """The element <disk>: the node's own, or another file that is only read."""
    own = path == spec.disk_path
    found = ET.Element("disk", type="file", device="disk")
    driver = _child(found, "driver", name="qemu", type="qcow2" if own else "raw")
    if own:
        driver.set("cache", spec.disk_cache)
        driver.set("discard", "unmap")
    _child(found, "source", file=path)
    _child(found, "target", dev=target, bus="virtio")
    if not own:
        _child(found, "readonly")
    return found


def interface(spec: DomainSpec) -> ET.Element:
    """The element <interface> of the one NIC."""
    kind = "network" if spec.network is not None else "bridge"
    found = ET.Element("interface", type=kind)
    _child(found, "mac", address=spec.mac.lower())
    _child(found, "source", **{kind: spec.network or spec.bridge or ""})
    _child(found, "model", type="virtio")
    _child(found, "address", type="pci", domain="0x0000", bus=f"0x{MAC_BUS:02x}", slot="0x00", function="0x0")
    return found


def console(spec: DomainSpec) -> list[ET.Element]:
    """The elements <serial>, with its log, and <console>."""
    serial = ET.Element("serial", type="pty")
    _child(serial, "log", file=spec.console_log, append="off")
    _child(serial, "target", type="isa-serial", port="0")
    found = ET.Element("console", type="pty")
    _child(found, "target", type="serial", port="0")
    return [serial, found]


@dataclass(frozen=True)
class DomainFacts:
    """What a domain's XML says, as far as we care. `owner` is "" for a domain without our mark."""

    name: str
    uuid: str
    owner: str
    node: str
    serial: str
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
        serial=marked.get("serial", ""),
        memory_mib=0 if memory is None else mib(int(memory.text or "0"), memory.get("unit", "KiB")),
        cpus=0 if count is None else int(count.get("current") or count.text or "0"),
        virt_type=root.get("type", ""),
        macs=tuple(each.get("address", "").lower() for each in root.findall("devices/interface/mac")),
        networks=tuple(name for each in sources if (name := each.get("network"))),
        # A running NIC on a network names that network's bridge too.
        bridges=tuple(name for each in sources if not each.get("network") and (name := each.get("bridge"))),
        disks=tuple(path for _, path in sorted(disks.items())),
        console_log="" if log is None else log.get("file", ""),
    )


_UNITS = {"b": 1, "bytes": 1, "KB": 1000, "KiB": 1024, "k": 1024, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}


def mib(amount: int, unit: str) -> int:
    """MiB, from an amount in one of libvirt's units."""
    return amount * _UNITS.get(unit, 1024) // 2**20


def supports_kvm(capabilities: str, arch: str = "x86_64") -> bool:
    """Whether the connection's capabilities offer KVM for full guests of this architecture."""
    for guest in parse(capabilities).findall("guest"):
        if guest.findtext("os_type") == "hvm":
            for each in guest.findall("arch"):
                if each.get("name") == arch and any(kind.get("type") == "kvm" for kind in each.findall("domain")):
                    return True
    return False


# --- network


@dataclass(frozen=True)
class Host:
    """A DHCP reservation: <host mac ip name/>."""

    mac: str
    ip: str
    name: str = ""


@dataclass(frozen=True)
class NetworkFacts:
    name: str
    bridge: str
    forward: str
    """Forward mode (nat, route, bridge, …), "" for an isolated network."""
    ip: str
    netmask: str
    ranges: tuple[Range, ...] = ()
    hosts: tuple[Host, ...] = ()
    mac: str = ""
    """MAC address of the bridge."""


def read_network(document: str) -> NetworkFacts:
    """The network's name, bridge and its first IPv4 subnet with DHCP ranges and reservations."""
    root = parse(document)
    bridge, forward, own = root.find("bridge"), root.find("forward"), root.find("mac")
    name = root.findtext("name", "")
    mac = "" if own is None else own.get("address", "").lower()
    for ip in root.findall("ip"):
        if ip.get("family", "ipv4") != "ipv4":
            continue
        address = ip.get("address", "")
        mask = ip.get("netmask") or str(ipaddress.IPv4Network(f"0.0.0.0/{ip.get('prefix', '24')}").netmask)
        ranges = []
        for each in ip.findall("dhcp/range"):
            lease = each.find("lease")
            time = None if lease is None else (lease.get("expiry", ""), lease.get("unit", "minutes"))
            start, end = (int(ipaddress.IPv4Address(each.get(key, ""))) for key in ("start", "end"))
            ranges.append(Range(start, end, time))
        hosts = [Host(each.get("mac", "").lower(), each.get("ip", ""), each.get("name", "")) for each in ip.findall("dhcp/host")]
        return NetworkFacts(
            name,
            "" if bridge is None else bridge.get("name", ""),
            "" if forward is None else forward.get("mode", "nat"),
            address,
            mask,
            tuple(ranges),
            tuple(hosts),
            mac,
        )
    return NetworkFacts(
        name,
        "" if bridge is None else bridge.get("name", ""),
        "" if forward is None else forward.get("mode", "nat"),
        "",
        "",
        mac=mac,
    )


def dhcp_range(each: Range) -> str:
    """<range start end/> for a network update."""
    root = ET.Element("range", start=each.first, end=each.last)
    if each.lease is not None:
        _child(root, "lease", expiry=each.lease[0], unit=each.lease[1])
    return text_of(root)


def dhcp_host(host: Host) -> str:
    """<host mac name ip/> for a network update."""
    attributes = {"mac": host.mac.lower(), "ip": host.ip}
    if host.name:
        attributes["name"] = host.name
    return text_of(ET.Element("host", attributes))


# --- cloud-init


def user_data(
    *,
    hostname: str,
    user: str,
    authorized_keys: Sequence[str],
    host_private_key: str,
    host_public_key: str,
    at_boot: Sequence[Sequence[str]] = (),
    extra: Mapping[str, Any] | None = None,
) -> str:
    """cloud-init's user data.

    One user with sudo and keys only, no password login, the host key that the program pins. `at_boot`: commands of every
    boot, before those of `extra`. `extra` is merged at the top level; a key of ours in it raises ValueError naming the key.
    The result holds a private key: treat it as a secret.
    """
    extra = dict(extra or {})
    ours: dict[str, Any] = {
        "hostname": hostname,
        "fqdn": hostname,
        "prefer_fqdn_over_hostname": False,
        "manage_etc_hosts": True,
        "users": [
            {
                "name": user,
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "shell": "/bin/bash",
                "lock_passwd": True,
                "ssh_authorized_keys": [key.strip() for key in authorized_keys],
            }
        ],
        "ssh_pwauth": False,
        "disable_root": True,
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_private_key, "ed25519_public": host_public_key.strip()},
    }
    for key in extra:
        if key in ours:
            raise ValueError(f"cloud-init key {key!r} is set by this program and cannot be set twice; remove it")
    if at_boot:
        theirs = extra.pop("bootcmd", [])
        if not isinstance(theirs, list):
            raise ValueError("cloud-init key 'bootcmd' is no list of commands; write it as one, this program adds one of its own")
        ours["bootcmd"] = [*(list(command) for command in at_boot), *theirs]
    return "#cloud-config\n" + _yaml({**ours, **extra})


def meta_data(*, instance_id: str, hostname: str) -> str:
    """cloud-init's meta data. Another instance id makes cloud-init run as on a first boot."""
    return _yaml({"instance-id": instance_id, "local-hostname": hostname})


@dataclass(frozen=True)
class StaticAddress:
    """`address` with prefix length, as in 192.168.1.20/24."""

    address: str
    gateway: str | None = None
    nameservers: Sequence[str] = field(default_factory=tuple)
    search: Sequence[str] = field(default_factory=tuple)


def network_config(*, mac: str, interface: str = "enp1s0", static: StaticAddress | None = None, mtu: int | None = None) -> str:
    """cloud-init's network config, version 2: one NIC, found by MAC, named `interface`; mtu in bytes, None leaves it as it is.

    Without `static` it asks DHCP with its MAC as identifier: clones share a machine id, and the reservation is by MAC.
    """
    nic: dict[str, Any] = {"match": {"macaddress": mac.lower()}, "set-name": interface}
    if static is None:
        nic |= {"dhcp4": True, "dhcp6": False, "dhcp-identifier": "mac"}
    else:
        nic |= {"dhcp4": False, "dhcp6": False, "addresses": [static.address]}
        if static.gateway:
            nic["routes"] = [{"to": "0.0.0.0/0", "via": static.gateway}]
        if static.nameservers or static.search:
            nic["nameservers"] = {
                key: list(values) for key, values in (("addresses", static.nameservers), ("search", static.search)) if values
            }
    if mtu is not None:
        nic["mtu"] = mtu
    return _yaml({"version": 2, "ethernets": {interface: nic}})


def _yaml(document: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=4096)
    return text
