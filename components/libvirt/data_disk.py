"""A data disk of a node: a volume that outlives the machine, and with `keep` the stack."""

from __future__ import annotations

import secrets
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from components.custom.provider import Props, elsewhere, is_unknown, old_first, properties
from components.custom.reporting import remark, say
from components.libvirt import domain_disks, domain_hotplug, domain_xml, storage_xml, volume_store
from components.libvirt.connection import HypervisorError, connect, find, when_free
from components.libvirt.disk_obstacles import data_disk_obstacles
from components.libvirt.obstacles import external_snapshots, saved_or_busy
from components.libvirt.unmanaged import definitions
from components.libvirt.volume_provider import VolumeProvider, volume_id

RELEASE_SECONDS = 30.0
"""That a running guest gets to release a disk."""


@dataclass(frozen=True, kw_only=True)
class DataDiskArgs:
    """Inputs of `DataDisk`."""

    uri: Input[str]
    """libvirt's connection URI of the hypervisor, as qemu:///system."""
    pool: Input[str]
    """Name of the storage pool: the stack's, or one that the hypervisor has already."""
    name: Input[str]
    """Name of the volume in the pool."""
    path: Input[str]
    """Path that the pool gives the volume; "" where libvirt alone knows it."""
    capacity: Input[int]
    """Size that the guest sees, in bytes. It grows in place and never shrinks."""
    keep: Input[bool]
    """Whether the volume is left with its data when the resource is deleted."""
    label: Input[str]
    """Name of the disk in the settings, by which the machine's device is found."""
    domain_uuid: Input[str]
    """UUID of the domain that uses it, computed from the stack and the node: whose disk it is."""


class DataDiskProvider(VolumeProvider):
    replaces = ("uri", "pool", "name", "path", "disk_id")
    updates = ("capacity", "keep")
    keeps = ("label", "domain_uuid")
    integers = ("capacity",)

    def check(self, _olds: Props, news: Props) -> Any:
        """As for all; and `disk_id` is kept from the old inputs or made: each disk ever made has one of its own. The engine checks
        again without old inputs when the resource is replaced."""
        if not news.get("disk_id"):
            news = {**news, "disk_id": _olds.get("disk_id") or secrets.token_hex(8)}
        return super().check(_olds, news)

    def validate(self, olds: Props, news: Props) -> list[tuple[str, str]]:
        new, old = news.get("capacity"), olds.get("capacity")
        if not is_unknown(new) and (not isinstance(new, int) or new <= 0):
            return [("capacity", f"{new!r} is no number of bytes above 0")]
        if not olds:
            return []
        if elsewhere(olds, news, "pool", "name", "path"):
            was = f"{olds.get('path') or olds.get('name')} in pool {olds.get('pool')} on {olds.get('uri')}"
            return [
                (
                    "pool",
                    f"data disk {news.get('label')} is {was}, and its data do not move by themselves. Set its pool, directory and "
                    "hypervisor back; or give the disk another name, which makes an empty one, and copy the data on the node",
                )
            ]
        if isinstance(new, int) and isinstance(old, int) and new < old:
            return [
                (
                    "capacity",
                    f"data disk {news.get('label')} has {old} bytes ({old / 2**30:g} GiB) and cannot shrink to {new} "
                    f"({new / 2**30:g} GiB): its file system would lose its end. Set size: {old / 2**30:g} or more, or give a "
                    "smaller disk another name and copy the data on the node",
                )
            ]
        return []

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """As for all; and it is said when data are lost."""
        result = super().diff(_id, _olds, _news)
        if result.replaces and not _olds.get("keep"):
            remark(
                f"data disk {_olds.get('label')} ({_olds.get('path') or _olds.get('name')}) is replaced, and its data are deleted"
            )
        return result

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        with connect(inputs["uri"]) as connection:
            pool = _pool(connection, inputs)
            volume = volume_store.volume_named(pool, inputs["name"])
            if volume is not None and volume_store.is_ours(pool, inputs["name"]):
                _adopt(connection, pool, volume, inputs)
                _mark_kept(pool, inputs)
            else:
                _make(connection, pool, inputs)
        return CreateResult(volume_id(inputs), inputs)

    def observe(self, connection: Any, pool: Any, state: Props) -> Props | None:
        volume = volume_store.volume_named(pool, state["name"])
        if volume is None or not volume_store.is_ours(pool, state["name"]):
            # Not reported as deleted if the machine has it elsewhere: an empty one would be made in its place.
            return {} if _harm(connection, pool, state, saved=False) else None
        facts = storage_xml.read_volume(volume.XMLDesc(0))
        return {"capacity": facts.capacity, "keep": volume_store.is_kept(pool, state["name"])}

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        inputs = self.known(_news)
        with connect(inputs["uri"]) as connection:
            pool = _pool(connection, inputs)
            volume = volume_store.volume_named(pool, inputs["name"])
            if volume is None or not volume_store.is_ours(pool, inputs["name"]):
                raise HypervisorError(
                    f"data disk {inputs['name']} is not in pool {inputs['pool']} any more. Bring its file back; or `pulumi "
                    "refresh`, then `pulumi up` make an empty one"
                )
            if storage_xml.read_volume(volume.XMLDesc(0)).capacity < inputs["capacity"]:
                _grow(connection, pool, volume, inputs)
            _mark_kept(pool, inputs)
        return UpdateResult(inputs)

    def delete(self, _id: str, _props: Props) -> None:
        """Take the disk off its machine, if that is there, and remove the volume; with `keep` it stays, with its marks."""
        state = self.known(_props)
        with connect(state["uri"]) as connection:
            pool = volume_store.pool_to_clear(connection, state["pool"])
            if pool is None or not volume_store.is_ours(pool, state["name"]):
                return
            volume = volume_store.volume_named(pool, state["name"])
            _refuse_harm(connection, pool, state, "taken off")
            _take_off(connection, pool, state)
            if volume is not None and state.get("keep"):
                _mark_kept(pool, state)
                say(_stays(volume, state))
            else:
                volume_store.remove(pool, state["name"])


