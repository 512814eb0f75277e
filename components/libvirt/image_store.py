"""The images that several stacks use, on one hypervisor: which there are, and what is over them; one as a file; their deletion."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from components.libvirt import domain_spec, image_lock, pool, storage_xml, volume_store
from components.libvirt.connection import HypervisorError, find, when_free
from components.libvirt.domain_removal import remove_files
from components.libvirt.prepared_image import PREFIX, console_log

_WAIT_SECONDS = 60
_STEM = re.compile(rf"{PREFIX}[0-9a-f]{{20}}")


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """A volume of the pool of images."""

    name: str
    """prepared-<digest>.qcow2, or base-<digest>.qcow2 of one that such an image is over."""
    path: str
    """Its file on the hypervisor."""
    size: int
    """Bytes that it takes there."""
    whole: bool
    """Whether it was made, or fetched, to its end."""
    over: tuple[str, ...]
    """Paths of the volumes that are over it, in any pool of the hypervisor."""

    @property
    def prepared(self) -> bool:
        """Whether it is a prepared image, and not a base image."""
        return self.name.startswith(PREFIX)


def images(connection: Any, name: str) -> list[StoredImage]:
    """The images in the pool of this name, prepared ones first; none where there is no such pool."""
    pool = volume_store.pool_to_clear(connection, name)
    if pool is None:
        return []
    above = volume_store.overlays_by_backing(connection)
    stored = []
    for volume in pool.listAllVolumes(0):
        volume_name = volume.name()
        if not volume_store.is_ours(pool, volume_name):
            continue
        path = volume.path()
        stored.append(
            StoredImage(
                name=volume_name,
                path=path,
                size=volume.info()[2],
                whole=bool(volume_store.facts(connection, pool, volume_name)),
                over=_over(above, path),
            )
        )
    return sorted(stored, key=lambda image: (not image.prepared, image.name))


def _over(above: Mapping[str, list[str]], path: str) -> tuple[str, ...]:
    """What is over the image. Also by its name, which has a digest: a directory may have two spellings, by a link. Base images have
    the same names in stacks' own pools, so of them only what this program prepares counts that way."""
    name = path.rpartition("/")[2]
    prepared = name.startswith(PREFIX)
    users = set(above.get(path, ()))
    for below, overlays in above.items():
        if below.rpartition("/")[2] == name:
            users |= {overlay for overlay in overlays if prepared or overlay.rpartition("/")[2].startswith(PREFIX)}
    return tuple(sorted(users))


def remove_unused(connection: Any, name: str, path: str, say: Callable[[str], None], *, virt_type: str) -> list[str]:
    """Delete the images that nothing is over, those that were not made to their end too, and the pool when nothing is left in it.
    Returns the names of the deleted. path: the pool's directory. virt_type: auto, kvm or qemu.

    Raises HypervisorError, with nothing deleted, where it cannot be seen what a machine of this program is over, because no active
    pool has its disk; and where another run is at the images for a minute.
    """
    _require_visible(connection)
    deleted: list[str] = []
    with image_lock.alone(connection, name, virt_type=virt_type, limit=_WAIT_SECONDS):
        while unused := [image for image in images(connection, name) if not image.over]:
            store = volume_store.pool_named(connection, name)
            for image in unused:
                say(f"deleting {image.path}")
                volume_store.remove(store, image.name)
                deleted.append(image.name)
        _remove_left(connection, name)
        _remove_empty(connection, name, path)
    return deleted


def _remove_left(connection: Any, name: str) -> None:
    """Remove what a run that was killed has left next to the images: no other run is at them."""
    store = volume_store.pool_to_clear(connection, name)
    names = set(store.listVolumes()) if store is not None else set()
    for stem in sorted({match[0] for volume_name in names if (match := _STEM.match(volume_name))}):
        remove_files(connection, name, stem, console_log(stem))
    for marked in sorted(volume_name.removesuffix(volume_store.OWNED) for volume_name in names):
        if marked not in names:
            volume_store.remove(store, marked)


def _require_visible(connection: Any) -> None:
    import libvirt  # noqa: PLC0415

    for domain in connection.listAllDomains(0):
        document = find(domain.XMLDesc, libvirt.VIR_DOMAIN_XML_INACTIVE)
        facts = domain_spec.read_domain(document) if document else None
        for disk in facts.disks if facts is not None and facts.owner else ():
            # One without a file is a device, which is over nothing.
            if disk and find(connection.storageVolLookupByPath, disk) is None:
                raise HypervisorError(
                    f"disk {disk} of domain {domain.name()} is in no active storage pool, so it cannot be seen which image it is "
                    "over. Nothing was deleted: start its pool (virsh pool-start), make one of its directory, or detach it"
                )


def _remove_empty(connection: Any, name: str, path: str) -> None:
    store = find(connection.storagePoolLookupByName, name)
    if store is None or storage_xml.read_pool(store.XMLDesc(0)).path != path:
        return
    when_free(lambda: store.refresh(0))
    if not store.listVolumes():
        pool.remove(store)


def export(
    connection: Any, name: str, volume_name: str, file: BinaryIO, said: Callable[[int], None], *, virt_type: str, limit: float
) -> str:
    """Write the image, without the one below it, into the file. Returns its SHA-256. said: is given the bytes so far. virt_type:
    auto, kvm or qemu. limit: seconds to wait for another run that is at the images."""
    with image_lock.alone(connection, name, virt_type=virt_type, limit=limit):
        return _exported(connection, name, volume_name, file, said)


def _exported(connection: Any, name: str, volume_name: str, file: BinaryIO, said: Callable[[int], None]) -> str:
    store = volume_store.pool_named(connection, name, fresh=True)
    source = volume_store.volume_named(store, volume_name)
    if source is None or not volume_store.facts(connection, store, volume_name):
        raise HypervisorError(f"image {volume_name} is not in pool {name}. ./lab image makes it")
    copy_name = f"{volume_name.removesuffix('.qcow2')}.export.qcow2"
    capacity = storage_xml.read_volume(source.XMLDesc(0)).capacity
    digest = hashlib.sha256()
    with volume_store.created(store, copy_name):
        copy = store.createXMLFrom(storage_xml.volume(copy_name, capacity, format="qcow2"), source, 0)
        stream, size = connection.newStream(0), 0
        try:
            copy.download(stream, 0, 0, 0)
            while part := stream.recv(volume_store.CHUNK):
                digest.update(part)
                file.write(part)
                size += len(part)
                said(size)
            stream.finish()
        except BaseException:
            with contextlib.suppress(Exception):
                stream.abort()
            raise
    volume_store.remove(store, copy_name)
    return digest.hexdigest()
