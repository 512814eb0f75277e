"""Data disks of nodes as settings: models, and a node's own disks from its group's and its override's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from components.config.model import Model
from components.config.problems import Mistake, matching, refuse
from components.config.value_types import LibvirtName, Path

DiskName = Annotated[
    str,
    matching(
        r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$",
        "not a name of a disk; write 1 to 32 lower-case letters, digits and '-', the first and the last no '-'",
    ),
]

RANCHER = "/var/lib/rancher"
"""Where K3s keeps its data, and so the mount point of `k3s.dataDisk`."""

SYSTEM = (
    "/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr",  # noqa: S108 - of the node
    "/var/lib/cloud", "/var/lib/k3s-macvlan", "/var/run",
)  # fmt: skip
"""What a disk may not be mounted on, nor anywhere in it (/ itself apart)."""

WHOLE = ("/home", "/opt", "/srv", "/var", "/var/cache", "/var/lib", "/var/log", "/var/lib/kubelet", RANCHER)
"""What a disk may not be mounted on, because the system or K3s has files there, though it may be on a directory in it."""


def _mount(value: str) -> str:
    if "//" in value or "/./" in value or value.endswith("/."):
        raise ValueError("not a plain path; write it without '//' and '.', such as /srv/data")
    if value == RANCHER:
        raise ValueError("is where K3s keeps its data; leave mount out, and name the disk in k3s.dataDisk")
    if value in WHOLE or any(value == system or (system != "/" and value.startswith(f"{system}/")) for system in SYSTEM):
        raise ValueError("is a directory of the system, whose files a disk would hide; write another, such as /srv/data")
    return value


Mount = Annotated[Path, AfterValidator(_mount)]
Size = Annotated[int, Field(strict=True, ge=1, le=65536)]
FileSystem = Literal["ext4", "xfs"]
Cache = Literal["none", "writeback", "writethrough", "directsync", "unsafe"]
Bus = Literal["virtio", "scsi", "sata"]


def _one_place(pool: str | None, directory: str | None) -> None:
    if pool is not None and directory is not None:
        conflict = "is set next to directory, and a disk is in one place; remove one of them"
        refuse([Mistake(("pool",), pool, conflict, ("directory",))])


class DataDisk(Model):
    """A disk of a node next to its root disk, which outlives the machine."""

    size: Size
    """Size in GiB. It may grow later, never shrink."""
    pool: LibvirtName | None = None
    """A storage pool that the hypervisor has already, of type dir, fs or netfs; absent: `directory` or the stack's own pool."""
    directory: Path | None = None
    """Directory on the hypervisor under which a pool of the stack's own is made for it. Either this or `pool`."""
    mount: Mount | None = None
    """Where the node mounts it, before K3s starts; absent: nothing is written to the disk, and whoever wants it finds it as
    /dev/disk/by-id/virtio-SERIAL (`./lab status` has the serial)."""
    file_system: FileSystem | None = None
    """ext4 or xfs, made once on an empty disk and never over data; with `mount` or `k3s.dataDisk`, absent: ext4."""
    cache: Cache = "writeback"
    """Cache mode; unsafe is quick and loses data when the hypervisor dies."""
    bus: Bus = "virtio"
    """How the guest sees it. Disks on virtio and scsi come and go while it runs; for one on sata it is restarted, and its kernel
    needs the driver ahci, which cloud kernels lack."""
    keep: bool = False
    """Leave the disk with its data where it is when it is taken out of the settings, and at destroy; the next `up` with a disk of
    this name on this node has it again."""

    @model_validator(mode="after")
    def _place(self) -> DataDisk:
        _one_place(self.pool, self.directory)
        return self


class DataDiskOverride(Model):
    """What differs for one node of a group; absent fields are those of the group's disk of this name."""

    size: Size | None = None
    """Size in GiB."""
    pool: LibvirtName | None = None
    """A storage pool that the hypervisor has already, in place of the group's `pool` or `directory`."""
    directory: Path | None = None
    """Directory on the hypervisor, in place of the group's `pool` or `directory`."""
    mount: Mount | None = None
    """Where the node mounts it."""
    file_system: FileSystem | None = None
    """ext4 or xfs."""
    cache: Cache | None = None
    """Cache mode."""
    bus: Bus | None = None
    """How the guest sees it."""
    keep: bool | None = None
    """Whether the disk stays when it is taken out of the settings, and at destroy."""

    @model_validator(mode="after")
    def _place(self) -> DataDiskOverride:
        _one_place(self.pool, self.directory)
        return self


Disks = dict[DiskName, DataDisk]
DiskOverrides = dict[DiskName, DataDiskOverride]


def of_node(group: Mapping[str, DataDisk], override: Mapping[str, DataDiskOverride]) -> dict[str, DataDisk]:
    """The disks of a node by name. One that only the override has needs a size there; without, it is left out."""
    disks = dict(group)
    for name, changes in override.items():
        fields: dict[str, Any] = {
            field: value for field in type(changes).model_fields if (value := getattr(changes, field)) is not None
        }
        if name in group:
            place = {"pool": None, "directory": None} if {"pool", "directory"} & fields.keys() else {}
            disks[name] = group[name].model_copy(update={**place, **fields})
        elif changes.size is not None:
            disks[name] = DataDisk(**fields)
    return disks
