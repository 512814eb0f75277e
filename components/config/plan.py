"""The plan of a stack: names, identities, addresses, paths and versions, computed from settings alone.

Pure: no Pulumi, no libvirt, no clock, no randomness. Everything here is known in every preview, which is why a second
preview has no unknown values: addresses, MACs and UUIDs are inputs of what is created, never its outputs
(docs/how-it-works.md, "Identity is an input").
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from components.config import devices, disk_plan, disks, nic_plan, node_labels
from components.config.addresses import AddressRange, merge
from components.config.devices import DevicePlan
from components.config.disk_plan import DiskPlan
from components.config.firmware import firmware
from components.config.network_plan import (
    AttachmentPlan,
    NetworkPlan,
    NodeNetworkPlan,
    attachments,
    counted,
    networks,
    node_networks,
)
from components.config.nic_plan import NicPlan
from components.config.pool_plan import PoolPlan, data_pool, main_pool, uuid_of
from components.config.settings import NodeOverride, Settings, node_names

# From these releases on, containerd searches data/cni and no longer data/current/bin (k3s pull requests 10868, 10869).
_NEW_CNI_DIRECTORY = {28: 15, 29: 10, 30: 6, 31: 2}

# Those of every new cluster.
_FIRST_NAMESPACES = frozenset({"default", "kube-node-lease", "kube-public", "kube-system"})

GIB = 2**30
API_PORT = 6443

# Certificates name this many servers from the start, so that adding one restarts no other (etcd advises 7 at most).
_FORESEEN_SERVERS = 7


@dataclass(frozen=True, kw_only=True)
class NodePlan:
    """One node: identity, place, size."""

    name: str
    """In Kubernetes and in settings: server-1, agent-2."""
    domain: str
    """The domain in libvirt, and the host name: <project>-<stack>-server-1."""
    role: str
    """server or agent."""
    index: int
    """From 0, within its role."""
    uuid: str
    """Of the domain in libvirt."""
    mac: str
    """Of the network interface, as 52:54:00:ab:00:01."""
    address: IPv4Address
    """On the network."""
    pool: PoolPlan
    """Where its disks are, and so its hypervisor."""
    cpus: int
    """Virtual CPUs."""
    memory: int
    """In MiB."""
    disk: int
    """Size of the root disk in bytes."""
    labels: tuple[str, ...]
    """key=value: those that the kubelet sets itself."""
    api_labels: tuple[tuple[str, str], ...]
    """(key, value): those that the kubelet may not set, so that they are set through the API."""
    taints: tuple[str, ...]
    """key=value:Effect."""
    images: tuple[str, ...]
    """Images to pull while K3s is installed: those that pods on it will surely need, not that of a pod that may run elsewhere."""
    networks: tuple[NodeNetworkPlan, ...]
    """The networks for pods on it, in the plan's order."""
    devices: tuple[DevicePlan, ...]
    """Devices of the hypervisor that its machine is given, by name."""
    nics: tuple[NicPlan, ...] = ()
    """Its network interfaces beyond the first."""
    disks: tuple[DiskPlan, ...] = ()
    """Its data disks, by name."""

    @property
    def k3s_disk(self) -> DiskPlan | None:
        """The data disk that has K3s's data (k3s.dataDisk), where it has one."""
        return next((disk for disk in self.disks if disk.of_k3s), None)

    @property
    def first(self) -> bool:
        """Whether it is the server that starts the cluster."""
        return self.role == "server" and self.index == 0


@dataclass(frozen=True, kw_only=True)
class PodPlan:
    """One pod on the network."""

    name: str
    """In Kubernetes."""
    node: NodePlan | None
    """The node it is bound to; None: it may run on any."""
    attachments: tuple[AttachmentPlan, ...]
    """The networks that it is on, net1 first."""


@dataclass(frozen=True, kw_only=True)
class CniPaths:
    """Where CNI lives on the nodes."""

    bin: str
    """Directory of the plugins."""
    conf: str
    """Directory of the configuration."""

    @property
    def multus_kubeconfig(self) -> str:
        """The file with which Multus reaches the API."""
        return f"{self.conf}/multus.d/multus.kubeconfig"


