"""Where a hypervisor keeps the machines' disks: what is free, and how far those that are there or to come can grow."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cli.findings import Finding, Findings, error, ok, unknown, warning
from components.config.plan import GIB, NodePlan
from components.config.pool_plan import PoolPlan
from components.libvirt import domain_xml, storage_xml
from components.libvirt.connection import find

_NEW_NODE_BYTES = 4 * GIB
"""What a new node takes at once: K3s with its images over the base image. The rest of its disk is taken as it is used."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A storage pool whose volumes are files."""

    name: str
    path: str
    size: int
    """Bytes of its file system."""
    free: int
    """Free bytes of it."""
    thin: int = 0
    """Volumes that can grow."""
    growth: int = 0
    """Bytes by which they can."""
    disks: tuple[tuple[str, int], ...] = ()
    """Names and sizes of all volumes."""
    device: int | None = None
    """Number of the file system, where the hypervisor is this machine."""

    def shares(self, other: Pool) -> bool:
        """Whether it is on the file system of another. From afar two are taken for one if they have its size and about as much
        free."""
        if self.device is not None and other.device is not None:
            return self.device == other.device
        return self.size == other.size and abs(self.free - other.free) <= max(self.size // 1000, 64 << 20)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was observed on one host."""

    own: Pool | None = None
    """The stack's pool, or the place of it before it is made; None: libvirt does not report what is free there."""
    used: tuple[Pool, ...] = ()
    """Further pools that have disks of the stack's machines, or are to have them."""
    others: tuple[Pool, ...] = ()
    """All other pools."""


def observe(connection: Any, pool: PoolPlan, documents: Iterable[str], nodes: Iterable[NodePlan] = (), *, local: bool) -> Facts:
    """documents: definitions of the stack's machines. nodes: those of this host. local: whether it is this machine."""
    pools = [read for listed in connection.listAllStoragePools(0) if (read := _read(listed, local=local)) is not None]
    own_pool = find(connection.storagePoolLookupByUUIDString, pool.uuid)
    own = next((candidate for candidate in pools if own_pool is not None and candidate.name == own_pool.name()), None)
    files = {file for document in documents for file in domain_xml.files(document)}
    planned = {disk.pool for node in nodes for disk in node.disks}
    used = tuple(
        candidate
        for candidate in pools
        if candidate is not own and (candidate.name in planned or any(_holds(candidate, file) for file in files))
    )
    others = tuple(candidate for candidate in pools if candidate is not own and candidate not in used)
    return Facts(own=own or _place(pool, pools, local=local), used=used, others=others)


def _holds(pool: Pool, file: str) -> bool:
    return PurePosixPath(file).parent == PurePosixPath(pool.path)


def _read(pool: Any, *, local: bool) -> Pool | None:
    """None for a pool that does not run, or whose volumes are no files."""
    if not pool.isActive():
        return None
    document = pool.XMLDesc(0)
    if storage_xml.pool_type(document) not in storage_xml.FILE_POOLS:
        return None
    sizes = []
    for volume in pool.listAllVolumes(0):
        with contextlib.suppress(Exception):  # deleted meanwhile
            _type, capacity, allocation = volume.info()
            sizes.append((volume.name(), int(capacity), int(allocation)))
    path = storage_xml.read_pool(document).path.rstrip("/")
    _state, size, _taken, free = pool.info()
    thin = [capacity - allocation for _name, capacity, allocation in sizes if capacity > allocation]
    return Pool(
        name=pool.name(),
        path=path,
        size=int(size),
        free=int(free),
        thin=len(thin),
        growth=sum(thin),
        disks=tuple((name, capacity) for name, capacity, _allocation in sizes),
        device=_device(path) if local else None,
    )


def _device(path: str) -> int | None:
    with contextlib.suppress(OSError):
        return Path(path).stat().st_dev
    return None


def _place(pool: PoolPlan, pools: Iterable[Pool], *, local: bool) -> Pool | None:
    """Where the stack's pool will be: as libvirt reports of a pool there, or as this machine does of its own."""
    directory = PurePosixPath(pool.path).parent
    for other in pools:
        if PurePosixPath(other.path) == directory:
            return Pool(name=pool.name, path=pool.path, size=other.size, free=other.free, device=other.device)
    if local:
        for directory_above in Path(pool.path).parents:
            with contextlib.suppress(OSError):
                usage = shutil.disk_usage(directory_above)
                device = _device(str(directory_above))
                return Pool(name=pool.name, path=pool.path, size=usage.total, free=usage.free, device=device)
    return None


def assess(facts: Facts, pool: PoolPlan, nodes: Sequence[NodePlan], machines: Collection[str]) -> Findings:
    """nodes: those of this host. machines: names of their domains that are there."""
    own = facts.own
    if own is None:
        yield unknown(
            "storage", f"libvirt reports no free space at {pool.path}", "a full file system stops machines", f"df -h {pool.path}"
        )
        return
    new_nodes = [node for node in nodes if node.domain not in machines]
    needed_at_once = len(new_nodes) * _NEW_NODE_BYTES + (GIB if new_nodes else 0)
    if own.free < needed_at_once:
        yield error(
            "storage",
            f"{own.free / GIB:.1f} GiB are free at {own.path}, about {needed_at_once / GIB:.0f} GiB are needed at once",
            "the base image is stored once, and each new node takes about 4 GiB for K3s and its images",
            "free some, or another hypervisors.*.poolDirectory",
        )
        return
    done: list[Pool] = []
    for place in (own, *facts.used):
        if not any(place.shares(other) for other in done):
            done.append(place)
            pools = [other for other in (own, *facts.used, *facts.others) if other.shares(place)]
            yield _assess_growth(place, pools, to_come(pools, own, nodes))


def to_come(pools: Sequence[Pool], own: Pool, nodes: Sequence[NodePlan]) -> int:
    """Bytes of the nodes' disks in these pools that are not made yet, or not yet as large as planned. own: the stack's pool, in
    which the root disks are."""
    there = {(pool.name, name): size for pool in pools for name, size in pool.disks}
    names = {pool.name for pool in pools}
    planned = [(own.name, f"{node.name}.qcow2", node.disk) for node in nodes]
    planned += [(disk.pool, disk.volume, disk.size) for node in nodes for disk in node.disks]
    return sum(max(0, size - there.get((pool, volume), 0)) for pool, volume, size in planned if pool in names)


def _assess_growth(place: Pool, pools: Iterable[Pool], planned: int) -> Finding:
    """All thin disks of one file system against what is free there. planned: bytes of disks that `up` is to make there."""
    growing = [pool for pool in pools if pool.growth]
    growth = planned + sum(pool.growth for pool in growing)
    free = f"{place.free / GIB:.1f} GiB are free at {place.path}"
    if growth <= place.free:
        return ok("storage", f"{free}; disks can grow by {growth / GIB:.1f} GiB")
    parts = [f"{pool.growth / GIB:.1f} GiB in {pool.thin} of pool {pool.name}" for pool in growing]
    parts += [f"{planned / GIB:.1f} GiB in those that up is to make"] if planned else []
    return warning(
        "storage",
        f"{free}, and the disks on that file system can grow by {growth / GIB:.1f} GiB: {', '.join(parts)}",
        "disks grow as they are used; when the file system is full, every machine that writes to one there is paused",
        "free some, another hypervisors.*.poolDirectory, another pool of disks.*, or less in servers.disk, agents.disk; delete "
        "what nobody needs: virsh vol-list POOL --details",
    )
