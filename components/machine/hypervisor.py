"""Hypervisor: what the stack keeps on one libvirt host for all of its machines there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pulumi import ComponentResource, Input, Output, Resource, ResourceOptions

from components.config.addresses import AddressRange
from components.config.artifacts import ArtifactSet
from components.config.disk_plan import DiskPlan
from components.config.plan import ImagePlan
from components.config.pool_plan import PoolPlan, image_pool, root_volume
from components.config.settings import Machine, Network
from components.libvirt.artifact_disk import ArtifactDisk, ArtifactDiskArgs
from components.libvirt.base_image import BaseImage, BaseImageArgs
from components.libvirt.dhcp_claim import DhcpClaim, DhcpClaimArgs
from components.libvirt.pool import StoragePool, StoragePoolArgs
from components.libvirt.prepared_image import PreparedImage, PreparedImageArgs
from components.machine.image_recipe import ImageRecipe
from components.machine.nic_inputs import first_nic_port


@dataclass(frozen=True, kw_only=True)
class HypervisorArgs:
    """Inputs of `Hypervisor`."""

    owner: str
    """project/stack, the mark on what this program manages."""
    pool: PoolPlan
    """The storage pool: connection URI, name, UUID and directory."""
    image: ImagePlan
    """The base image: volume name, source, checksum and format."""
    network: Network
    """The network the machines are on."""
    claims: Sequence[AddressRange]
    """Addresses that are taken out of a libvirt network's DHCP ranges."""
    macs: Sequence[str]
    """MAC addresses of the stack's machines, whose leases and reservations are its own."""
    after: Sequence[Resource] = ()
    """What must hold before anything is created there."""
    artifacts: ArtifactSet | None = None
    """Files in place of the nodes' downloads; None: the nodes download."""
    data_pools: Sequence[PoolPlan] = ()
    """Further pools of the stack's own, for data disks."""
    data_disks: Sequence[DiskPlan] = ()
    """Of all machines there."""
    machine: Machine
    """The setting machine."""
    recipe: ImageRecipe | None = None
    """What the prepared image is made from; None: machines are made from the base image."""
    machines: Mapping[str, str] = field(default_factory=dict)
    """By node, what its machine is made from (`image_recipe.machines`)."""


