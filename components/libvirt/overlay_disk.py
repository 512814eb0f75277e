"""A node's disk: an overlay on the base image."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, Resource, UpdateResult

from components.custom.provider import Props, is_unknown, old_first, properties
from components.custom.reporting import remark
from components.libvirt import storage_xml, volume_store
from components.libvirt.connection import HypervisorError, connect, find
from components.libvirt.obstacles import disk_obstacles, under_way
from components.libvirt.unmanaged import definitions
from components.libvirt.volume_provider import VolumeProvider, volume_id


@dataclass(frozen=True, kw_only=True)
class OverlayDiskArgs:
    """Inputs of `OverlayDisk`."""

    uri: Input[str]
    """libvirt's connection URI of the hypervisor, as qemu:///system."""
    pool: Input[str]
    """Name of the stack's storage pool."""
    name: Input[str]
    """Name of the volume in the pool."""
    path: Input[str]
    """Path that the pool gives the volume: the pool's path, a slash, the volume's name."""
    backing_path: Input[str]
    """Path of the image below it, on the hypervisor."""
    capacity: Input[int]
    """Size that the guest sees, in bytes. It grows in place and never shrinks."""
    generation: Input[str]
    """Any text. Another text replaces the disk (a rebuild of the node)."""
    domain_uuid: Input[str]
    """UUID of the domain that uses it, so that a running guest sees a larger disk."""
    backing_format: Input[str] = "qcow2"
    """Format of the image below it: qcow2 or raw."""


class OverlayDiskProvider(VolumeProvider):
    replaces = ("uri", "pool", "name", "path", "backing_path", "backing_format", "generation", "serial")
    updates = ("capacity",)
    keeps = ("domain_uuid",)
    integers = ("capacity",)

    def check(self, _olds: Props, news: Props) -> Any:
        """As for all; and what is below the disk is kept from the old inputs, as is `serial`, which else is made.

        The engine checks again without old inputs when a resource is replaced, so each disk ever made has a serial of its
        own, which a preview knows already (but with a value of its own: it is random).
        """
        if not is_unknown(news.get("generation")) and _olds.get("generation") == news.get("generation"):
            # A disk that is there stays over what it is over; only the next one of its node is over another image.
            backing = {name: _olds[name] for name in ("backing_path", "backing_format") if _olds.get(name)}
            news = {**news, **backing}
        if not news.get("serial"):
            news = {**news, "serial": _olds.get("serial") or secrets.token_hex(8)}
        return super().check(_olds, news)

    def validate(self, olds: Props, news: Props) -> list[tuple[str, str]]:
        new, old = news.get("capacity"), olds.get("capacity")
        if is_unknown(new):
            return []
        if not isinstance(new, int) or new <= 0:
            return [("capacity", f"{new!r} is no number of bytes above 0")]
        same = not self.diff("", olds, news).replaces
        if same and isinstance(old, int) and new < old:
            return [
                (
                    "capacity",
                    f"the disk has {old} bytes ({old / 2**30:g} GiB) and cannot shrink to {new} ({new / 2**30:g} GiB): its file "
                    "system would lose its end. Set the old size or more, or rebuild the node with a new disk",
                )
            ]
        return []

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        with connect(inputs["uri"]) as connection:
            pool = volume_store.pool_named(connection, inputs["pool"], fresh=True)
            volume = volume_store.volume_named(pool, inputs["name"])
            if volume is not None and volume_store.is_ours(pool, inputs["name"]):
                facts = storage_xml.read_volume(volume.XMLDesc(0))
                # Of the same generation and over nothing, it was merged with its image by hand (virsh blockpull).
                over = facts.backing_path in {inputs["backing_path"], ""}
                wanted = over and 0 < facts.capacity <= inputs["capacity"]
                if wanted and volume_store.facts(connection, pool, inputs["name"]).get("generation") == inputs["generation"]:
                    volume_store.path_matches(volume, inputs["path"])
                    if facts.capacity < inputs["capacity"]:
                        _grow(connection, volume, inputs)
                    return CreateResult(volume_id(inputs), inputs)
                domain = find(connection.lookupByUUIDString, inputs["domain_uuid"])
                if domain is not None and domain.isActive():
                    raise HypervisorError(
                        f"disk {inputs['path']} is in use by the running domain {domain.name()!r} and is not the disk wanted "
                        f"(it is {facts.capacity} bytes over {facts.backing_path or 'nothing'}"
                        f"{', of another generation of the node, as when its state was lost' if wanted else ''}). Stop the domain, "
                        f"and `pulumi up` recreates the node: virsh destroy {domain.name()}"
                    )
            _refuse_harm(connection, inputs, "recreated")
            _backing_fits(connection, inputs)
            with volume_store.created(pool, inputs["name"]):
                volume = pool.createXML(
                    storage_xml.volume(
                        inputs["name"],
                        inputs["capacity"],
                        format="qcow2",
                        backing_path=inputs["backing_path"],
                        backing_format=inputs["backing_format"],
                    ),
                    0,
                )
                volume_store.path_matches(volume, inputs["path"])
                volume_store.verify(connection, pool, inputs["name"], {"generation": inputs["generation"]})
        return CreateResult(volume_id(inputs), inputs)

    def observe(self, connection: Any, pool: Any, state: Props) -> Props | None:
        volume = volume_store.volume_named(pool, state["name"])
        if volume is None or not volume_store.is_ours(pool, state["name"]):
            # Not reported as deleted if the machine has it elsewhere: it would be replaced, and the machine with it.
            return {} if _is_elsewhere(connection, state) else None
        facts = storage_xml.read_volume(volume.XMLDesc(0))
        if facts.backing_path != state["backing_path"]:  # another chain holds the same data; it is no reason to lose it
            remark(f"disk {state['path']} is over {facts.backing_path or 'nothing'} now, not {state['backing_path']}; it is kept")
        return {"capacity": facts.capacity, "path": facts.path}

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        inputs = self.known(_news)
        with connect(inputs["uri"]) as connection:
            pool = volume_store.pool_named(connection, inputs["pool"], fresh=True)
            volume = volume_store.volume_named(pool, inputs["name"])
            if volume is None:
                _refuse_harm(connection, inputs, "changed")
                raise HypervisorError(f"disk {inputs['path']} does not exist any more: `pulumi refresh`, then `pulumi up`")
            if storage_xml.read_volume(volume.XMLDesc(0)).capacity < inputs["capacity"]:
                _grow(connection, volume, inputs)
        return UpdateResult(inputs)


