"""The stack's own storage pool: one directory on the hypervisor for everything the stack keeps there."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, ReadResult, Resource

from components.custom.provider import DeclarativeProvider, Props, elsewhere, is_unknown, old_first, properties
from components.custom.reporting import say
from components.libvirt import leftovers, storage_xml
from components.libvirt.connection import HypervisorError, connect, find, when_free


@dataclass(frozen=True, kw_only=True)
class StoragePoolArgs:
    """Inputs of `StoragePool`."""

    uri: Input[str]
    """libvirt's connection URI of the hypervisor, as qemu:///system."""
    name: Input[str]
    """Name of the pool."""
    uuid: Input[str]
    """UUID of the pool, computed from the stack. It is the mark: a pool of this name with another UUID is unmanaged."""
    path: Input[str]
    """Absolute directory on the hypervisor. It is made if it is missing; QEMU's user must be able to reach it."""
    owner: Input[str]
    """"project/stack". What bears this mark and was left by a killed run is deleted with the pool."""
    data_disks: Input[Sequence[str]] = ()
    """Volumes of the data disks that the settings have in it."""


class StoragePoolProvider(DeclarativeProvider):
    replaces = ("uri", "name", "uuid", "path")
    updates = ("owner", "active", "autostart")
    keeps = ("data_disks",)

    def validate(self, olds: Props, news: Props) -> list[tuple[str, str]]:
        """Refuses what replaces a pool with data disks: they go with it, and the engine then checks them as if they were new
        (Pulumi's step_generator.go, calculateDependentReplacements), so that they cannot refuse it themselves."""
        disks = news.get("data_disks")
        if not olds or not disks or is_unknown(disks) or not elsewhere(olds, news, "name", "path"):
            return []
        return [
            (
                "path",
                f"{olds.get('path')} on {olds.get('uri')} has the data disks {', '.join(disks)}, and their data do not move by "
                "themselves: they would be deleted with the pool. Set the hypervisor's uri and poolDirectory back; or copy the "
                "data, and take the disks out of the settings first, in a run of its own. If none of them is there yet, add them "
                "in a run of its own, after this one",
            )
        ]

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        with connect(inputs["uri"]) as connection:
            ensure(connection, inputs)
        return CreateResult(f"{inputs['uri']}#{inputs['name']}", {**inputs, "active": True, "autostart": True})

    def read(self, id_: str, props: Props) -> ReadResult:
        state = self.known(props)
        with connect(state["uri"]) as connection:
            pool = find(connection.storagePoolLookupByUUIDString, state["uuid"])
            if pool is None:
                return ReadResult("", {})
            facts = storage_xml.read_pool(pool.XMLDesc(0))
            state |= {
                "name": facts.name,
                "path": facts.path,
                "active": bool(pool.isActive()),
                "autostart": bool(pool.autostart()),
            }
        return self.read_result(id_, state)

    def delete(self, _id: str, _props: Props) -> None:
        state = self.known(_props)
        with connect(state["uri"]) as connection:
            pool = find(connection.storagePoolLookupByUUIDString, state["uuid"])
            if pool is None:
                return
            if not pool.isActive():
                # What is in it is listed, and can be removed, only in a pool that is active.
                with contextlib.suppress(Exception):
                    pool.create(0)
            if pool.isActive():
                leftovers.sweep(connection, pool, state["owner"])
                left = sorted(volume.name() for volume in pool.listAllVolumes(0))
                kept = sorted(leftovers.kept(pool))
                others = [name for name in left if not name.startswith(tuple(kept))]
                if kept:
                    say(
                        f"pool {state['name']}: {state['path']} keeps the data disks {', '.join(kept)} (keep: true). The pool is "
                        "removed, the directory stays, and the next `up` uses it again."
                    )
                if others:
                    say(
                        f"pool {state['name']}: {state['path']} keeps {', '.join(others[:10])}"
                        f"{' and more' if len(others) > 10 else ''}, which this stack did not make. "
                        "The pool is removed, the directory stays."
                    )
                when_free(pool.destroy)
                if not left:
                    _delete_directory(pool)
            elif not _delete_directory(pool):
                raise HypervisorError(
                    f"storage pool {state['name']!r} on {state['uri']} does not start, and its directory {state['path']} is not "
                    f"empty: what this stack has in it would be left there. `virsh pool-start {state['name']}` says why; when it "
                    "starts, say `destroy` again"
                )
            pool.undefine()


def ensure(connection: Any, inputs: Props) -> None:
    """The pool, active and started with the host: made, or adopted by its UUID. inputs: uri, name, uuid and path."""
    name, uuid, path = inputs["name"], inputs["uuid"], inputs["path"]
    for other in connection.listAllStoragePools(0):
        facts = storage_xml.read_pool(other.XMLDesc(0))
        if facts.uuid == uuid:
            continue
        if facts.name == name:
            raise HypervisorError(
                f"storage pool {name!r} exists on {inputs['uri']} with UUID {facts.uuid} and is not this stack's "
                f"({uuid}). Set another pool name, or remove it: virsh pool-destroy {name}; virsh pool-undefine {name}"
            )
        if facts.path.rstrip("/") == path.rstrip("/"):
            raise HypervisorError(
                f"storage pool {facts.name!r} on {inputs['uri']} already uses {path}. Set another pool path: two pools on one "
                "directory would delete each other's files"
            )
    pool = find(connection.storagePoolLookupByUUIDString, uuid)
    made = pool is None
    if pool is not None:
        facts = storage_xml.read_pool(pool.XMLDesc(0))
        if (facts.name, facts.path.rstrip("/")) != (name, path.rstrip("/")):
            raise HypervisorError(
                f"storage pool {facts.name!r} ({facts.path}) on {inputs['uri']} bears this stack's UUID {uuid} under another "
                f"name or path. Remove it (virsh pool-destroy {facts.name}; virsh pool-undefine {facts.name}), or set the pool's "
                "name and path back"
            )
    try:
        if pool is None:
            pool = connection.storagePoolDefineXML(storage_xml.pool(name, uuid, path), 0)
        if not pool.isActive():
            pool.build(0)  # makes the directory; one that exists is left as it is
            pool.create(0)
        pool.setAutostart(1)
    except BaseException:
        if made:
            with contextlib.suppress(Exception):
                remove(find(connection.storagePoolLookupByUUIDString, uuid))
        raise


def remove(pool: Any | None) -> None:
    """Undo a creation: the directory is deleted if it is empty."""
    if pool is None:
        return
    if pool.isActive():
        pool.destroy()
    _delete_directory(pool)
    pool.undefine()


def _delete_directory(pool: Any) -> bool:
    """Delete the pool's directory, unless it does not exist or holds what libvirt does not list. Returns whether it is deleted."""
    import libvirt  # noqa: PLC0415

    try:
        pool.delete(0)
    except libvirt.libvirtError as error:
        if not any(reason in str(error) for reason in ("No such file", "not empty")):
            raise
        return "not empty" not in str(error)
    return True


class StoragePool(Resource, module="libvirt", name="StoragePool"):
    """A directory pool of the stack's own, started with the host.

    Made, or adopted if it bears this stack's UUID. Raises HypervisorError if the name or the directory belongs to another
    pool. Removed with its directory; files in it that the stack did not make are left and named.
    """

    name: Output[str]

    def __init__(self, resource_name: str, args: StoragePoolArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(StoragePoolProvider(), resource_name, properties(args, active=True, autostart=True), old_first(opts))