@dataclass(frozen=True, kw_only=True)
class ImagePlan:
    """The base image as a volume."""

    name: str
    """Of the volume, made from what identifies its content: base-<digest>.qcow2."""
    source: str
    """URL, or path on this machine."""
    checksum: str
    """sha256:<hex>, sha512:<hex>, or the URL of a checksum file that names the image."""
    format: str
    """qcow2 or raw."""
    firmware: str
    """bios or efi: what machines with it boot by."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything computed from a stack's settings."""

    project: str
    """The project's name."""
    stack: str
    """The stack's name."""
    owner: str
    """project/stack, the mark on what this program manages."""
    nodes: tuple[NodePlan, ...]
    """Servers first, each role by index."""
    pools: tuple[PoolPlan, ...]
    """One for each hypervisor with a node."""
    data_pools: tuple[PoolPlan, ...]
    """Further pools of the stack's own, for data disks in directories that the settings name."""
    pods: tuple[PodPlan, ...]
    """The pods on the network."""
    image: ImagePlan
    """The base image of all nodes."""
    claims: tuple[AddressRange, ...]
    """Addresses of the network that are the stack's, to be taken out of its DHCP ranges."""
    api_address: str
    """Where clients reach the API: k3s.apiAddress, k3s.virtualAddress, or the first server's address."""
    join_address: str
    """By what the servers after the first and the agents join: k3s.virtualAddress, else `api_address`."""
    api_names: tuple[str, ...]
    """What the API's certificates hold: addresses of the servers, those that further ones would get, k3s.virtualAddress and
    k3s.apiAddress."""
    cni: CniPaths
    """CNI directories on the nodes."""
    networks: tuple[NetworkPlan, ...]
    """The networks for pods: the nodes' own first, then by name."""
    plugins: tuple[str, ...]
    """CNI plugins to install: those that the networks need, and plugins.names."""
    namespaces: tuple[str, ...]
    """Of Kubernetes: those that the settings name and a new cluster does not have."""

    @property
    def servers(self) -> tuple[NodePlan, ...]:
        """The nodes with the control plane, the first one first."""
        return tuple(node for node in self.nodes if node.role == "server")

    @property
    def agents(self) -> tuple[NodePlan, ...]:
        """The other nodes."""
        return tuple(node for node in self.nodes if node.role == "agent")


def cni_bin_directory(k3s_version: str) -> str:
    """The directory in which containerd of this K3s release (v1.27.8+k3s2) searches plugins."""
    minor, patch = k3s_release(k3s_version)
    new = patch >= _NEW_CNI_DIRECTORY[minor] if minor in _NEW_CNI_DIRECTORY else minor > max(_NEW_CNI_DIRECTORY)
    return "/var/lib/rancher/k3s/data/cni" if new else "/var/lib/rancher/k3s/data/current/bin"


def k3s_release(k3s_version: str) -> tuple[int, int]:
    """(27, 8) of v1.27.8+k3s2."""
    minor, patch = re.match(r"v1\.(\d+)\.(\d+)", k3s_version).groups()  # type: ignore[union-attr]
    return int(minor), int(patch)


def mac_address(*identity: str) -> str:
    """A MAC address from a name, in QEMU's own range 52:54:00."""
    digest = hashlib.sha256("/".join(identity).encode()).hexdigest()
    return "52:54:00:" + ":".join(digest[i : i + 2] for i in (0, 2, 4))


def image_plan(settings: Settings) -> ImagePlan:
    """The base image's volume. Its name holds the digest, or, where only the URL of a checksum file is given, a digest of
    both URLs: another content then needs another name, so a changed image never slips under existing disks."""
    image = settings.image
    algorithm, _, digest = image.checksum.partition(":")
    if algorithm not in ("sha256", "sha512"):
        digest = hashlib.sha256(f"{image.source} {image.checksum}".encode()).hexdigest()
    name = f"base-{digest[:20]}.{image.format}"
    return ImagePlan(name=name, source=image.source, checksum=image.checksum, format=image.format, firmware=firmware(settings))


