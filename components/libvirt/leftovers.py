"""What killed runs left behind, removed with the pool.

A run that is killed after a libvirt call and before the engine writes its state leaves something that no state knows, so
`destroy` would pass it by. The pool is created first and deleted last, and everything else of the stack bears a mark: the domain
its owner, a volume its `.owned`, a change of the network its record in the pool. So what is left is removed with the pool; and
disks, seeds and images, which are `deleted_with` their pool, are when the whole stack is destroyed.
"""

from __future__ import annotations

from typing import Any

from components.libvirt import claim_record, dhcp_claim, domain_disks, domain_spec, stack_guests, storage_xml, volume_store
from components.libvirt.domain_removal import remove, remove_log
from components.libvirt.unmanaged import say_what_stays


def sweep(connection: Any, pool: Any, owner: str) -> None:
    """Remove what is this stack's in and around its active pool; what is unmanaged stays."""
    volume_store.refresh(pool)
    name = pool.name()
    for domain, xml in stack_guests.of_stack(connection, owner, storage_xml.read_pool(pool.XMLDesc(0)).path):
        say_what_stays(connection, name, domain, (xml,), domain_disks.files(xml))
        remove(domain)
        remove_log(connection, name, domain_spec.read_domain(xml).console_log)
    ours = {
        volume_name[: -len(volume_store.OWNED)]
        for volume_name in (volume.name() for volume in pool.listAllVolumes(0))
        if volume_name.endswith(volume_store.OWNED)
    }
    for slot in sorted(ours):
        if not slot.endswith((".0", ".1")):
            continue
        record = claim_record.read_record(connection, pool, slot[:-2])
        if record is not None and "layers" in record:
            dhcp_claim.restore(connection, pool, slot[:-2], known={})
    for volume_name in sorted(ours - kept(pool)):
        volume_store.remove(pool, volume_name)


def kept(pool: Any) -> set[str]:
    """Names of volumes in the active pool that outlive the stack: data disks with `keep`."""
    names = {volume.name() for volume in pool.listAllVolumes(0)}
    marked = {name.removesuffix(volume_store.KEPT) for name in names if name.endswith(volume_store.KEPT)}
    return {name for name in marked if {name, name + volume_store.OWNED} <= names}