def _pool(connection: Any, inputs: Props) -> Any:
    """The pool, its directory read again, so that no file of ours is overlooked and written over."""
    pool = volume_store.pool_named(connection, inputs["pool"])
    kind = storage_xml.pool_type(pool.XMLDesc(0))
    if kind not in storage_xml.FILE_POOLS:
        raise HypervisorError(
            f"storage pool {inputs['pool']!r} on {inputs['uri']} is of type {kind}, and data disks are files: name a pool of type "
            f"{', '.join(storage_xml.FILE_POOLS)}, or a directory"
        )
    when_free(lambda: pool.refresh(0))
    return pool


def _adopt(connection: Any, pool: Any, volume: Any, inputs: Props) -> None:
    """Use a disk that is there with what is on it."""
    _path_matches(volume, inputs)
    whose = volume_store.facts(connection, pool, inputs["name"]).get("domain")
    if whose not in (None, inputs["domain_uuid"]):
        raise HypervisorError(
            f"volume {inputs['name']!r} in pool {inputs['pool']!r} is the data disk of another machine (UUID {whose}) and is left "
            "alone. Name another pool, or rename the disk"
        )
    capacity = storage_xml.read_volume(volume.XMLDesc(0)).capacity
    if capacity > inputs["capacity"]:
        raise HypervisorError(
            f"data disk {volume.path()} is there with {capacity / 2**30:g} GiB and cannot shrink to "
            f"{inputs['capacity'] / 2**30:g} GiB. Set size: {-(-capacity // 2**30)} for the disk {inputs['label']}"
        )
    if whose is None:
        _verify(connection, pool, inputs)
    say(f"data disk {volume.path()} is there already and is used again, with what is on it")
    if capacity < inputs["capacity"]:
        _grow(connection, pool, volume, inputs)


def _make(connection: Any, pool: Any, inputs: Props) -> None:
    domain, disk = _running(connection, inputs)
    if disk is not None:
        raise HypervisorError(
            f"the file of data disk {inputs['label']} is not in pool {inputs['pool']!r} any more, and the running domain "
            f"{domain.name()!r} still has it open, with its data. Save them on the node; then virsh shutdown {domain.name()}, and "
            "`pulumi up` makes an empty disk"
        )
    claimed = volume_store.is_ours(pool, inputs["name"])
    try:
        volume_store.claim(pool, inputs["name"])
        volume = pool.createXML(storage_xml.volume(inputs["name"], inputs["capacity"], format="qcow2"), 0)
        _path_matches(volume, inputs)
        _verify(connection, pool, inputs)
        _mark_kept(pool, inputs)
    except BaseException:
        # Nothing was in it: it was made here, and no machine has had it.
        if not claimed:
            volume_store.clear_away(pool, inputs["name"])
        raise


def _running(connection: Any, inputs: Props) -> tuple[Any, ET.Element | None]:
    """(the machine, the disk as its running guest has it); None for each that is not there."""
    domain = find(connection.lookupByUUIDString, inputs["domain_uuid"])
    live = None if domain is None else definitions(domain)[1]
    return domain, domain_disks.attached(live).get(domain_disks.alias(inputs["label"]))


def _path_matches(volume: Any, inputs: Props) -> None:
    if inputs.get("path"):
        volume_store.path_matches(volume, inputs["path"])


