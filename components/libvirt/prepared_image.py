"""The image that nodes' disks are over: the base image with what every node of a K3s release has, put there once.

It is shared: by all stacks of a host that it is the same for, in a pool of their own that no `destroy` removes. A stack's
resource says which image its machines are made from, and makes that image where it is not there.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CheckResult, CreateResult, ReadResult, Resource, UpdateResult

from components.custom.provider import DeclarativeProvider, Props, is_unknown, old_first, properties, same_host
from components.custom.reporting import progress, say
from components.libvirt import base_image, domain_spec, guest_report, image_lock, pool, seed_image, storage_xml, volume_store
from components.libvirt.connection import HypervisorError, connect, explain, find
from components.libvirt.domain_removal import power_off, remove_files
from components.libvirt.leases import IMAGE_HOST
from components.libvirt.network import end_leases
from components.libvirt.volume_provider import volume_id
from components.node import cloud_init

OWNER = "k3s_macvlan_images"
"""The mark of what is of no single stack: those of stacks have a slash."""

PREFIX = "prepared-"
"""Of the names of volumes."""

_SAID = re.compile(r"k3s-macvlan image: (.*)")
_CONSOLE_BYTES = 1 << 16
_LOOK_SECONDS = 1.0
_TOLD = 3
"""Lines of the machine's own words in an error."""


@dataclass(frozen=True, kw_only=True)
class PreparedImageArgs:
    """Inputs of `PreparedImage`. Paths are absolute and on the hypervisor."""

    uri: Input[str]
    """libvirt's connection URI of the hypervisor, as qemu:///system."""
    pool: Input[str]
    """Name of the pool of images, which is made where it is not there."""
    pool_uuid: Input[str]
    """UUID of that pool."""
    pool_path: Input[str]
    """Directory of that pool."""
    digest: Input[str]
    """20 hex digits of all that the image is made from."""
    name: Input[str]
    """Name of the volume: prepared-<digest>.qcow2."""
    base: Input[str]
    """Name of the base image's volume, in the same pool."""
    source: Input[str]
    """Of the base image: http(s) URL, file:// URL or path on the machine that runs Pulumi."""
    checksum: Input[str]
    """Of the base image: "sha256:<hex>" or "sha512:<hex>", or the URL of a checksum file."""
    format: Input[str]
    """Of the base image: qcow2 or raw."""
    firmware: Input[str] | None
    """efi, or None for BIOS."""
    secure_boot: Input[bool] | None
    """Whether the firmware starts what is signed alone; None: it starts all."""
    capacity: Input[int]
    """Size of the image in bytes."""
    user_data: Input[str]
    """cloud-init's user data of the machine that makes it. No secret may be in it."""
    machines: Input[Mapping[str, str]]
    """By node, what its machine is made from, as a digest. While no machine is new here, the image stays the one that it was."""
    disks: Input[list[str]]
    """Paths of the stack's root disks there. Where the base image cannot be had, the one that they are over is used."""
    required: Input[bool]
    """Whether it is an error that the image cannot be made; else machines are made from the base image."""
    memory_mib: Input[int]
    """Memory of the machine that makes it, in MiB."""
    cpus: Input[int]
    """Virtual CPUs of that machine."""
    network: Input[str] | None
    """libvirt network that it is on, by DHCP. Either this or `bridge`."""
    bridge: Input[str] | None
    """Bridge that it is on, by DHCP."""
    nic_port: Input[Mapping[str, str]] | None
    """How its NIC is plugged in there, as for `Domain`."""
    interface: Input[str]
    """Its NIC's name in the guest."""
    mtu: Input[int] | None
    """Its NIC's MTU in bytes; None: the NIC's own."""
    extra_disks: Input[list[Input[str]]]
    """Paths of more disks, raw and read-only."""
    virt_type: Input[str]
    """auto, kvm or qemu."""
    cpu_mode: Input[str]
    """As for `Domain`."""
    cpu_model: Input[str]
    """As for `Domain`."""
    machine: Input[str]
    """QEMU's machine type."""
    limit: Input[int]
    """Seconds from the machine's start until the image is made."""