def _nodes(
    project: str, stack: str, settings: Settings, pools: dict[str, PoolPlan], planned: tuple[NetworkPlan, ...]
) -> Iterator[NodePlan]:
    images = {role: _images(settings, role) for role, _ in settings.groups}
    nics = nic_plan.plans(settings, lambda node, nic: mac_address(project, stack, node, nic))
    count = settings.servers.count + settings.agents.count
    for role, group in settings.groups:
        for index, name in enumerate(node_names(role, group.count)):
            override = group.overrides.get(name, NodeOverride())
            pool = pools.get(override.hypervisor or group.hypervisor)
            labels = {**group.labels, **(override.labels or {})}
            given = devices.planned(role, name, group.devices, override.devices)
            api_labels = {key: value for key, value in labels.items() if not node_labels.of_kubelet(key)} | devices.labels(given)
            pool = pool or next(iter(pools.values()))
            yield NodePlan(
                name=name,
                domain=f"{project}-{stack}-{name}",
                role=role,
                index=index,
                uuid=uuid_of(f"{project}/{stack}/{name}"),
                mac=override.mac or mac_address(project, stack, name),
                address=override.address or counted(settings.network.nodes, role, index),
                pool=pool,
                cpus=override.cpus or group.cpus,
                memory=override.memory or group.memory,
                disk=(override.disk or group.disk) * GIB,
                labels=tuple(f"{key}={value}" for key, value in sorted(labels.items()) if node_labels.of_kubelet(key)),
                api_labels=tuple(sorted(api_labels.items())),
                taints=group.taints if override.taints is None else override.taints,
                images=images[role],
                networks=node_networks(planned, role, index, count),
                devices=given,
                nics=nics[name],
                disks=tuple(
                    disk_plan.plans(
                        name,
                        f"{project}-{stack}-{name}",
                        disks.of_node(group.disks, override.disks),
                        main=pool,
                        in_directory=partial(data_pool, project, stack, pool),
                        of_k3s=settings.k3s.data_disk,
                    )
                ),
            )


def _data_pools(nodes: tuple[NodePlan, ...]) -> tuple[PoolPlan, ...]:
    own = {disk.own_pool for node in nodes for disk in node.disks if disk.own_pool and disk.own_pool != node.pool}
    return tuple(sorted(own, key=lambda pool: (pool.hypervisor, pool.name)))


def _images(settings: Settings, role: str) -> tuple[str, ...]:
    """The most urgent first: until the virtual address is there, no other node joins."""
    virtual = role == "server" and settings.k3s.virtual_address is not None
    everywhere = settings.workload.per_node or settings.servers.count + settings.agents.count == 1
    first = [settings.k3s.kube_vip.image] if virtual else []
    return (*first, settings.multus.image, *([settings.workload.image] if everywhere else []))


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Addresses that are the stack's."""

    setting: str
    """Path of the setting that says so."""
    range: AddressRange
    """The addresses."""
    link: str
    """Interface of the nodes that they are on: addresses on two links do not meet."""
    network: NetworkPlan | None = None
    """The network for pods that they are of; None: the nodes'."""

    @property
    def of_nodes(self) -> bool:
        """Whether they are of the nodes' own network."""
        return self.network is None or self.network.of_nodes


def claims(nodes: tuple[NodePlan, ...], planned: tuple[NetworkPlan, ...], settings: Settings) -> tuple[Claim, ...]:
    """All addresses that are the stack's, over all segments: ranges of nodes first, then those of networks, each with its single
    addresses, which may lie in a range."""
    names = {node.name for node in nodes}
    interface = settings.network.interface
    claimed = [Claim(setting="network.nodes", range=settings.network.nodes, link=interface)]
    claimed += [
        Claim(setting=f"{role}s.overrides.{name}.address", range=AddressRange.single(override.address), link=interface)
        for role, group in settings.groups
        for name, override in group.overrides.items()
        if override.address and name in names and override.address not in settings.network.nodes
    ]
    virtual = virtual_api_address(settings)
    # What network.exclude names has another machine, a load balancer say.
    if virtual and virtual in settings.network.cidr and not any(virtual in excluded for excluded in settings.network.exclude):
        claimed.append(Claim(setting="k3s.apiAddress", range=AddressRange.single(virtual), link=interface))
    if settings.k3s.virtual_address is not None:
        own = AddressRange.single(settings.k3s.virtual_address)
        claimed.append(Claim(setting="k3s.virtualAddress", range=own, link=interface))
    for network in planned:
        claimed += _network_claims(network)
    return tuple(claimed)


