"""Volumes in the stack's pool, with the mark that says they are ours.

A volume cannot carry metadata, so before `NAME` is made an empty volume `NAME.owned` is, and it is deleted after `NAME`.
A volume without it is unmanaged and never touched; one with it may be half-written by a killed run and can be made again,
unless `NAME.verified` says that it is whole.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from components.custom.reporting import say
from components.libvirt import storage_xml
from components.libvirt.connection import HypervisorError, find, when_free

OWNED = ".owned"
VERIFIED = ".verified"
KEPT = ".kept"
"""Of the mark of a volume that outlives the stack."""
CHUNK = 1 << 18
"""Bytes per stream message; libvirt's RPC carries at most 256 KiB less its header."""


def pool_named(connection: Any, name: str, *, fresh: bool = False) -> Any:
    """The active pool of this name. `fresh` makes libvirt read the directory again, unless a transfer runs in it."""
    pool = find(connection.storagePoolLookupByName, name)
    if pool is None:
        raise HypervisorError(f"storage pool {name!r} is not there. `pulumi refresh`, then `pulumi up` make it again")
    if not pool.isActive():
        raise HypervisorError(
            f"storage pool {name!r} is not active. Start it: virsh pool-start {name}; or `pulumi refresh`, `pulumi up`"
        )
    if fresh:
        refresh(pool)
    return pool


def pool_to_clear(connection: Any, name: str) -> Any | None:
    """The pool of this name, started and read again, so that volumes in it can be deleted; None if it is deleted already."""
    pool = find(connection.storagePoolLookupByName, name)
    if pool is not None:
        if not pool.isActive():
            pool.create(0)
        refresh(pool)
    return pool


def refresh(pool: Any) -> None:
    """Read the pool's directory again; skipped while a transfer runs in it, for libvirt refuses it then."""
    import libvirt  # noqa: PLC0415

    try:
        pool.refresh(0)
    except libvirt.libvirtError as error:
        if "asynchronous jobs" not in str(error):
            raise


def volume_named(pool: Any, name: str) -> Any | None:
    return find(pool.storageVolLookupByName, name)


def path_matches(volume: Any, path: str) -> None:
    """A caller computes the path that libvirt will give; HypervisorError if the two disagree."""
    if volume.path() != path:
        raise HypervisorError(
            f"volume {volume.name()!r} is at {volume.path()}, not at {path}. Set the pool's path to its directory"
        )


def is_ours(pool: Any, name: str) -> bool:
    return volume_named(pool, name + OWNED) is not None


def is_kept(pool: Any, name: str) -> bool:
    """Whether the volume outlives the stack."""
    return volume_named(pool, name + KEPT) is not None


def mark_kept(pool: Any, name: str) -> None:
    if not is_kept(pool, name):
        pool.createXML(storage_xml.volume(name + KEPT, 1), 0)


def owned_paths(pool: Any) -> set[str]:
    """Files of all volumes in the pool that are ours."""
    directory = storage_xml.read_pool(pool.XMLDesc(0)).path
    return {f"{directory}/{name.removesuffix(OWNED)}" for name in pool.listVolumes() if name.endswith(OWNED)}


def overlays(pool: Any) -> Iterator[storage_xml.VolumeFacts]:
    """The pool's volumes that are over a backing file."""
    documents = (find(volume.XMLDesc, 0) for volume in pool.listAllVolumes(0))
    volumes = (storage_xml.read_volume(document) for document in documents if document is not None)
    return (volume for volume in volumes if volume.backing_path)


def over(pool: Any, path: str) -> list[str]:
    """Names of the pool's volumes whose backing file is this one."""
    return sorted(volume.name for volume in overlays(pool) if volume.backing_path == path)


def overlays_by_backing(connection: Any, *, all_seen: bool = True) -> dict[str, list[str]]:
    """By path of a backing file: the paths of the volumes over it, in all active pools.

    all_seen: directories are read again, and it is an error that one cannot be read; else what libvirt knows and can read.
    """
    import libvirt  # noqa: PLC0415

    above: dict[str, list[str]] = {}
    for pool in connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE):
        with contextlib.nullcontext() if all_seen else contextlib.suppress(libvirt.libvirtError):
            if all_seen:
                refresh(pool)
            for volume in overlays(pool):
                above.setdefault(volume.backing_path, []).append(volume.path)
    return above


