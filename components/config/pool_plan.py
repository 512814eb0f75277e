"""Storage pools of the stack's own: names, UUIDs and directories, from settings alone. Pure."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

# Namespace of all UUIDs made from settings: uuid5(NAMESPACE_URL, "https://k3s-macvlan.dev").
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://k3s-macvlan.dev")


def uuid_of(path: str) -> str:
    """UUID of an object in libvirt, always the same for one path: <project>/<stack>/… with what identifies it."""
    return str(uuid.uuid5(_NAMESPACE, path))


@dataclass(frozen=True, kw_only=True)
class PoolPlan:
    """One of the stack's storage pools on one hypervisor."""

    hypervisor: str
    """Its name in the setting hypervisors."""
    uri: str
    """libvirt's connection URI, as qemu:///system."""
    name: str
    """Of the pool in libvirt: <project>-<stack>, with a suffix for pools of data disks alone."""
    uuid: str
    """Of the pool in libvirt."""
    path: str
    """The pool's directory on the hypervisor."""

    def volume(self, name: str) -> str:
        """Path of a volume of this pool on the hypervisor."""
        return f"{self.path}/{name}"


def root_volume(node: str) -> str:
    """Name of the volume of a node's root disk. node: its name."""
    return f"{node}.qcow2"


def main_pool(project: str, stack: str, hypervisor: str, *, uri: str, directory: str) -> PoolPlan:
    """The pool of root disks, images and seeds under a directory of the hypervisor."""
    return PoolPlan(
        hypervisor=hypervisor,
        uri=uri,
        name=f"{project}-{stack}",
        uuid=uuid_of(f"{project}/{stack}/pool/{hypervisor}"),
        path=f"{directory.rstrip('/')}/{project}-{stack}",
    )


def image_pool(main: PoolPlan) -> PoolPlan:
    """The pool of prepared images next to the main pool: the same for all stacks with that directory on that hypervisor.

    No stack's pool has its name, because it has no hyphen.
    """
    directory = main.path.rpartition("/")[0]
    name = "k3s_macvlan_images"
    suffix = "" if directory == "/var/lib/libvirt/images" else f"_{hashlib.sha256(directory.encode()).hexdigest()[:8]}"
    return PoolPlan(
        hypervisor=main.hypervisor,
        uri=main.uri,
        name=f"{name}{suffix}",
        uuid=uuid_of(f"images{directory}"),
        path=f"{directory}/{name}",
    )


def data_pool(project: str, stack: str, main: PoolPlan, directory: str) -> PoolPlan:
    """The pool of data disks under another directory of the main pool's hypervisor; the main pool itself under its directory."""
    suffix = hashlib.sha256(directory.rstrip("/").encode()).hexdigest()[:8]
    path = f"{directory.rstrip('/')}/{project}-{stack}"
    if path == main.path:
        return main
    return PoolPlan(
        hypervisor=main.hypervisor,
        uri=main.uri,
        name=f"{main.name}-{suffix}",
        uuid=uuid_of(f"{project}/{stack}/pool/{main.hypervisor}/{suffix}"),
        path=path,
    )