def _is_elsewhere(connection: Any, state: Props) -> bool:
    """Whether the machine that uses the disk has another one in its place, as after it was moved."""
    domain = find(connection.lookupByUUIDString, state["domain_uuid"])
    return domain is not None and bool(disk_obstacles(domain, *definitions(domain), state["path"]))


def _refuse_harm(connection: Any, inputs: Props, change: str) -> None:
    """Raise if something was begun by hand with the machine that uses the disk."""
    domain = find(connection.lookupByUUIDString, inputs["domain_uuid"])
    reasons = [] if domain is None else under_way(domain, *definitions(domain), inputs["path"])
    if domain is not None and reasons:
        numbered = " ".join(f"({number}) {reason}." for number, reason in enumerate(reasons, 1))
        raise HypervisorError(
            f"disk {inputs['path']} is left as it is: were it {change} now, what was done by hand to domain {domain.name()!r} "
            f"would be lost. In the way: {numbered} Then `pulumi up` again"
        )


def _backing_fits(connection: Any, inputs: Props) -> None:
    backing = find(connection.storageVolLookupByPath, inputs["backing_path"])
    if backing is None:
        raise HypervisorError(
            f"base image {inputs['backing_path']} is not there. `pulumi refresh`, then `pulumi up` fetch it again"
        )
    size = storage_xml.read_volume(backing.XMLDesc(0)).capacity
    if size > inputs["capacity"]:
        raise HypervisorError(
            f"disk {inputs['name']!r} of {inputs['capacity'] / 2**30:g} GiB is smaller than its image ({size / 2**30:g} GiB). "
            "Set a larger disk size"
        )


def _grow(connection: Any, volume: Any, inputs: Props) -> None:
    """Through the guest's QEMU when it runs, for that holds the image's lock; else the file."""
    import libvirt  # noqa: PLC0415

    _refuse_harm(connection, inputs, "larger")
    domain = find(connection.lookupByUUIDString, inputs["domain_uuid"])
    if domain is not None and domain.isActive():
        domain.blockResize(inputs["path"], inputs["capacity"], libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    else:
        volume.resize(inputs["capacity"], 0)


class OverlayDisk(Resource, module="libvirt", name="OverlayDisk"):
    """A node's disk: a qcow2 file that holds what differs from the base image.

    Made, or adopted if it bears the stack's mark, is of the same generation, over the same image and not too large;
    `NAME.verified` next to it remembers the generation. Each disk that replaces another has a `serial` of its own. Raises
    HypervisorError if the volume is unmanaged, or in use by a running domain and not the disk wanted, or if it would have to
    change under a snapshot, a block job or a managed save of its machine.
    """

    path: Output[str]
    serial: Output[str]
    """16 hexadecimal digits, other ones for each disk that was ever made."""

    def __init__(self, resource_name: str, args: OverlayDiskArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(OverlayDiskProvider(), resource_name, properties(args, serial=None), old_first(opts))
