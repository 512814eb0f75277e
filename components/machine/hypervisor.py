"""Hypervisor: what the stack keeps on one libvirt host for all of its machines there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pulumi import ComponentResource, Resource, ResourceOptions

from components.config.addresses import AddressRange
from components.config.artifacts import ArtifactSet
from components.config.plan import ImagePlan
from components.config.pool_plan import PoolPlan
from components.config.settings import Network
from components.libvirt.artifact_disk import ArtifactDisk, ArtifactDiskArgs
from components.libvirt.base_image import BaseImage, BaseImageArgs
from components.libvirt.dhcp_claim import DhcpClaim, DhcpClaimArgs
from components.libvirt.pool import StoragePool, StoragePoolArgs


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


class Hypervisor(ComponentResource):
    """What all machines on one libvirt host share: the stack's storage pool, in it the base image and the disk with the nodes'
    artifacts, and the claim on the network's addresses.
    """

    pool: StoragePool
    pools: dict[str, StoragePool]
    """All pools of the stack's own by their names in libvirt."""
    image: BaseImage
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
        self.pool = StoragePool(
            f"{name}-pool",
            StoragePoolArgs(uri=pool.uri, name=pool.name, uuid=pool.uuid, path=pool.path, owner=args.owner),
            ResourceOptions.merge(own, ResourceOptions(depends_on=list(args.after))),
        )
        self.pools = {pool.name: self.pool}
        for data_pool in args.data_pools:
            self.pools[data_pool.name] = StoragePool(
                f"{name}-pool-{data_pool.name.removeprefix(pool.name + '-')}",
                StoragePoolArgs(uri=data_pool.uri, name=data_pool.name, uuid=data_pool.uuid, path=data_pool.path, owner=args.owner),
                ResourceOptions.merge(own, ResourceOptions(depends_on=list(args.after))),
            )
        # With the pool all marked volumes in it are deleted at once, in place of one after another by providers of their own.
        in_pool = ResourceOptions.merge(own, ResourceOptions(deleted_with=self.pool))
        self.image = BaseImage(
            f"{name}-image",
            BaseImageArgs(
                uri=pool.uri,
                pool=self.pool.name,
                name=args.image.name,
                path=pool.volume(args.image.name),
                source=args.image.source,
                checksum=args.image.checksum,
                format=args.image.format,
                firmware=self.firmware if self.firmware == "efi" else None,
            ),
            in_pool,
        )
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
        self.register_outputs({"pool": self.pool.name, "image": self.image.name})
