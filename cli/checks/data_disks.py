"""Data disks on one host: the pools that they are in. How far they can grow is a matter of `storage`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.findings import Finding, Findings, error, ok
from components.config.disk_plan import DiskPlan
from components.config.plan import Plan
from components.config.pool_plan import PoolPlan
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
    there: frozenset[str]
    """Names of the stack's data disks in it that are there already."""


def check(pool: PoolPlan, plan: Plan) -> Findings:
    """All findings about the data disks on one host; none without any."""
    disks = [disk for node in plan.nodes if node.pool.hypervisor == pool.hypervisor for disk in node.disks]
    if not disks:
        return
    with connect(pool.uri) as connection:
        facts = {name: observe(connection, name, disks) for name in sorted({disk.pool for disk in disks})}
    own = {own_pool.name for own_pool in (*plan.pools, *plan.data_pools)}
    yield from assess(facts, disks, own, pool.hypervisor)


def observe(connection: Any, name: str, disks: Sequence[DiskPlan]) -> PoolFacts | None:
    """None: there is no such pool."""
    pool = find(connection.storagePoolLookupByName, name)
    if pool is None:
        return None
    kind, active = storage_xml.pool_type(pool.XMLDesc(0)), bool(pool.isActive())
    if not active:
        return PoolFacts(kind=kind, active=False, there=frozenset())
    there = {disk.volume for disk in disks if disk.pool == name and volume_store.volume_named(pool, disk.volume) is not None}
    return PoolFacts(kind=kind, active=True, there=frozenset(there))


def assess(facts: Mapping[str, PoolFacts | None], disks: Sequence[DiskPlan], own: set[str], hypervisor: str) -> Findings:
    """facts: by name, of each pool that a disk is in. own: names of the stack's pools, which `up` makes and starts."""
    fit = True
    for name, pool in facts.items():
        if name in own:
            continue
        for finding in _unfit(name, pool, hypervisor):
            fit = False
            yield finding
    if fit:
        there = sum(disk.volume in pool.there for disk in disks if (pool := facts[disk.pool]) is not None)
        yield ok(CHECK, f"{len(disks)} on {hypervisor}, {there} of them there already")


def _unfit(name: str, facts: PoolFacts | None, hypervisor: str) -> list[Finding]:
    needed = "data disks are files in it (disks.*.pool)"
    if facts is None:
        return [error(CHECK, f"{hypervisor} has no storage pool {name!r}", needed, "virsh pool-list --all; correct the name")]
    if facts.kind not in storage_xml.FILE_POOLS:
        fix = f"a pool of type {', '.join(storage_xml.FILE_POOLS)}, or a directory"
        return [error(CHECK, f"storage pool {name!r} on {hypervisor} is of type {facts.kind}", needed, fix)]
    if not facts.active:
        return [error(CHECK, f"storage pool {name!r} on {hypervisor} is not active", needed, f"virsh pool-start {name}")]
    return []
