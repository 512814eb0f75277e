"""What people add to a domain: devices, tuning and metadata, each as an edit of its stored definition."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from components.libvirt.domain_xml import parse

from .sandbox import NETWORK

MARK = "mark:stack"
QEMU = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"

DEVICES = {
    "second NIC": "<interface type='network'><mac address='52:54:00:cd:00:01'/><source network='{network}'/>"
    "<coalesce><rx><frames max='7'/></rx></coalesce><model type='virtio'/></interface>",
    "NIC of another model": "<interface type='network'><mac address='52:54:00:cd:00:02'/><source network='{network}'/>"
    "<model type='e1000e'/><link state='down'/></interface>",
    "data disk": "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/><source file='{folder}/data.img'/>"
    "<target dev='vdc' bus='virtio'/><serial>longhorn-1</serial></disk>",
    "SCSI disk": "<controller type='scsi' index='0' model='virtio-scsi'/><disk type='file' device='disk'>"
    "<driver name='qemu' type='raw'/><source file='{folder}/scsi.img'/><target dev='sdc' bus='scsi'/><readonly/></disk>",
    "empty CD-ROM": "<disk type='file' device='cdrom'><target dev='sdb' bus='sata'/><readonly/></disk>",
    "USB stick": "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{folder}/stick.img'/>"
    "<target dev='sdd' bus='usb' removable='on'/></disk>",
    "USB device of the host": "<hostdev mode='subsystem' type='usb' managed='yes'><source startupPolicy='optional'>"
    "<vendor id='0x1209'/><product id='0x0001'/></source></hostdev>",
    "redirected USB device": "<redirdev bus='usb' type='tcp'><source mode='bind' host='127.0.0.1' service='46001'/>"
    "<protocol type='raw'/></redirdev>",
    "watchdog": "<watchdog model='i6300esb' action='none'/>",
    "tablet": "<input type='tablet' bus='usb'/>",
    "display with a password": "<graphics type='vnc' port='-1' autoport='yes' listen='127.0.0.1' passwd='s3cret'/>"
    "<video><model type='vga' vram='16384'/></video>",
    "second channel": "<channel type='unix'><target type='virtio' name='org.example.monitor.0'/></channel>",
    "second serial port": "<serial type='null'><target type='isa-serial' port='1'/></serial>",
    "second entropy source": "<rng model='virtio'><rate bytes='1024' period='1000'/>"
    "<backend model='random'>/dev/random</backend></rng>",
    "panic device": "<panic model='isa'/>",
    "sound card": "<sound model='ich9'/>",
}
TOP = {
    "title": "<title>The node with the printer</title>",
    "description": "<description>Ask Ann before you touch it &amp; the disk</description>",
    "I/O threads": "<iothreads>2</iothreads>",
    "SMBIOS": "<sysinfo type='smbios'><system><entry name='manufacturer'>Acme</entry></system></sysinfo>",
    "memory backing": "<memoryBacking><nosharepages/></memoryBacking>",
    "arguments of QEMU": f"<qemu:commandline {QEMU}><qemu:arg value='-global'/><qemu:arg value='ICH9-LPC.disable_s3=1'/>"
    "<qemu:env name='LAB' value='1'/></qemu:commandline>",
}
INSIDE = {
    "metadata": ("metadata", "<app:owner xmlns:app='https://example.org/app' who='ann'><app:note>mine</app:note></app:owner>"),
    "feature": ("features", "<vmport state='off'/>"),
    "boot menu": ("os", "<bootmenu enable='yes' timeout='3000'/>"),
    "period of statistics": ("devices/memballoon", "<stats period='10'/>"),
    "MTU of the node's NIC": ("devices/interface", "<mtu size='1400'/>"),
    "name of the node's disk": ("devices/disk", "<serial>root-of-ann</serial>"),
}
ALL = sorted([*DEVICES, *TOP, *INSIDE])
if not Path("/sys/bus/usb").is_dir():
    ALL.remove("USB device of the host")  # where the host has no USB, libvirt starts no guest with it


def plant(document: str, names: list[str], folder: Path) -> str:
    """The definition with these additions."""
    root = parse(document)
    for name in names:
        place, text = INSIDE.get(name, ("devices", DEVICES[name]) if name in DEVICES else (".", TOP.get(name, "")))
        text = text.replace("{network}", NETWORK).replace("{folder}", str(folder))
        target = root.find(place)
        assert target is not None, place
        for element in parse(f"<all>{text}</all>"):
            if element.tag in {"title", "description"}:
                root.insert(1, element)
            else:
                target.append(element)
    return ET.tostring(root, encoding="unicode")


def _raw(element: ET.Element) -> str:
    """The element as text: with the names as written, whatever declares their prefixes."""
    inner = "".join(_raw(child) for child in element)
    attributes = "".join(f" {name}={value!r}" for name, value in sorted(element.attrib.items()))
    return f"<{element.tag}{attributes}>{(element.text or '').strip()}{inner}"


def parts(document: str) -> Counter[str]:
    """Each device, each piece of metadata and each other element of the definition, but for those that the program sets."""
    root = parse(document)
    parts: Counter[str] = Counter()
    for element in root:
        if element.tag in {"memory", "currentMemory", "vcpu"}:
            continue
        if element.tag == "metadata":
            parts.update(_raw(child) for child in element if child.tag != MARK)
        elif element.tag in {"devices", "os", "features", "cpu"}:
            parts.update(_raw(child) for child in element if child.tag != "type")
        else:
            parts[_raw(element)] += 1
    return parts
