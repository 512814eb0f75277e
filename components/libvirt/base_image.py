"""The verified base image, which the disks of all nodes are overlays of."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, Resource

from components.custom.provider import Props, is_unknown, old_first, properties
from components.custom.reporting import progress
from components.libvirt import domain_firmware, image_boot, storage_xml, volume_store
from components.libvirt.connection import HypervisorError, connect
from components.libvirt.volume_provider import VolumeProvider, volume_id
from components.redact import shown

STALL_LIMIT = 60.0
"""Seconds a download may stand still."""


CHECKSUM = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")


@dataclass(frozen=True, kw_only=True)
class BaseImageArgs:
    """Inputs of `BaseImage`."""

    uri: Input[str]
    """libvirt's connection URI of the hypervisor, as qemu:///system."""
    pool: Input[str]
    """Name of the stack's storage pool."""
    name: Input[str]
    """Name of the volume. It carries the digest, so that another image is another volume and overlays stay whole."""
    path: Input[str]
    """Path that the pool gives the volume: the pool's path, a slash, the volume's name."""
    source: Input[str]
    """http(s) URL, file:// URL or path on the machine that runs Pulumi."""
    checksum: Input[str]
    """"sha256:<hex>" or "sha512:<hex>" of the file at `source`, or the URL of a checksum file with lines "<hex>  <name>"."""
    format: Input[str] = "qcow2"
    """qcow2 or raw."""
    firmware: Input[str] | None = None
    """efi, or None for BIOS: what machines are to boot by. An image for the other alone is refused."""


class BaseImageProvider(VolumeProvider):
    replaces = ("uri", "pool", "name", "path", "checksum", "format")
    updates = ("firmware",)
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
            facts = ensure(connection, volume_store.pool_named(connection, inputs["pool"], fresh=True), inputs)
        return CreateResult(volume_id(inputs), {**inputs, "capacity": facts["capacity"]})

    def stays(self, pool: Any, state: Props) -> str:
        """An image that disks are over stays until the pool is deleted."""
        above = volume_store.over(pool, state["path"])
        return f"image {state['name']} stays while disks are over it: {', '.join(above)}" if above else ""

    def observe(self, connection: Any, pool: Any, state: Props) -> Props | None:
        facts = _verified(connection, pool, state)
        return None if facts is None else {"capacity": facts["capacity"]}


def ensure(connection: Any, pool: Any, inputs: Props) -> Props:
    """The image in the pool, fetched and verified if it is not there; what is known of it."""
    facts = _verified(connection, pool, inputs)
    if facts is None:
        # By a digest the same bytes come again, and what is over them is whole with them.
        if not CHECKSUM.fullmatch(inputs["checksum"]):
            volume_store.refuse_another_below(connection, inputs["path"], "is not there as it was fetched")
        with volume_store.created(pool, inputs["name"]):
            return _fetch(connection, pool, inputs)
    _refuse_other_firmware(connection, pool, inputs)
    return facts


def _verified(connection: Any, pool: Any, inputs: Props) -> Props | None:
    """What the mark of a complete image says, if there is one for this checksum."""
    volume = volume_store.volume_named(pool, inputs["name"])
    if volume is None or not volume_store.is_ours(pool, inputs["name"]):
        return None
    facts = volume_store.facts(connection, pool, inputs["name"])
    if facts.get("checksum") != inputs["checksum"] or facts.get("format") != inputs["format"]:
        return None
    volume_store.path_matches(volume, inputs["path"])
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
        volume = pool.createXML(storage_xml.volume(name, max(length, 1)), 0)
        volume_store.path_matches(volume, inputs["path"])
        with progress(lambda: f"{name}: {size >> 20}{total} MiB"):
            volume_store.send(connection, volume, chunks(), length)
    if length and size != length:
        raise HypervisorError(f"{shown(inputs['source'])} ended after {size} of {length} bytes. Try again, or set another source")
    if digest.hexdigest() != expected:
        raise HypervisorError(
            f"{shown(inputs['source'])} has {algorithm} {digest.hexdigest()}, not {expected} as the image's checksum setting "
            f"says ({size} bytes read). Either the file is damaged or replaced, or the setting is of another release"
        )
    capacity = size
    qcow2 = storage_xml.qcow2_header(bytes(head))
    if kind == "qcow2":
        if qcow2 is None:
            raise HypervisorError(f"{shown(inputs['source'])} is no qcow2 image. Set the image's format to raw, or another source")
        if qcow2.has_backing or qcow2.has_data_file:
            raise HypervisorError(f"{shown(inputs['source'])} needs a second file. Convert it: qemu-img convert -O qcow2 in out")
        capacity = qcow2.virtual_size
    elif qcow2 is not None:
        raise HypervisorError(f"{shown(inputs['source'])} is a qcow2 image. Set the image's format to qcow2")
    _refuse_other_firmware(connection, pool, inputs)
    facts = {"checksum": inputs["checksum"], "format": kind, "size": size, "capacity": capacity}
    volume_store.verify(connection, pool, name, facts)
    return facts


def _refuse_other_firmware(connection: Any, pool: Any, inputs: Props) -> None:
    """Raise for an image that boots by another firmware alone: its machines would never answer. Where the firmware is not known,
    nothing is refused."""
    volume = volume_store.volume_named(pool, inputs["name"])

    def read(offset: int, size: int) -> bytes:
        return b"" if volume is None else volume_store.fetch(connection, volume, offset=offset, limit=size)

    wanted = inputs.get("firmware") or domain_firmware.BIOS
    only = image_boot.only_firmware(image_boot.first_bytes(read, qcow2=inputs["format"] == "qcow2"))
    if only and only != wanted:
        sign, firmware = image_boot.SIGNS[only]
        raise HypervisorError(
            f"{shown(inputs['source'])} boots by {firmware} alone ({sign}), and the machines are to boot by {wanted}. Set "
            f"machine.firmware: {only}, or take an image for both"
        )


def _expected(checksum: str, source: str) -> tuple[str, str]:
    """Algorithm and digest of the checksum setting, which is both at once or the URL of a file that names the image."""
    if CHECKSUM.fullmatch(checksum):
        algorithm, _, digest = checksum.partition(":")
        return algorithm, digest
    opened, _ = _opened(checksum)
    with opened as file:
        text = next(_chunks(file, checksum), b"").decode(errors="replace")
    name = urllib.parse.urlsplit(source).path.rpartition("/")[2]
    digests = {
        digest.lower()
        for digest, file_name in (line.split() for line in text.splitlines() if len(line.split()) == 2)
        if file_name.lstrip("*").rpartition("/")[2] == name
    }
    algorithms = {64: "sha256", 128: "sha512"}
    if len(digests) != 1 or len(digest := digests.pop()) not in algorithms or set(digest) - set("0123456789abcdef"):
        raise HypervisorError(
            f"{shown(checksum)} does not name {name} once with a SHA-256 or SHA-512. Set the image's checksum itself, or "
            "another checksum file"
        )
    return algorithms[len(digest)], digest


def _opened(source: str) -> tuple[contextlib.AbstractContextManager[BinaryIO], int]:
    """The source, to be used as a context, and its length in bytes (0 if the server does not report it)."""
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
    next to it says that it is whole: with it the image is not read again, without it the image is fetched again. Raises
    HypervisorError for a source that cannot be read, stalls for 60 s, is cut off or has another checksum, and then leaves
    nothing.
    """

    name: Output[str]
    path: Output[str]
    format: Output[str]

    def __init__(self, resource_name: str, args: BaseImageArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(BaseImageProvider(), resource_name, properties(args, BaseImageProvider.outputs), old_first(opts))
