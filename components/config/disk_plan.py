"""Data disks on each node: names, serials and places, from settings alone. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from components.config.disks import RANCHER, DataDisk
from components.config.pool_plan import PoolPlan

SERIAL_LENGTH = 20
"""Characters of a serial that every bus hands to the guest."""


@dataclass(frozen=True, kw_only=True)
class DiskPlan:
    """A data disk of a node."""

    name: str
    """In the settings."""
    serial: str
    """By which the guest finds it, in /dev/disk/by-id."""
    own_pool: PoolPlan | None
    """The pool that it is in, where that is the stack's own."""
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


def serial(node: str, disk: str) -> str:
    """server-1-data; with a digest in place of its end where that is too long."""
    text = f"{node}-{disk}"
    if len(text) <= SERIAL_LENGTH:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: SERIAL_LENGTH - 9]}-{digest}"


def plans(
    node: str,
    domain: str,
    disks: Mapping[str, DataDisk],
    *,
    main: PoolPlan,
    in_directory: Callable[[str], PoolPlan],
    of_k3s: str | None,
) -> Iterator[DiskPlan]:
    """main: the stack's pool on the node's hypervisor. in_directory: its pool under a directory there. of_k3s: name of the disk for
    K3s's data."""
    for name, disk in sorted(disks.items()):
        volume = f"{domain}-{name}.qcow2"
        own = None if disk.pool is not None else in_directory(disk.directory) if disk.directory is not None else main
        yield DiskPlan(
            name=name,
            serial=serial(node, name),
            own_pool=own,
            pool=own.name if own else disk.pool or "",
            path=own.volume(volume) if own else "",
            volume=volume,
            size=disk.size * 2**30,
            mount=RANCHER if name == of_k3s else disk.mount or "",
            file_system=disk.file_system or "ext4",
            cache=disk.cache,
            bus=disk.bus,
            keep=disk.keep,
        )