class PreparedImageProvider(DeclarativeProvider):
    replaces = ("uri", "pool", "pool_uuid", "pool_path")
    updates = ("digest", "machines")
    # All that the digest does not follow from matters when an image is made.
    keeps = (
        "name", "base", "source", "checksum", "format", "firmware", "secure_boot", "capacity", "user_data", "disks", "required",
        "memory_mib", "cpus", "network", "bridge", "nic_port", "interface", "mtu", "extra_disks", "virt_type", "cpu_mode",
        "cpu_model", "machine", "limit",
    )  # fmt: skip
    integers = ("capacity", "memory_mib", "cpus", "mtu", "limit")
    outputs = ("path", "backing_format", "prepared")

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """As DeclarativeProvider.check; and while no machine is new, the image of the state stays: with another K3s release the
        nodes that run are upgraded, and nobody would use an image of it."""
        return super().check(_olds, _same_image(_olds, news))

    def create(self, props: Props) -> CreateResult:
        inputs = self.known(props)
        with connect(inputs["uri"]) as connection:
            outputs = _ensure(connection, inputs)
        return CreateResult(volume_id(inputs), {**inputs, **outputs})

    def update(self, _id: str, _olds: Props, _news: Props) -> UpdateResult:
        """For a machine that is new, as create; where machines were only removed, nothing is made that nobody would use."""
        olds, news = self.known(_olds), self.known(_news)
        if news["digest"] == olds["digest"] and news["machines"].items() <= olds["machines"].items():
            return UpdateResult({**news, **{name: olds[name] for name in self.outputs}})
        return super().update(_id, _olds, _news)

    def read(self, id_: str, props: Props) -> ReadResult:
        state = self.known(props)
        with connect(state["uri"]) as connection:
            images = find(connection.storagePoolLookupByName, state["pool"])
            # In a pool that is stopped nothing can be observed.
            if images is None or (images.isActive() and find(connection.storageVolLookupByPath, state["path"]) is None):
                return ReadResult("", {})
        return self.read_result(id_, state)

    def delete(self, _id: str, _props: Props) -> None:
        """Of the stack's resource, not of the image, which other stacks and the next `up` use."""
        state = self.known(_props)
        say(f"{state['path']} stays for the next `up`; ./lab image --remove deletes the images that no machine's disk is over")


def _same_image(olds: Props, news: Props) -> Props:
    machines, former = news.get("machines"), olds.get("machines")
    if is_unknown(machines) or not isinstance(machines, Mapping) or not isinstance(former, Mapping):
        return news
    there = same_host(olds.get("uri"), news.get("uri"))
    there = there and all(olds.get(name) == news.get(name) for name in ("pool", "pool_uuid", "pool_path"))
    if machines.items() <= former.items() and there:
        # An input that was None is not in the state, and stays out of it.
        own = {name: value for name, value in news.items() if name.startswith("__") or name in PreparedImageProvider.outputs}
        kept = {name: value for name, value in olds.items() if not name.startswith("__")}
        return {**own, **kept, "machines": machines, "uri": news.get("uri")}
    return news


def _ensure(connection: Any, inputs: Props) -> Props:
    """The image, made if it is not there, or the base image in its place. Returns the outputs."""
    prepared = {"path": f"{inputs['pool_path']}/{inputs['name']}", "backing_format": "qcow2", "prepared": True}
    if _is_there(connection, inputs):
        return prepared
    with image_lock.alone(connection, inputs["pool"], virt_type=inputs["virt_type"], limit=inputs["limit"]):
        place = {"uri": inputs["uri"], "name": inputs["pool"], "uuid": inputs["pool_uuid"], "path": inputs["pool_path"]}
        pool.ensure(connection, place)
        # The run that was waited for may have made it.
        return prepared if _is_there(connection, inputs) else _made(connection, inputs, prepared)


def _is_there(connection: Any, inputs: Props) -> bool:
    images = find(connection.storagePoolLookupByUUIDString, inputs["pool_uuid"])
    if images is None or not images.isActive():
        return False
    volume_store.refresh(images)
    return is_whole(connection, images, inputs["name"], inputs["digest"])


def console_log(stem: str) -> str:
    """Name of the file with the console of the machine that makes the image. stem: the volume's name without its ending."""
    return f"{stem}-console.log"


