"""Storage pools, volumes and the qcow2 header: what is sent to libvirt, and what is read from it. Pure."""

from __future__ import annotations

import struct
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from components.libvirt.xml import child, parse, text_of

QCOW2_HEADER = 32
"""Bytes `qcow2_header` needs."""

FILE_POOLS = ("dir", "fs", "netfs")
"""Types of pools whose volumes are files in one directory."""


def pool(name: str, uuid: str, path: str) -> str:
    """A pool of files in one directory. `path` is absolute, on the hypervisor."""
    root = ET.Element("pool", type="dir")
    child(root, "name", name)
    child(root, "uuid", uuid)
    child(child(root, "target"), "path", path)
    return text_of(root)


@dataclass(frozen=True)
class PoolFacts:
    name: str
    uuid: str
    path: str


def read_pool(document: str) -> PoolFacts:
    root = parse(document)
    return PoolFacts(root.findtext("name", ""), root.findtext("uuid", ""), root.findtext("target/path", ""))


def pool_type(document: str) -> str:
    """dir, logical, …"""
    return parse(document).get("type", "")


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
    child(root, "name", name)
    child(root, "capacity", str(capacity), unit="bytes")
    child(root, "allocation", "0", unit="bytes")
    target = child(root, "target")
    child(target, "format", type=format)
    if format == "qcow2":
        child(target, "compat", "1.1")
    if backing_path is not None:
        backing = child(root, "backingStore")
        child(backing, "path", backing_path)
        child(backing, "format", type=backing_format)
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
