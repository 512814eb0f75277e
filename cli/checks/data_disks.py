"""Data disks on one host: the pools that they are in, and the room for what they may become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.findings import Finding, Findings, error, ok, warning
from components.config.disk_plan import DiskPlan
from components.config.plan import GIB, Plan, PoolPlan
from components.libvirt import storage_xml, volume_store
from components.libvirt.connection import connect, find

CHECK = "data disks"


@dataclass(frozen=True, kw_only=True)
class PoolFacts:
    """What was observed of a pool."""

    kind: str
    """Its type: dir, logical, …"""
    active: bool
    """Whether it runs."""
    free: int
    """Free bytes."""
    taken: int
    """Bytes that the stack's data disks take in it already."""
    there: frozenset[str]
    """Names of the stack's data disks in it that are there already."""


def check(pool: PoolPlan, plan: Plan) -> Findings:
    """All findings about the data disks on one host; none without any."""
    disks = [disk for node in plan.nodes if node.pool.hypervisor == pool.hypervisor for disk in node.disks]
    if not disks:
        return
    with connect(pool.uri) as connection:
        facts = {name: observe(connection, name, disks) for name in sorted({disk.pool for disk in disks})}
    own = {each.name for each in (*plan.pools, *plan.data_pools)}
    yield from assess(facts, disks, own, pool.hypervisor)


def observe(connection: Any, name: str, disks: Sequence[DiskPlan]) -> PoolFacts | None:
    """None: there is no such pool."""
    pool = find(connection.storagePoolLookupByName, name)
    if pool is None:
        return None
    kind, active = storage_xml.pool_type(pool.XMLDesc(0)), bool(pool.isActive())
    if not active:
        return PoolFacts(kind=kind, active=False, free=0, taken=0, there=frozenset())
    volumes = {
        disk.volume: volume
        for disk in disks
        if disk.pool == name and (volume := volume_store.volume_named(pool, disk.volume)) is not None
    }
    taken = sum(int(volume.info()[2]) for volume in volumes.values())
    return PoolFacts(kind=kind, active=True, free=int(pool.info()[3]), taken=taken, there=frozenset(volumes))


def assess(facts: Mapping[str, PoolFacts | None], disks: Sequence[DiskPlan], own: set[str], hypervisor: str) -> Findings:
    """facts: by name, of each pool that a disk is in. own: names of the stack's pools, which `up` makes and starts."""
    fit = True
    for name, found in facts.items():
        if name in own:
            continue
        for finding in _unfit(name, found, hypervisor):
            fit = False
            yield finding
    short = list(_short(facts, disks))
    if short:
        yield warning(
            CHECK,
            f"full, they would take more than is free: {'; '.join(short)}",
            "they grow as they are written to, and a machine whose disk cannot grow is paused",
            "free some, another pool or directory, or a smaller size for disks that are not there yet",
        )
    elif fit:
        there = sum(disk.volume in found.there for disk in disks if (found := facts[disk.pool]) is not None)
        yield ok(CHECK, f"{len(disks)} on {hypervisor}, {there} of them there already")


def _unfit(name: str, found: PoolFacts | None, hypervisor: str) -> list[Finding]:
    needed = "data disks are files in it (disks.*.pool)"
    if found is None:
        return [error(CHECK, f"{hypervisor} has no storage pool {name!r}", needed, "virsh pool-list --all; correct the name")]
    if found.kind not in storage_xml.FILE_POOLS:
        fix = f"a pool of type {', '.join(storage_xml.FILE_POOLS)}, or a directory"
        return [error(CHECK, f"storage pool {name!r} on {hypervisor} is of type {found.kind}", needed, fix)]
    if not found.active:
        return [error(CHECK, f"storage pool {name!r} on {hypervisor} is not active", needed, f"virsh pool-start {name}")]
    return []


def _short(facts: Mapping[str, PoolFacts | None], disks: Sequence[DiskPlan]) -> list[str]:
    texts = []
    for name, found in facts.items():
        growth = sum(disk.size for disk in disks if disk.pool == name) - (found.taken if found else 0)
        if found is not None and found.active and growth > found.free:
            texts.append(f"{growth / GIB:.0f} GiB in pool {name}, of which {found.free / GIB:.1f} GiB are free")
    return texts
