"""The data disks of a node: their volumes, what the machine is given of them, and their mounts on the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pulumi
from pulumi import Input, Output, ResourceOptions
from pulumi_command.remote import Command

from components.config.disk_plan import DiskPlan
from components.config.plan import NodePlan
from components.libvirt.data_disk import DataDisk, DataDiskArgs
from components.machine.hypervisor import Hypervisor
from components.node import command

SECONDS = 300
"""For a disk to be seen, given its file system and mounted."""


def data_disks(name: str, node: NodePlan, hypervisor: Hypervisor, opts: ResourceOptions) -> dict[str, DataDisk]:
    """By name. They are no part of the machine: another root disk, or another machine, has the same ones."""
    return {
        disk.name: DataDisk(
            # Not "…-disk": that is what is replaced to rebuild a node, also by a pattern of all such names.
            f"{name}-{disk.name}-data",
            DataDiskArgs(
                uri=node.pool.uri,
                pool=hypervisor.pools[disk.pool].name if disk.pool in hypervisor.pools else disk.pool,
                name=disk.volume,
                path=disk.path,
                capacity=disk.size,
                keep=disk.keep,
                label=disk.name,
                domain_uuid=node.uuid,
            ),
            # libvirt reads a pool's directory again only while nothing is written in it, and the image takes the longest.
            ResourceOptions.merge(opts, ResourceOptions(depends_on=[hypervisor.image])),
        )
        for disk in node.disks
    }


def of_domain(node: NodePlan, disks: Mapping[str, DataDisk]) -> list[Mapping[str, Input[str] | Input[bool]]] | None:
    """The input `data_disks` of the node's `Domain`."""
    return [
        {
            "name": disk.name,
            "serial": disk.serial,
            "pool": disk.pool,
            "volume": disk.volume,
            "path": disks[disk.name].path,
            "bus": disk.bus,
            "cache": disk.cache,
            "keep": disk.keep,
            "disk_id": disks[disk.name].disk_id,
        }
        for disk in node.disks
    ] or None


def hardware(node: NodePlan) -> str:
    """What of them restarts the machine when it changes, as text: how the guest is given each. One that is as usual comes while
    the machine runs."""
    unusual = [disk for disk in node.disks if (disk.bus, disk.cache) != ("virtio", "writeback")]
    return "".join(f", disk {disk.name} {disk.bus} {disk.cache}" for disk in unusual)


def mounts(
    name: str,
    node: NodePlan,
    disks: Mapping[str, DataDisk],
    run: Callable[..., Command],
    depends_on: list[pulumi.Resource],
) -> list[pulumi.Resource]:
    """The steps after which the disks are mounted. Undone, each unmounts its disk, before that is taken off the machine."""
    return [
        run(
            f"{name}-{disk.name}-mount",
            command.Script(
                name="data-disk.sh",
                environment={
                    **_mount(disk),
                    "ACTION": "on",
                    "BYTES": str(disk.size),
                    "FILE_SYSTEM": disk.file_system,
                    "LIMIT_SECONDS": "120",
                },
                limit=SECONDS,
            ),
            disks[disk.name].disk_id,
            disk.mount,
            on_delete=command.Script(name="data-disk.sh", environment={**_mount(disk), "ACTION": "off"}, limit=SECONDS),
            opts=ResourceOptions(depends_on=[*depends_on, disks[disk.name]]),
        )
        for disk in node.disks
        if disk.mount
    ]


def _mount(disk: DiskPlan) -> dict[str, Any]:
    return {"NAME": disk.name, "SERIAL": disk.serial, "MOUNT": disk.mount}


def data_id(node: NodePlan, disks: Mapping[str, DataDisk], root: Output[str]) -> Output[str]:
    """Identity of the disk that has K3s's data: the data disk of k3s.dataDisk, else the root disk."""
    return disks[node.k3s_disk.name].disk_id if node.k3s_disk else root
