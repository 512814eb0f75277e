"""Data disks on each node: names, serials and places, from settings alone. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from components.config.disks import RANCHER, DataDisk

SERIAL_LENGTH = 20
"""Characters of a serial that every bus hands to the guest."""


@dataclass(frozen=True, kw_only=True)
class DiskPlan:
    """A data disk of a node."""

    name: str
    """In the settings."""
    serial: str
    """By which the guest finds it, in /dev/disk/by-id."""
    pool: str
    """Name of the libvirt pool that it is in."""
    path: str
    """Its file on the hypervisor; "" in a pool that is not the stack's, whose directory libvirt knows."""
    volume: str
    """Name of the volume in the pool."""
    size: int
    """In bytes."""
    mount: str
    """Where the node mounts it; "": nowhere."""
    file_system: str
    """ext4 or xfs; of a disk that is mounted."""
    cache: str
    """Cache mode."""
    bus: str
    """virtio, scsi or sata."""
    keep: bool
    """Whether it stays at destroy."""

    @property
    def of_k3s(self) -> bool:
        """Whether it has K3s's data (k3s.dataDisk)."""
        return self.mount == RANCHER


@dataclass(frozen=True, kw_only=True)
class Place:
    """A pool of the stack's own."""

    name: str
    """Of the pool in libvirt."""
    path: str
    """Its directory."""


def serial(node: str, disk: str) -> str:
    """server-1-data; with a digest in place of its end where that is too long."""
    text = f"{node}-{disk}"
    if len(text) <= SERIAL_LENGTH:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: SERIAL_LENGTH - 9]}-{digest}"


def pool_suffix(directory: str) -> str:
    """What tells the pool in this directory from the stack's others, in names."""
    return hashlib.sha256(directory.rstrip("/").encode()).hexdigest()[:8]


def directories(disks: Mapping[str, DataDisk]) -> Iterator[str]:
    """Directories under which pools of the stack's own are made for them."""
    for disk in disks.values():
        if disk.directory is not None and disk.pool is None:
            yield disk.directory


def plans(
    node: str, domain: str, disks: Mapping[str, DataDisk], *, own: Place, places: Mapping[str, Place], of_k3s: str | None
) -> Iterator[DiskPlan]:
    """own: the stack's pool. places: further pools of the stack's own, by directory. of_k3s: name of the disk for K3s's data."""
    for name, disk in sorted(disks.items()):
        volume = f"{domain}-{name}.qcow2"
        place = places[disk.directory] if disk.directory is not None and disk.directory in places else own
        yield DiskPlan(
            name=name,
            serial=serial(node, name),
            pool=disk.pool or place.name,
            path="" if disk.pool else f"{place.path}/{volume}",
            volume=volume,
            size=disk.size * 2**30,
            mount=RANCHER if name == of_k3s else disk.mount or "",
            file_system=disk.file_system or "ext4",
            cache=disk.cache,
            bus=disk.bus,
            keep=disk.keep,
        )
