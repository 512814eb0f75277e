"""A node's NoCloud seed: an ISO image with the documents of its first boot."""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, Resource

from components.custom.provider import Props, old_first, properties
from components.libvirt import volume_store
from components.libvirt.connection import connect
from components.libvirt.volume_provider import VolumeProvider, volume_id


@dataclass(frozen=True, kw_only=True)
class SeedImageArgs:
    """Inputs of `SeedImage`."""

    uri: Input[str]
    """libvirt's connection URI of the hypervisor, as qemu:///system."""
    pool: Input[str]
    """Name of the stack's storage pool."""
    name: Input[str]
    """Name of the volume in the pool."""
    path: Input[str]
    """Path that the pool gives the volume: the pool's path, a slash, the volume's name."""
    user_data: Input[str]
    """cloud-init's user data, YAML. Always kept as a secret, because it holds a host key."""
    meta_data: Input[str]
    """cloud-init's meta data, YAML."""
    network_config: Input[str]
    """cloud-init's network configuration, YAML."""


class SeedImageProvider(VolumeProvider):
    replaces = ("uri", "pool", "name", "path", "meta_data", "network_config")
    # Of another machine the instance ID in the meta data is another too. With the same one cloud-init does nothing again, so that a
    # machine that has booted once is not concerned: another login key in it is for the next machine of the node.
    updates = ("user_data",)
    integers = ("size",)
    outputs = ("sha256", "size")

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        image = seed_iso(inputs["user_data"], inputs["meta_data"], inputs["network_config"])
        digest = hashlib.sha256(image).hexdigest()
        with connect(inputs["uri"]) as connection:
            pool = volume_store.pool_named(connection, inputs["pool"], fresh=True)
            if _content_digest(connection, pool, inputs["name"]) != digest:
                try:
                    volume_store.claim(pool, inputs["name"])
                    volume = volume_store.write(connection, pool, inputs["name"], image)
                    volume_store.path_matches(volume, inputs["path"])
                except BaseException:
                    with contextlib.suppress(Exception):
                        volume_store.remove(pool, inputs["name"])
                    raise
        return CreateResult(volume_id(inputs), {**inputs, "sha256": digest, "size": len(image)})

    def observe(self, connection: Any, pool: Any, state: Props) -> Props | None:
        return {} if _content_digest(connection, pool, state["name"]) == state["sha256"] else None


def _content_digest(connection: Any, pool: Any, name: str) -> str | None:
    """SHA-256 of our volume's content; None if it is not there or not ours."""
    volume = volume_store.volume_named(pool, name)
    if volume is None or not volume_store.is_ours(pool, name):
        return None
    return hashlib.sha256(volume_store.fetch(connection, volume)).hexdigest()


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

    A change replaces it; one of `user_data` alone is written in place. Only its SHA-256 and size in bytes are outputs next to the
    inputs; `user_data` is a secret.
    Raises HypervisorError if the volume is unmanaged.
    """

    path: Output[str]

    def __init__(self, resource_name: str, args: SeedImageArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(
            SeedImageProvider(),
            resource_name,
            properties(args, SeedImageProvider.outputs, user_data=Output.secret(args.user_data)),
            ResourceOptions.merge(ResourceOptions(additional_secret_outputs=["user_data"]), old_first(opts)),
        )