def _made(connection: Any, inputs: Props, prepared: Props) -> Props:
    import libvirt  # noqa: PLC0415

    images = volume_store.pool_named(connection, inputs["pool"], fresh=True)
    base = {**inputs, "name": inputs["base"], "path": f"{inputs['pool_path']}/{inputs['base']}"}
    usable: str | None = None
    try:
        base_image.ensure(connection, images, base)
        usable = base["path"]
        _make(connection, images, inputs, base["path"])
    except (HypervisorError, libvirt.libvirtError) as error:
        # Without its connection nothing else will be made either.
        if inputs["required"] or not _lives(connection):
            raise
        usable = usable or _base_of_the_disks(connection, inputs)
        if usable is None:
            # No disk can be made, and those that are there may be replaced.
            raise
        reason = error if isinstance(error, HypervisorError) else explain(error, inputs["uri"])
        say(
            f"no prepared image: {reason}. The machines are made from the image as it is, {usable}, which takes each of them "
            "longer (image.prepare: auto)"
        )
        return {"path": usable, "backing_format": inputs["format"], "prepared": False}
    return prepared


def _base_of_the_disks(connection: Any, inputs: Props) -> str | None:
    """Path of the base image that all of the stack's disks there are over, where it is the one that is wanted: as of a stack that
    was made without prepared images. Its source may have removed it since."""
    below = set()
    for path in inputs["disks"]:
        disk = find(connection.storageVolLookupByPath, path)
        below.add(storage_xml.read_volume(disk.XMLDesc(0)).backing_path if disk is not None else "")
    if len(below) != 1:
        return None
    (base,) = below
    wanted = base.rpartition("/")[2] == inputs["base"] and find(connection.storageVolLookupByPath, base) is not None
    return base if wanted else None


def _lives(connection: Any) -> bool:
    try:
        return bool(connection.isAlive())
    except Exception:
        return False


def is_whole(connection: Any, images: Any, name: str, digest: str) -> bool:
    """Whether the pool has this image, made to its end."""
    volume = volume_store.volume_named(images, name)
    if volume is None or not volume_store.is_ours(images, name):
        return False
    return bool(volume_store.facts(connection, images, name).get("digest") == digest)


def _make(connection: Any, images: Any, inputs: Props, base: str) -> None:
    """Boot a machine over the base image that installs everything and powers off; what its disk has become is the image."""
    name, stem = inputs["name"], inputs["name"].removesuffix(".qcow2")
    seed, log = f"{stem}-seed.iso", f"{inputs['pool_path']}/{console_log(stem)}"
    spec = _machine(connection, inputs, seed=f"{inputs['pool_path']}/{seed}", log=log)
    volume_store.refuse_another_below(connection, spec.disk_path, "is not there as it was made")
    # libvirt ends those of a run that was killed one after another, so the lock may end before the machine.
    former = find(connection.lookupByName, spec.name)
    if former is not None:
        power_off(former)
    try:
        with volume_store.created(images, name):
            capacity = storage_xml.read_volume(connection.storageVolLookupByPath(base).XMLDesc(0)).capacity
            document = storage_xml.volume(
                name, max(capacity, inputs["capacity"]), format="qcow2", backing_path=base, backing_format=inputs["format"]
            )
            volume_store.path_matches(images.createXML(document, 0), spec.disk_path)
            volume_store.claim(images, seed)
            volume_store.write(connection, images, seed, _seed(inputs, spec.mac))
            with _running(connection, spec) as domain:
                console = _watch(connection, images, domain, spec, inputs["limit"])
            _require_complete(console, inputs["digest"])
            volume_store.verify(connection, images, name, {"digest": inputs["digest"], "base": inputs["base"]})
    finally:
        # Each of them, whichever fails.
        with contextlib.suppress(Exception):
            volume_store.remove(images, seed)
        with contextlib.suppress(Exception):
            remove_files(connection, inputs["pool"], stem, log)
        with contextlib.suppress(Exception):
            if inputs.get("network"):
                end_leases(connection, connection.networkLookupByName(inputs["network"]), [spec.mac])


def _machine(connection: Any, inputs: Props, *, seed: str, log: str) -> domain_spec.DomainSpec:
    # Of its own each time: two hosts of one network may make the same image at once.
    mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
    wanted = {
        **inputs,
        # Of the pool too: of each there may be one on a host, and the lock is a pool's.
        "name": f"k3s-macvlan-image-{inputs['digest'][:12]}-{inputs['pool_uuid'][:8]}",
        "uuid": str(uuid.uuid5(uuid.UUID(inputs["pool_uuid"]), inputs["digest"])),
        "owner": OWNER,
        "node": inputs["name"].removesuffix(".qcow2"),
        "mac": mac,
        "disk_path": f"{inputs['pool_path']}/{inputs['name']}",
        "disk_serial": inputs["digest"][:16],
        "seed_path": seed,
        "console_log": log,
        # What the machine syncs at its end is on the disk before the mark says that the image is whole.
        "disk_cache": "writeback",
        "nic_port": inputs.get("nic_port"),
    }
    return domain_spec.from_inputs(wanted, virt_type=domain_spec.virt_type_used(connection, inputs["virt_type"]))


