"""Volumes: the verified base image, a node's overlay disk, and its NoCloud seed."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import re
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, ReadResult, Resource, UpdateResult

from . import documents, storage
from .connection import HypervisorError, connect, find, remark, telling
from .obstacles import disk_obstacles, under_way
from .provider import LibvirtProvider, Props, is_unknown, old_first
from .unmanaged import definitions

STALL_LIMIT = 60.0
"""Seconds a download may stand still."""

CHECKSUM = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")


def volume_id(state: Props) -> str:
    return f"{state['uri']}#{state['pool']}/{state['name']}"


class VolumeProvider(LibvirtProvider):
    """What the three kinds share: how one is looked at, and how it goes."""

    outputs: ClassVar[tuple[str, ...]] = ()
    """Names in the state that are no inputs."""

    def look(self, connection: Any, pool: Any, state: Props) -> Props | None:
        """What of the state is different in truth; None if the volume is not there or not what it was."""
        raise NotImplementedError

    def read(self, id_: str, props: Props) -> ReadResult:
        state = self.known(props)
        with connect(state["uri"]) as connection:
            pool = find(connection.storagePoolLookupByName, state["pool"])
            # In a pool that is stopped or undefined nothing can be seen; the pool itself shows as changed or gone.
            if pool is not None and pool.isActive():
                storage.refresh(pool)
                seen = self.look(connection, pool, state)
                if seen is None:
                    return ReadResult("", {})
                state |= seen
        return ReadResult(id_, state, {name: value for name, value in state.items() if name not in self.outputs})

    def delete(self, _id: str, _props: Props) -> None:
        """Remove the volume; that it or the pool is gone is success."""
        state = self.known(_props)
        with connect(state["uri"]) as connection:
            pool = find(connection.storagePoolLookupByName, state["pool"])
            if pool is None:
                return
            if not pool.isActive():
                pool.create(0)
            storage.refresh(pool)
            storage.remove(pool, state["name"])


# --- base image


@dataclass(frozen=True, kw_only=True)
class BaseImageArgs:
    """Inputs of `BaseImage`.

    uri, pool: where it goes.
    name: the volume's name; let it carry the digest, so that another image is another volume and overlays stay whole.
    path: where the pool will have it (pool path / name).
    source: http(s) URL, file:// URL or path on the machine that runs Pulumi.
    checksum: "sha256:<hex>" or "sha512:<hex>" of the file at `source`, or the URL of a checksum file ("<hex>  <name>" lines).
    format: qcow2 or raw.
    """

    uri: Input[str]
    pool: Input[str]
    name: Input[str]
    path: Input[str]
    source: Input[str]
    checksum: Input[str]
    format: Input[str] = "qcow2"


class BaseImageProvider(VolumeProvider):
    replaces = ("uri", "pool", "name", "path", "checksum", "format")
    keeps = ("source",)  # the checksum says what it is; where it came from does not matter later
    integers = ("capacity",)
    outputs = ("capacity",)

    def validate(self, olds: Props, news: Props) -> list[tuple[str, str]]:
        wrong = []
        checksum, kind = news.get("checksum"), news.get("format")
        if not is_unknown(checksum) and not CHECKSUM.fullmatch(str(checksum)) and "://" not in str(checksum):
            wrong.append(("checksum", f"{checksum!r} is not of the form sha256:<64 hex digits> or sha512:<128 hex digits>"))
        if not is_unknown(kind) and kind not in {"qcow2", "raw"}:
            wrong.append(("format", f"{kind!r} is neither qcow2 nor raw"))
        return wrong

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        with connect(inputs["uri"]) as connection:
            pool = storage.pool_named(connection, inputs["pool"], fresh=True)
            facts = _verified(connection, pool, inputs)
            if facts is None:
                with storage.anew(pool, inputs["name"]):
                    facts = _fetch(connection, pool, inputs)
        return CreateResult(volume_id(inputs), {**inputs, "capacity": facts["capacity"]})

    def look(self, connection: Any, pool: Any, state: Props) -> Props | None:
        facts = _verified(connection, pool, state)
        return None if facts is None else {"capacity": facts["capacity"]}


def _verified(connection: Any, pool: Any, inputs: Props) -> Props | None:
    """What the mark of a complete image says, if there is one for this checksum."""
    volume = storage.volume_named(pool, inputs["name"])
    if volume is None or not storage.is_ours(pool, inputs["name"]):
        return None
    facts = storage.facts(connection, pool, inputs["name"])
    if facts.get("checksum") != inputs["checksum"] or facts.get("format") != inputs["format"]:
        return None
    storage.path_matches(volume, inputs["path"])
    return facts


def _fetch(connection: Any, pool: Any, inputs: Props) -> Props:
    """Stream source → hash → volume in one pass, then prove it and leave the mark."""
    name, kind = inputs["name"], inputs["format"]
    algorithm, expected = _expected(inputs["checksum"], inputs["source"])
    digest = hashlib.new(algorithm)
    head = bytearray()
    size = 0

    opened, length = _opened(inputs["source"])
    with opened as source:

        def chunks() -> Iterator[bytes]:
            nonlocal size
            for chunk in _chunks(source, inputs["source"]):
                digest.update(chunk)
                size += len(chunk)
                if len(head) < 4096:
                    head.extend(chunk[: 4096 - len(head)])
                yield chunk

        total = f" of {length >> 20}" if length else ""
        volume = pool.createXML(documents.volume(name, max(length, 1)), 0)
        storage.path_matches(volume, inputs["path"])
        with telling(lambda: f"{name}: {size >> 20}{total} MiB"):
            storage.send(connection, volume, chunks(), length)
    if length and size != length:
        raise HypervisorError(f"{shown(inputs['source'])} ended after {size} of {length} bytes. Try again, or set another source")
    if digest.hexdigest() != expected:
        raise HypervisorError(
            f"{shown(inputs['source'])} has {algorithm} {digest.hexdigest()}, not {expected} as the image's checksum setting "
            f"says ({size} bytes read). Either the file is damaged or replaced, or the setting is of another release"
        )
    capacity = size
    qcow2 = documents.qcow2_header(bytes(head))
    if kind == "qcow2":
        if qcow2 is None:
            raise HypervisorError(f"{shown(inputs['source'])} is no qcow2 image. Set the image's format to raw, or another source")
        if qcow2.has_backing or qcow2.has_data_file:
            raise HypervisorError(f"{shown(inputs['source'])} needs a second file. Convert it: qemu-img convert -O qcow2 in out")
        capacity = qcow2.virtual_size
    elif qcow2 is not None:
        raise HypervisorError(f"{shown(inputs['source'])} is a qcow2 image. Set the image's format to qcow2")
    facts = {"checksum": inputs["checksum"], "format": kind, "size": size, "capacity": capacity}
    storage.verify(connection, pool, name, facts)
    return facts


def _expected(checksum: str, source: str) -> tuple[str, str]:
    """Algorithm and digest of the checksum setting, which is both at once or the URL of a file that names the image."""
    if CHECKSUM.fullmatch(checksum):
        algorithm, _, digest = checksum.partition(":")
        return algorithm, digest
    opened, _ = _opened(checksum)
    with opened as file:
        text = next(_chunks(file, checksum), b"").decode(errors="replace")
    name = urllib.parse.urlsplit(source).path.rpartition("/")[2]
    found = {
        digest.lower()
        for digest, each in (line.split() for line in text.splitlines() if len(line.split()) == 2)
        if each.lstrip("*").rpartition("/")[2] == name
    }
    algorithms = {64: "sha256", 128: "sha512"}
    if len(found) != 1 or len(digest := found.pop()) not in algorithms or set(digest) - set("0123456789abcdef"):
        raise HypervisorError(
            f"{shown(checksum)} does not name {name} once with a SHA-256 or SHA-512. Set the image's checksum itself, or "
            "another checksum file"
        )
    return algorithms[len(digest)], digest


def _opened(source: str) -> tuple[contextlib.AbstractContextManager[BinaryIO], int]:
    """The source, to be used as a context, and its length in bytes (0 if the server does not tell)."""
    scheme = urllib.parse.urlsplit(source).scheme if "://" in source else ""
    try:
        if scheme in {"http", "https"}:
            request = urllib.request.Request(source, headers={"Accept-Encoding": "identity"})  # noqa: S310 - checked
            response = urllib.request.urlopen(request, timeout=STALL_LIMIT)  # noqa: S310
            return response, int(response.headers.get("Content-Length") or 0)
        if scheme not in {"", "file"}:
            raise HypervisorError(f"{shown(source)}: {scheme} is no kind of source. Use http(s)://, file:// or a path")
        path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(source).path) if scheme else source).expanduser()
        return path.open("rb"), path.stat().st_size
    except urllib.error.HTTPError as error:
        raise HypervisorError(
            f"{shown(source)}: the server answers {error.code} {error.reason}. Check the URL, or set a mirror"
        ) from None
    except urllib.error.URLError as error:
        raise HypervisorError(
            f"{shown(source)} cannot be fetched: {error.reason}. Set a mirror or a local file as source"
        ) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise HypervisorError(f"{shown(source)} cannot be read: {error}. Set a mirror or a local file as source") from None


def shown(source: str) -> str:
    """A source as it may appear in a message: without password and query, which can hold a token."""
    parts = urllib.parse.urlsplit(source)
    if "://" not in source or not (parts.query or "@" in parts.netloc):
        return source
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _chunks(source: BinaryIO, name: str) -> Iterator[bytes]:
    while True:
        try:
            chunk = source.read(1 << 20)
        except (OSError, http.client.HTTPException) as error:
            raise HypervisorError(
                f"{shown(name)}: the download stopped ({error or type(error).__name__}). Try again, or set a mirror"
            ) from None
        if not chunk:
            return
        yield chunk


class BaseImage(Resource, module="libvirt", name="BaseImage"):
    """A disk image in the pool, read-only and shared by overlays.

    Streamed from `source` into the pool while its checksum is taken, so nothing is kept on this machine. `NAME.verified`
    beside it says that it is whole: with it the image is not read again, without it the image is fetched again. Raises
    HypervisorError for a source that cannot be read, stalls for 60 s, is cut off or has another checksum, and then leaves
    nothing.
    """

    uri: Output[str]
    pool: Output[str]
    name: Output[str]
    path: Output[str]
    source: Output[str]
    checksum: Output[str]
    format: Output[str]
    capacity: Output[int]
    """Bytes the image has as a disk."""

    def __init__(self, resource_name: str, args: BaseImageArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(
            BaseImageProvider(),
            resource_name,
            {
                "uri": args.uri,
                "pool": args.pool,
                "name": args.name,
                "path": args.path,
                "source": args.source,
                "checksum": args.checksum,
                "format": args.format,
                "capacity": None,
            },
            old_first(opts),
        )


# --- overlay disk


@dataclass(frozen=True, kw_only=True)
class OverlayDiskArgs:
    """Inputs of `OverlayDisk`.

    uri, pool, name, path: as for `BaseImage`.
    backing_path, backing_format: the image below it, a path on the hypervisor; qcow2 or raw.
    capacity: bytes the guest sees; grows in place, never shrinks.
    generation: any text; another text makes the disk anew (a rebuild of the node).
    domain_uuid: the domain that uses it, so that a running guest can be told of a larger disk.
    """

    uri: Input[str]
    pool: Input[str]
    name: Input[str]
    path: Input[str]
    backing_path: Input[str]
    capacity: Input[int]
    generation: Input[str]
    domain_uuid: Input[str]
    backing_format: Input[str] = "qcow2"


class OverlayDiskProvider(VolumeProvider):
    replaces = ("uri", "pool", "name", "path", "backing_path", "backing_format", "generation", "serial")
    updates = ("capacity",)
    keeps = ("domain_uuid",)
    integers = ("capacity",)

    def check(self, _olds: Props, news: Props) -> Any:
        """As for all; and `serial` is kept from the old inputs or made.

        The engine checks again without old inputs when a resource is replaced, so each disk ever made has a serial of its
        own, which a preview knows already (but with a value of its own: it is random).
        """
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
            pool = storage.pool_named(connection, inputs["pool"], fresh=True)
            volume = storage.volume_named(pool, inputs["name"])
            if volume is not None and storage.is_ours(pool, inputs["name"]):
                facts = documents.read_volume(volume.XMLDesc(0))
                # Of the same generation and over nothing, it was merged with its image by hand (virsh blockpull).
                over = facts.backing_path in {inputs["backing_path"], ""}
                wanted = over and 0 < facts.capacity <= inputs["capacity"]
                if wanted and storage.facts(connection, pool, inputs["name"]).get("generation") == inputs["generation"]:
                    storage.path_matches(volume, inputs["path"])
                    if facts.capacity < inputs["capacity"]:
                        _grow(connection, volume, inputs)
                    return CreateResult(volume_id(inputs), inputs)
                domain = find(connection.lookupByUUIDString, inputs["domain_uuid"])
                if domain is not None and domain.isActive():
                    raise HypervisorError(
                        f"disk {inputs['path']} is in use by the running domain {domain.name()!r} and is not the disk wanted "
                        f"(it is {facts.capacity} bytes over {facts.backing_path or 'nothing'}"
                        f"{', of another generation of the node, as when its state was lost' if wanted else ''}). Stop the domain, "
                        f"and `pulumi up` makes the node anew: virsh destroy {domain.name()}"
                    )
            _refuse_harm(connection, inputs, "recreated")
            _backing_fits(connection, inputs)
            with storage.anew(pool, inputs["name"]):
                volume = pool.createXML(
                    documents.volume(
                        inputs["name"],
                        inputs["capacity"],
                        format="qcow2",
                        backing_path=inputs["backing_path"],
                        backing_format=inputs["backing_format"],
                    ),
                    0,
                )
                storage.path_matches(volume, inputs["path"])
                storage.verify(connection, pool, inputs["name"], {"generation": inputs["generation"]})
        return CreateResult(volume_id(inputs), inputs)

    def look(self, connection: Any, pool: Any, state: Props) -> Props | None:
        volume = storage.volume_named(pool, state["name"])
        if volume is None or not storage.is_ours(pool, state["name"]):
            # Not as gone if the machine has it elsewhere: a new one would be made, and the machine with it.
            return {} if _is_elsewhere(connection, state) else None
        facts = documents.read_volume(volume.XMLDesc(0))
        if facts.backing_path != state["backing_path"]:  # another chain holds the same data; it is no reason to lose it
            remark(f"disk {state['path']} is over {facts.backing_path or 'nothing'} now, not {state['backing_path']}; it is kept")
        return {"capacity": facts.capacity, "path": facts.path}

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        inputs = self.known(_news)
        with connect(inputs["uri"]) as connection:
            pool = storage.pool_named(connection, inputs["pool"], fresh=True)
            volume = storage.volume_named(pool, inputs["name"])
            if volume is None:
                _refuse_harm(connection, inputs, "changed")
                raise HypervisorError(f"disk {inputs['path']} is gone. `pulumi refresh`, then `pulumi up` make it again")
            if documents.read_volume(volume.XMLDesc(0)).capacity < inputs["capacity"]:
                _grow(connection, volume, inputs)
        return UpdateResult(inputs)


def _is_elsewhere(connection: Any, state: Props) -> bool:
    """Whether the machine that uses the disk has another one in its place, as after it was moved."""
    domain = find(connection.lookupByUUIDString, state["domain_uuid"])
    return domain is not None and bool(disk_obstacles(domain, *definitions(domain), state["path"]))


def _refuse_harm(connection: Any, inputs: Props, change: str) -> None:
    """Raise if something was begun by hand with the machine that uses the disk."""
    domain = find(connection.lookupByUUIDString, inputs["domain_uuid"])
    found = [] if domain is None else under_way(domain, *definitions(domain), inputs["path"])
    if domain is not None and found:
        numbered = " ".join(f"({number}) {reason}." for number, reason in enumerate(found, 1))
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
    size = documents.read_volume(backing.XMLDesc(0)).capacity
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

    Made, or adopted if it is ours, of the same generation, over the same image and not too large; `NAME.verified` beside it
    remembers the generation. `serial` is new with every disk made anew. Raises HypervisorError if the volume is foreign, or
    ours but in use by a running domain and not the disk wanted, or if it would have to change under a snapshot, a block job or a
    managed save of its machine.
    """

    uri: Output[str]
    pool: Output[str]
    name: Output[str]
    path: Output[str]
    backing_path: Output[str]
    backing_format: Output[str]
    capacity: Output[int]
    generation: Output[str]
    domain_uuid: Output[str]
    serial: Output[str]

    def __init__(self, resource_name: str, args: OverlayDiskArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(
            OverlayDiskProvider(),
            resource_name,
            {
                "uri": args.uri,
                "pool": args.pool,
                "name": args.name,
                "path": args.path,
                "backing_path": args.backing_path,
                "backing_format": args.backing_format,
                "capacity": args.capacity,
                "generation": args.generation,
                "domain_uuid": args.domain_uuid,
                "serial": None,
            },
            old_first(opts),
        )


# --- seed


@dataclass(frozen=True, kw_only=True)
class SeedImageArgs:
    """Inputs of `SeedImage`.

    uri, pool, name, path: as for `BaseImage`.
    user_data: cloud-init's user data; always kept as a secret, for it holds a host key.
    meta_data, network_config: cloud-init's other two NoCloud documents.
    """

    uri: Input[str]
    pool: Input[str]
    name: Input[str]
    path: Input[str]
    user_data: Input[str]
    meta_data: Input[str]
    network_config: Input[str]


class SeedImageProvider(VolumeProvider):
    replaces = ("uri", "pool", "name", "path", "user_data", "meta_data", "network_config")
    integers = ("size",)
    outputs = ("sha256", "size")

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        image = seed_iso(inputs["user_data"], inputs["meta_data"], inputs["network_config"])
        digest = hashlib.sha256(image).hexdigest()
        with connect(inputs["uri"]) as connection:
            pool = storage.pool_named(connection, inputs["pool"], fresh=True)
            if _content_digest(connection, pool, inputs["name"]) != digest:
                try:
                    storage.claim(pool, inputs["name"])
                    volume = storage.write(connection, pool, inputs["name"], image)
                    storage.path_matches(volume, inputs["path"])
                except BaseException:
                    with contextlib.suppress(Exception):
                        storage.remove(pool, inputs["name"])
                    raise
        return CreateResult(volume_id(inputs), {**inputs, "sha256": digest, "size": len(image)})

    def look(self, connection: Any, pool: Any, state: Props) -> Props | None:
        return {} if _content_digest(connection, pool, state["name"]) == state["sha256"] else None


def _content_digest(connection: Any, pool: Any, name: str) -> str | None:
    """SHA-256 of our volume's content; None if it is not there or not ours."""
    volume = storage.volume_named(pool, name)
    if volume is None or not storage.is_ours(pool, name):
        return None
    return hashlib.sha256(storage.fetch(connection, volume)).hexdigest()


class _Clock:
    """pycdlib writes the time of day into an image; the same documents must make the same bytes."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return 946684800.0

    def localtime(self, moment: float | None = None) -> object:
        return time.gmtime(moment)


def seed_iso(user_data: str, meta_data: str, network_config: str) -> bytes:
    """A NoCloud image: ISO 9660 with Joliet and Rock Ridge, label cidata; equal bytes for equal documents."""
    import pycdlib  # noqa: PLC0415 - 0.1 s that a preview need not spend
    import pycdlib.dates  # noqa: PLC0415
    import pycdlib.headervd  # noqa: PLC0415
    import pycdlib.pycdlib  # noqa: PLC0415

    for module in (pycdlib.dates, pycdlib.headervd, pycdlib.pycdlib):
        module.time = _Clock()  # type: ignore[attr-defined]
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident="cidata")
    for short, name, text in (
        ("USERDATA", "user-data", user_data),
        ("METADATA", "meta-data", meta_data),
        ("NETWORK", "network-config", network_config),
    ):
        data = text.encode()
        iso.add_fp(io.BytesIO(data), len(data), f"/{short}.;1", rr_name=name, joliet_path=f"/{name}")
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()


class SeedImage(Resource, module="libvirt", name="SeedImage"):
    """A node's NoCloud seed, read by cloud-init from a read-only virtio disk labelled cidata.

    Any change makes it anew. Only its SHA-256 and size in bytes are outputs beside the inputs; `user_data` is a secret.
    Raises HypervisorError if the volume is foreign.
    """

    uri: Output[str]
    pool: Output[str]
    name: Output[str]
    path: Output[str]
    user_data: Output[str]
    meta_data: Output[str]
    network_config: Output[str]
    sha256: Output[str]
    size: Output[int]

    def __init__(self, resource_name: str, args: SeedImageArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(
            SeedImageProvider(),
            resource_name,
            {
                "uri": args.uri,
                "pool": args.pool,
                "name": args.name,
                "path": args.path,
                "user_data": Output.secret(args.user_data),
                "meta_data": args.meta_data,
                "network_config": args.network_config,
                "sha256": None,
                "size": None,
            },
            ResourceOptions.merge(ResourceOptions(additional_secret_outputs=["user_data"]), old_first(opts)),
        )