def _network_claims(network: NetworkPlan) -> Iterator[Claim]:
    own = network.settings
    if own.range is not None:
        yield Claim(setting=f"{network.path}.range", range=own.range, link=network.link, network=network)
    if own.node_access is not None:
        yield Claim(setting=f"{network.path}.nodeAccess", range=own.node_access, link=network.link, network=network)
    for name, booked in own.addresses.items():
        # With dhcp the address is the DHCP server's to give.
        if booked.ip is not None and own.ipam != "dhcp":
            setting = f"{network.path}.addresses.{name}.ip"
            yield Claim(setting=setting, range=AddressRange.single(booked.ip), link=network.link, network=network)


def virtual_api_address(settings: Settings) -> IPv4Address | None:
    """k3s.apiAddress where it is an address and not a host name."""
    try:
        return IPv4Address(settings.k3s.api_address)
    except AddressValueError:
        return None


def _api_names(nodes: tuple[NodePlan, ...], settings: Settings) -> tuple[str, ...]:
    present = [node.address for node in nodes if node.role == "server"]
    further = range(len(present), min(_FORESEEN_SERVERS, len(settings.network.nodes)))
    addresses = [*present, *(counted(settings.network.nodes, "server", index) for index in further)]
    names = [*addresses, settings.k3s.virtual_address, settings.k3s.api_address]
    return tuple(dict.fromkeys(str(name) for name in names if name))


def _pods(nodes: tuple[NodePlan, ...], planned: tuple[NetworkPlan, ...], settings: Settings) -> tuple[PodPlan, ...]:
    name = settings.workload.name
    named = [(f"{name}-{node.name}", node) for node in nodes] if settings.workload.per_node else [(name, None)]
    return tuple(PodPlan(name=pod, node=node, attachments=attachments(planned, settings, pod)) for pod, node in named)


def _plugins(planned: tuple[NetworkPlan, ...], settings: Settings) -> tuple[str, ...]:
    needed = {plugin for network in planned for plugin in network.settings.plugins}
    return tuple(sorted(needed.union(settings.plugins.names)))


def main_pools(project: str, stack: str, settings: Settings) -> dict[str, PoolPlan]:
    """By name of each hypervisor in the settings, the stack's own pool there, also where no node is."""
    return {
        name: main_pool(project, stack, name, uri=hypervisor.uri, directory=hypervisor.pool_directory)
        for name, hypervisor in sorted(settings.hypervisors.items())
    }


def make(project: str, stack: str, settings: Settings) -> Plan:
    """The plan of any settings, also of impossible ones, for which conflicts.py reports what contradicts itself."""
    pools = main_pools(project, stack, settings)
    planned = networks(settings)
    nodes = tuple(_nodes(project, stack, settings, pools, planned))
    used = {node.pool.hypervisor for node in nodes}
    return Plan(
        project=project,
        stack=stack,
        owner=f"{project}/{stack}",
        nodes=nodes,
        pools=tuple(pool for name, pool in pools.items() if name in used),
        data_pools=_data_pools(nodes),
        pods=_pods(nodes, planned, settings),
        image=image_plan(settings),
        claims=tuple(merge(claim.range for claim in claims(nodes, planned, settings) if claim.of_nodes)),
        api_address=settings.k3s.api_address or str(settings.k3s.virtual_address or nodes[0].address),
        join_address=str(settings.k3s.virtual_address or settings.k3s.api_address or nodes[0].address),
        api_names=_api_names(nodes, settings),
        cni=CniPaths(
            bin=settings.k3s.cni_bin_directory or cni_bin_directory(settings.k3s.version),
            conf=settings.k3s.cni_conf_directory,
        ),
        networks=planned,
        plugins=_plugins(planned, settings),
        namespaces=tuple(
            sorted(
                {settings.multus.namespace, settings.workload.namespace, *(network.settings.namespace for network in planned)}
                - _FIRST_NAMESPACES
            )
        ),
    )


def with_prefix(network: IPv4Network, address: IPv4Address) -> str:
    """Address with prefix length, as CNI and `ip` write it: 192.168.122.205/24."""
    return f"{address}/{network.prefixlen}"