class Hypervisor(ComponentResource):
    """What all machines on one libvirt host share: the stack's storage pool, in it the base image and the disk with the nodes'
    artifacts, and the claim on the network's addresses.
    """

    pool: StoragePool
    pools: dict[str, StoragePool]
    """All pools of the stack's own by their names in libvirt."""
    image: BaseImage | PreparedImage
    image_name: str
    """Name of the base image, also where the prepared one is used: it identifies what machines are made from."""
    backing_path: Output[str]
    """Of the image that machines' disks are over."""
    backing_format: Output[str]
    """qcow2 or raw."""
    firmware: str
    """bios or efi: what machines with the image boot by."""
    artifacts: ArtifactDisk | None
    """The disk with the nodes' artifacts; None where the nodes download."""
    dhcp: DhcpClaim | None
    """None on a bridge, whose DHCP server, if there is one, is not libvirt's."""

    def __init__(self, name: str, args: HypervisorArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:hypervisor:Hypervisor", name, {}, opts)
        own = ResourceOptions(parent=self)
        pool = args.pool
        self.firmware = args.image.firmware
        after = ResourceOptions.merge(own, ResourceOptions(depends_on=list(args.after)))
        self.pool = StoragePool(f"{name}-pool", _pool_args(pool, args), after)
        self.pools = {pool.name: self.pool}
        for data_pool in args.data_pools:
            suffix = data_pool.name.removeprefix(pool.name + "-")
            self.pools[data_pool.name] = StoragePool(f"{name}-pool-{suffix}", _pool_args(data_pool, args), after)
        # With the pool all marked volumes in it are deleted at once, in place of one after another by providers of their own.
        in_pool = ResourceOptions.merge(own, ResourceOptions(deleted_with=self.pool))
        self.artifacts = None
        if args.artifacts is not None:
            volume = f"artifacts-{args.artifacts.digest}.img"
            self.artifacts = ArtifactDisk(
                f"{name}-artifacts",
                ArtifactDiskArgs(
                    uri=pool.uri,
                    pool=self.pool.name,
                    name=volume,
                    path=pool.volume(volume),
                    digest=args.artifacts.digest,
                    index=args.artifacts.index,
                    directory=str(args.artifacts.directory),
                ),
                in_pool,
            )
        self.dhcp = (
            DhcpClaim(
                f"{name}-dhcp",
                DhcpClaimArgs(
                    uri=pool.uri,
                    network=args.network.name,
                    ranges=[str(claim) for claim in args.claims],
                    macs=list(args.macs),
                    owner=args.owner,
                    pool=self.pool.name,
                    record=f"dhcp-{args.network.name}.json",
                ),
                own,
            )
            if args.network.kind == "libvirt"
            else None
        )
        self.image_name = args.image.name
        if args.recipe is None:
            base = self._base_image(name, args)
            self.image, self.backing_path, self.backing_format = base, base.path, base.format
        else:
            prepared = self._prepared_image(name, args, args.recipe)
            self.image, self.backing_path, self.backing_format = prepared, prepared.path, prepared.backing_format
        self.register_outputs({"pool": self.pool.name, "image": self.image_name})

    def _base_image(self, name: str, args: HypervisorArgs) -> BaseImage:
        pool = args.pool
        return BaseImage(
            f"{name}-image",
            BaseImageArgs(
                uri=pool.uri,
                pool=self.pool.name,
                name=args.image.name,
                path=pool.volume(args.image.name),
                source=args.image.source,
                checksum=args.image.checksum,
                format=args.image.format,
                firmware=_firmware_input(self.firmware),
            ),
            ResourceOptions(parent=self, deleted_with=self.pool),
        )

    def _prepared_image(self, name: str, args: HypervisorArgs, recipe: ImageRecipe) -> PreparedImage:
        """After the claim: the machine that makes it gets an address of the network's DHCP server, and none of the stack's."""
        return PreparedImage(
            f"{name}-prepared-image",
            prepared_image_args(
                pool=image_pool(args.pool),
                image=args.image,
                network=args.network,
                machine=args.machine,
                recipe=recipe,
                machines=args.machines,
                disks=[args.pool.volume(root_volume(node)) for node in args.machines],
                extra_disks=[self.artifacts.path] if self.artifacts else [],
            ),
            ResourceOptions(parent=self, depends_on=[self.pool, *([self.dhcp] if self.dhcp else []), *args.after]),
        )


def prepared_image_args(
    *,
    pool: PoolPlan,
    image: ImagePlan,
    network: Network,
    machine: Machine,
    recipe: ImageRecipe,
    machines: Mapping[str, str],
    disks: Sequence[str],
    extra_disks: Sequence[Input[str]],
) -> PreparedImageArgs:
    """Inputs of the prepared image in the pool of images."""
    return PreparedImageArgs(
        uri=pool.uri,
        pool=pool.name,
        pool_uuid=pool.uuid,
        pool_path=pool.path,
        digest=recipe.digest,
        name=recipe.volume,
        base=image.name,
        source=image.source,
        checksum=image.checksum,
        format=image.format,
        firmware=_firmware_input(image.firmware),
        secure_boot=machine.secure_boot or None,
        capacity=recipe.capacity,
        user_data=recipe.user_data,
        machines=machines,
        disks=list(disks),
        required=recipe.required,
        memory_mib=recipe.memory,
        cpus=recipe.cpus,
        network=network.libvirt_name,
        bridge=network.bridge_name,
        nic_port=first_nic_port(network) or None,
        interface=network.interface,
        mtu=network.mtu,
        extra_disks=list(extra_disks),
        virt_type=machine.virt_type,
        cpu_mode=machine.cpu_mode,
        cpu_model=machine.cpu_model,
        machine=machine.machine_type,
        limit=recipe.limit,
    )


def _pool_args(pool: PoolPlan, args: HypervisorArgs) -> StoragePoolArgs:
    return StoragePoolArgs(
        uri=pool.uri,
        name=pool.name,
        uuid=pool.uuid,
        path=pool.path,
        owner=args.owner,
        data_disks=sorted({disk.volume for disk in args.data_disks if disk.pool == pool.name}),
    )


def _firmware_input(firmware: str) -> str | None:
    return firmware if firmware == "efi" else None
