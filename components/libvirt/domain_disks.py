"""Data disks as devices of a machine. Pure, but for the search of a volume's path."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from components.libvirt import storage_xml
from components.libvirt.connection import find
from components.libvirt.domain_devices import PREFIX, Device, present
from components.libvirt.xml import child, parse, text_of

ALIAS = f"{PREFIX}disk-"
"""Of the aliases of data disks; the disk's name follows."""


def alias(name: str) -> str:
    return ALIAS + name


def devices(inputs: Mapping[str, Any]) -> Iterator[Device]:
    """Those of the input `data_disks` of a `Domain`: the controller that scsi needs, which libvirt would make of a kind that few
    guests know, and the disks."""
    disks = inputs.get("data_disks") or ()
    if any(disk["bus"] == "scsi" for disk in disks):
        controller = ET.Element("controller", type="scsi", index="0", model="virtio-scsi")
        child(controller, "alias", name=f"{PREFIX}scsi")
        yield Device(alias=f"{PREFIX}scsi", name="SCSI controller", element=text_of(controller))
    for disk in disks:
        yield Device(alias=alias(disk["name"]), name=f"data disk {disk['name']}", element=_element(disk))


def _element(disk: Mapping[str, Any]) -> str:
    element = ET.Element("disk", type="file", device="disk")
    child(element, "driver", name="qemu", type="qcow2", cache=disk["cache"], discard="unmap")
    child(element, "source", file=disk["path"] or f"{disk['pool']}/{disk['volume']}")
    child(element, "target", bus=disk["bus"])
    child(element, "serial", disk["serial"])
    child(element, "alias", name=alias(disk["name"]))
    return text_of(element)


def resolved(connection: Any, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inputs with the path of each data disk: the plan does not know it in a pool that is not the stack's."""
    disks = inputs.get("data_disks") or ()
    if all(disk["path"] for disk in disks):
        return inputs
    return {**inputs, "data_disks": [{**disk, "path": disk["path"] or _path(connection, disk)} for disk in disks]}


def _path(connection: Any, disk: Mapping[str, Any]) -> str:
    pool = find(connection.storagePoolLookupByName, disk["pool"])
    return "" if pool is None else f"{storage_xml.read_pool(pool.XMLDesc(0)).path}/{disk['volume']}"


def paths(elements: Iterable[Device]) -> dict[str, str]:
    """By alias: the file of each data disk among devices."""
    files = {}
    for device in elements:
        source = parse(device.element).find("source") if device.alias.startswith(ALIAS) else None
        if source is not None:
            files[device.alias] = source.get("file", "")
    return files


def attached(document: str | None) -> dict[str, ET.Element]:
    """By alias: the elements of all data disks in a definition; None: there is no such definition."""
    devices = {} if document is None else present(parse(document).find("devices"))
    return {name: device for name, device in devices.items() if name.startswith(ALIAS)}


def files(document: str) -> set[str]:
    """Files of all data disks in a definition."""
    sources = [disk.find("source") for disk in attached(document).values()]
    return {source.get("file", "") for source in sources if source is not None}


def taken_off(olds: Mapping[str, Any], news: Mapping[str, Any]) -> Iterator[str]:
    """What is said of each data disk that a change of the inputs takes off the machine."""
    if olds.get("data_disks") == news.get("data_disks"):
        return
    left = {disk["name"] for disk in news.get("data_disks") or ()}
    for disk in olds.get("data_disks") or ():
        if disk["name"] not in left:
            fate = "it stays with its data, because it has keep: true" if disk["keep"] else "its data are deleted with it"
            yield f"{olds.get('name')}: data disk {disk['name']} is taken off the machine, and {fate}"