def refuse_another_below(connection: Any, path: str, why: str) -> None:
    """Raise HypervisorError if disks are over this file, which is to be recreated with other content: it would destroy theirs.

    why: it is to be recreated.
    """
    # libvirt knows the disks of this program, which it makes; a pool of somebody else's that cannot be read is no reason to stop.
    above = sorted(overlays_by_backing(connection, all_seen=False).get(path, ()))
    if above:
        raise HypervisorError(
            f"{path} {why}, and disks are over it that another image in its place would destroy: {', '.join(above)}. Bring the "
            f"file and {path}{VERIFIED} back from a copy, or rebuild the nodes of these disks on another image first"
        )


def claim(pool: Any, name: str) -> None:
    """Mark the volume name as ours before anything is made under it. Raises HypervisorError if it is unmanaged."""
    if is_ours(pool, name):
        return
    if volume_named(pool, name) is not None:
        raise HypervisorError(
            f"volume {name!r} in pool {pool.name()!r} was not made by this stack and is left alone. Move it away, or delete "
            f"it if nobody needs it: virsh vol-delete {name} --pool {pool.name()}"
        )
    pool.createXML(storage_xml.volume(name + OWNED, 1), 0)


def remove(pool: Any, name: str) -> None:
    """Delete our volume with everything kept about it; that it is deleted already is success, and what is unmanaged stays."""
    if not is_ours(pool, name):
        return
    for volume_name in (name + VERIFIED, name + KEPT, name, name + OWNED):
        delete(pool, volume_name)


@contextlib.contextmanager
def created(pool: Any, name: str) -> Iterator[None]:
    """Room for a volume of ours that the block makes and `verify` ends; if the block fails, nothing is left of it."""
    try:
        claim(pool, name)
        delete(pool, name + VERIFIED)
        delete(pool, name)
        yield
    except BaseException:
        clear_away(pool, name)
        raise


def clear_away(pool: Any, name: str) -> None:
    """Remove our volume after an error, if that is possible."""
    try:
        # libvirt reads the directory by itself after a transfer, and for that moment may not list what is there.
        refresh(pool)
        remove(pool, name)
    except Exception as error:
        say(f"volume {name} could not be cleared away ({error}); the next `pulumi up` or `pulumi destroy` does it")


def delete(pool: Any, name: str) -> None:
    """Delete one volume by name, if it is there."""
    volume = volume_named(pool, name)
    if volume is None:
        return
    try:
        when_free(lambda: find(volume.delete, 0))
    except Exception:
        # A file that was deleted without libvirt's knowledge: it may still be listed, until the directory is read again.
        when_free(lambda: pool.refresh(0))
        if volume_named(pool, name) is not None:
            raise


def verify(connection: Any, pool: Any, name: str, facts: dict[str, Any]) -> None:
    """Leave the mark that our volume is whole, and what it is; the last step of making one."""
    write(connection, pool, name + VERIFIED, json.dumps(facts).encode())


def facts(connection: Any, pool: Any, name: str) -> dict[str, Any]:
    """What the mark says that `verify` left; nothing if there is none, or it was cut off."""
    marker = volume_named(pool, name + VERIFIED)
    if marker is None:
        return {}
    try:
        facts = json.loads(fetch(connection, marker))
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def send(connection: Any, volume: Any, chunks: Iterable[bytes], length: int) -> None:
    """Upload `chunks` from the volume's start. `length` in bytes, 0 if not known before."""
    stream = connection.newStream(0)
    try:
        volume.upload(stream, 0, length, 0)
        for chunk in chunks:
            rest = chunk
            while rest:
                rest = rest[stream.send(rest) :]
        stream.finish()
    except BaseException:
        with contextlib.suppress(Exception):
            stream.abort()
        raise


def write(connection: Any, pool: Any, name: str, content: bytes) -> Any:
    """A new raw volume with this content; nothing is left if it fails. A volume of the name is replaced."""
    delete(pool, name)
    volume = pool.createXML(storage_xml.volume(name, len(content)), 0)
    try:
        send(connection, volume, (content[at : at + CHUNK] for at in range(0, len(content), CHUNK)), len(content))
    except BaseException:
        with contextlib.suppress(Exception):
            delete(pool, name)
        raise
    return volume


def fetch(connection: Any, volume: Any, *, offset: int = 0, limit: int = 1 << 24) -> bytes:
    """The volume's content from `offset`, at most `limit` bytes."""
    stream = connection.newStream(0)
    parts: list[bytes] = []
    size = 0
    try:
        volume.download(stream, offset, 0, 0)
        while size < limit and (part := stream.recv(CHUNK)):
            parts.append(part)
            size += len(part)
        if size < limit:
            stream.finish()
        else:
            stream.abort()
    except BaseException:
        with contextlib.suppress(Exception):
            stream.abort()
        raise
    return b"".join(parts)[:limit]