def _seed(inputs: Props, mac: str) -> bytes:
    return seed_image.seed_iso(
        inputs["user_data"],
        cloud_init.meta_data(instance_id=inputs["digest"], hostname=IMAGE_HOST),
        cloud_init.network_config(mac=mac, interface=inputs["interface"], mtu=inputs.get("mtu")),
    )


@contextlib.contextmanager
def _running(connection: Any, spec: domain_spec.DomainSpec) -> Any:
    """The machine, until the block ends. libvirt ends it too when this run is killed, since it then closes the connection."""
    import libvirt  # noqa: PLC0415

    domain = connection.createXML(domain_spec.domain(spec), libvirt.VIR_DOMAIN_START_AUTODESTROY)
    try:
        yield domain
    finally:
        with contextlib.suppress(libvirt.libvirtError):
            power_off(domain)


def _watch(connection: Any, images: Any, domain: Any, spec: domain_spec.DomainSpec, limit: int) -> str:
    """What the machine has written to its console when it has powered itself off."""
    import libvirt  # noqa: PLC0415

    begin, console = time.monotonic(), ""
    with progress(lambda: f"{spec.node}: {last_word(console) or 'the machine boots'}"):
        looked = begin
        while True:
            try:
                running = bool(domain.isActive())
                paused = domain.state() == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR]
            except libvirt.libvirtError:
                running = paused = False
            if paused:
                raise HypervisorError(
                    f"the machine that makes {spec.node} was stopped by an error of its disk, {spec.disk_path}: the file system is "
                    "full? Free space there, or delete images that nobody uses: ./lab image --remove"
                )
            if not running or time.monotonic() >= looked + 5:
                looked, console = time.monotonic(), _console(connection, images, spec)
            if not running:
                return console
            if looked > begin + limit:
                raise HypervisorError(
                    f"the machine that makes {spec.node} has not ended after {limit} s; it says: "
                    f"{last_word(console) or 'nothing'}. Raise timeouts.k3s if it is only slow"
                )
            time.sleep(_LOOK_SECONDS)


def _console(connection: Any, images: Any, spec: domain_spec.DomainSpec) -> str:
    volume_store.refresh(images)
    volume = volume_store.volume_named(images, spec.console_log.rpartition("/")[2])
    if volume is None:
        return ""
    size = volume.info()[1]
    tail = volume_store.fetch(connection, volume, offset=max(0, size - _CONSOLE_BYTES))
    return guest_report.clean(tail.decode("utf-8", "replace"))


def last_word(console: str) -> str:
    """What image-prepare.sh has written last."""
    said = _SAID.findall(console)
    return said[-1].strip() if said else ""


def _require_complete(console: str, digest: str) -> None:
    said = [text.strip() for text in _SAID.findall(console)]
    if said and said[-1] == f"complete {digest}":
        return
    if said:
        reason = "; ".join(said[-_TOLD:])
    else:
        lines = [line.strip() for line in console.splitlines() if line.strip()]
        reason = f"its script has not run. The end of its console: {' | '.join(lines[-_TOLD:]) or 'nothing'}"
    raise HypervisorError(f"the machine that was to make it has ended without it: {reason}")


class PreparedImage(Resource, module="libvirt", name="PreparedImage"):
    """The image that the stack's machines on one hypervisor are made from.

    Made where it is not there, by a machine of its own that nobody can log in to and that ends with it; adopted if another stack
    or run has made it. Deleting the resource leaves the image. Raises HypervisorError if it cannot be made and is `required`, if
    the base image cannot be had, or if the pool's name or directory is another pool's.
    """

    path: Output[str]
    """Of the volume that disks are to be over: the image's, or the base image's where the image could not be made."""
    backing_format: Output[str]
    """qcow2 or raw."""
    prepared: Output[bool]
    """Whether it is the prepared one."""

    def __init__(self, resource_name: str, args: PreparedImageArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(PreparedImageProvider(), resource_name, properties(args, PreparedImageProvider.outputs), old_first(opts))
