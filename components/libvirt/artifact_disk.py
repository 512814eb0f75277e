"""The disk that brings files to all nodes of a hypervisor at once: a tar archive on a read-only disk, without a file system.

A stream of known length, so it is sent from the files into the pool without a copy on this machine, and needs no file system
driver in the guest. Its first member, `k3s-macvlan-artifacts-DIGEST.json`, is how artifacts.sh finds it.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource

from components.custom.provider import Props, differs, properties
from components.custom.reporting import progress
from components.libvirt import storage_xml, volume_store
from components.libvirt.connection import HypervisorError, connect
from components.libvirt.volume_provider import VolumeProvider, volume_id

BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, kw_only=True)
class ArtifactDiskArgs:
    """Inputs of `ArtifactDisk`."""

    uri: Input[str]
    """libvirt's connection URI of the hypervisor, as qemu:///system."""
    pool: Input[str]
    """Name of the stack's storage pool."""
    name: Input[str]
    """Name of the volume. It carries the digest, so that other files are another volume."""
    path: Input[str]
    """Path that the pool gives the volume: the pool's path, a slash, the volume's name."""
    digest: Input[str]
    """Digest of `index`, hexadecimal."""
    index: Input[str]
    """The files, as JSON: {"files": [{"name", "sha256", "size" in bytes, "images"}, ...]}."""
    directory: Input[str]
    """Where the files are, on the machine that runs Pulumi."""


class ArtifactDiskProvider(VolumeProvider):
    replaces = ("uri", "pool", "name", "path", "digest", "index")
    keeps = ("directory",)  # the index says what they are

    def diff(self, _id: str, _olds: Props, _news: Props) -> DiffResult:
        """The new one first: running machines have the old one, and lose it when they are given the new one."""
        result = super().diff(_id, _olds, _news)
        result.delete_before_replace = not any(differs(_olds.get(name), _news.get(name)) for name in ("uri", "pool", "name"))
        return result

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        with connect(inputs["uri"]) as connection:
            pool = volume_store.pool_named(connection, inputs["pool"], fresh=True)
            if not _complete(connection, pool, inputs):
                with volume_store.created(pool, inputs["name"]):
                    _write(connection, pool, inputs)
        return CreateResult(volume_id(inputs), inputs)

    def observe(self, connection: Any, pool: Any, state: Props) -> Props | None:
        return {} if _complete(connection, pool, state) else None


def _complete(connection: Any, pool: Any, inputs: Props) -> bool:
    volume = volume_store.volume_named(pool, inputs["name"])
    if volume is None or not volume_store.is_ours(pool, inputs["name"]):
        return False
    volume_store.path_matches(volume, inputs["path"])
    return bool(volume_store.facts(connection, pool, inputs["name"]).get("digest") == inputs["digest"])


def _write(connection: Any, pool: Any, inputs: Props) -> None:
    length, done = size(inputs["index"]), 0
    volume = pool.createXML(storage_xml.volume(inputs["name"], length), 0)
    volume_store.path_matches(volume, inputs["path"])

    def counted() -> Iterator[bytes]:
        nonlocal done
        for chunk in archive(inputs["digest"], inputs["index"], Path(inputs["directory"])):
            yield chunk
            done += len(chunk)

    with progress(lambda: f"{inputs['name']}: {done >> 20} of {length >> 20} MiB"):
        volume_store.send(connection, volume, counted(), length)
    volume_store.verify(connection, pool, inputs["name"], {"digest": inputs["digest"]})


def _padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK


def size(index: str) -> int:
    """Bytes of the archive: a header and whole blocks for each member, and two empty blocks."""
    members = [len(index.encode()), *(file["size"] for file in json.loads(index)["files"])]
    return sum(BLOCK + _padded(member) for member in members) + 2 * BLOCK


def archive(digest: str, index: str, directory: Path) -> Iterator[bytes]:
    """The archive in pieces; equal bytes for equal files. Raises HypervisorError for a file that is not what the index says."""
    text = index.encode()
    yield _header(f"k3s-macvlan-artifacts-{digest}.json", len(text)) + text + bytes(_padded(len(text)) - len(text))
    for file in json.loads(index)["files"]:
        yield _header(file["name"], file["size"])
        yield from _content(directory / file["name"], file["size"], file["sha256"])
        yield bytes(_padded(file["size"]) - file["size"])
    yield bytes(2 * BLOCK)


def _header(name: str, length: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size = length
    return member.tobuf(tarfile.GNU_FORMAT)


def _content(path: Path, length: int, sha256: str) -> Iterator[bytes]:
    digest, left = hashlib.sha256(), length
    try:
        with path.open("rb") as file:
            while left and (chunk := file.read(min(left, 1 << 20))):
                digest.update(chunk)
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise HypervisorError(f"artifact {path} cannot be read: {error.strerror}. Bring it back: ./lab fetch") from None
    if digest.hexdigest() != sha256:
        raise HypervisorError(f"artifact {path} is not what its manifest says (SHA-256 {sha256}). Fetch it again: ./lab fetch")


class ArtifactDisk(Resource, module="libvirt", name="ArtifactDisk"):
    """The volume, written once per hypervisor and shared read-only by its machines.

    `NAME.verified` next to it says that it is whole. Raises HypervisorError for a file that is not what the index says, and
    then leaves nothing.
    """

    path: Output[str]

    def __init__(self, resource_name: str, args: ArtifactDiskArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(ArtifactDiskProvider(), resource_name, properties(args), opts)