def _verify(connection: Any, pool: Any, inputs: Props) -> None:
    volume_store.verify(connection, pool, inputs["name"], {"domain": inputs["domain_uuid"], "disk": inputs["label"]})


def _mark_kept(pool: Any, inputs: Props) -> None:
    if inputs["keep"]:
        volume_store.mark_kept(pool, inputs["name"])
    else:
        volume_store.delete(pool, inputs["name"] + volume_store.KEPT)


def _stays(volume: Any, state: Props) -> str:
    path = volume.path()
    size = storage_xml.read_volume(volume.XMLDesc(0)).capacity / 2**30
    marks = " ".join(f"{path}{mark}" for mark in ("", volume_store.VERIFIED, volume_store.KEPT, volume_store.OWNED))
    return (
        f"data disk {state['label']} stays with its data, because it has keep: true: {path} on {state['uri']}, {size:g} GiB. `up` "
        f"with a disk of this name on this node has it again. If nobody needs it: rm {marks}"
    )


def _machine_path(pool: Any, state: Props) -> str:
    """The file that the machine has for it."""
    return str(state.get("path") or f"{storage_xml.read_pool(pool.XMLDesc(0)).path}/{state['name']}")


def _harm(connection: Any, pool: Any, state: Props, *, saved: bool = True) -> list[str]:
    """What was begun by hand with the disk in its machine, and the commands that end it. saved: with what holds all of that."""
    domain = find(connection.lookupByUUIDString, state["domain_uuid"])
    if domain is None:
        return []
    stored, live = definitions(domain)
    alias = domain_disks.alias(state["label"])
    if not any(alias in domain_disks.attached(document) for document in (stored, live)):
        return []
    paths = {alias: _machine_path(pool, state)}
    reasons = data_disk_obstacles(domain.name(), stored, live, paths, lambda: external_snapshots(domain), only=paths)
    return reasons + (saved_or_busy(domain, live) if saved else [])


def _refuse_harm(connection: Any, pool: Any, state: Props, change: str) -> None:
    """Raise if something was begun by hand with the disk."""
    reasons = _harm(connection, pool, state)
    if reasons:
        numbered = " ".join(f"({number}) {reason}." for number, reason in enumerate(reasons, 1))
        raise HypervisorError(
            f"data disk {_machine_path(pool, state)} is left as it is: were it {change} now, what was done by hand would be lost. "
            f"In the way: {numbered} Then `pulumi up` again"
        )


def _grow(connection: Any, pool: Any, volume: Any, inputs: Props) -> None:
    """Through the guest's QEMU when that has it, for it holds the image's lock; else the file."""
    import libvirt  # noqa: PLC0415

    _refuse_harm(connection, pool, inputs, "larger")
    domain, disk = _running(connection, inputs)
    if disk is not None:
        domain.blockResize(domain_xml.target(disk), inputs["capacity"], libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    else:
        volume.resize(inputs["capacity"], 0)


def _take_off(connection: Any, pool: Any, state: Props) -> None:
    """Take the disk off its machine, which would otherwise still write to a deleted file."""
    import libvirt  # noqa: PLC0415

    domain = find(connection.lookupByUUIDString, state["domain_uuid"])
    if domain is None:
        return
    stored, live = definitions(domain)
    alias, name = domain_disks.alias(state["label"]), domain.name()
    if alias in domain_disks.attached(stored):
        domain.detachDeviceAlias(alias, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    disk = domain_disks.attached(live).get(alias)
    if disk is not None and not domain_hotplug.detach(domain, alias, f"data disk {state['label']}", RELEASE_SECONDS):
        raise HypervisorError(
            f"data disk {_machine_path(pool, state)} is attached to the running domain {name!r}, which does not release it, and is "
            f"left as it is. A start without it ends that: virsh shutdown {name}; virsh start {name}. Then `pulumi up` again"
        )


class DataDisk(Resource, module="libvirt", name="DataDisk"):
    """A disk for data: a qcow2 file, thin, that is attached to a node's machine and is no part of it.

    Made, or adopted with what is on it if it bears this stack's mark, which is said. It grows, also under a running guest, and
    never shrinks nor moves. When the resource is deleted it is taken off its machine and deleted; with `keep` it is left with its
    marks, which is said too. Raises HypervisorError if the volume is unmanaged or another machine's, if the pool is not one of
    files, or if something was begun by hand that a change would destroy: a snapshot, a moved file, a block job, a managed save.
    """

    path: Output[str]
    """As in the inputs: "" in a pool that is not the stack's."""
    disk_id: Output[str]
    """16 hexadecimal digits, other ones for each disk that was ever made."""

    def __init__(self, resource_name: str, args: DataDiskArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(DataDiskProvider(), resource_name, properties(args, disk_id=None), old_first(opts))
