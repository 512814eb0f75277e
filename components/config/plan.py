"""The plan of a stack: names, identities, addresses, paths and versions, computed from settings alone.

Pure: no Pulumi, no libvirt, no clock, no randomness. Everything here is known in every preview, which is why a second
preview has no unknown values: addresses, MACs and UUIDs are inputs of what is created, never its outputs
(docs/how-it-works.md, "Identity is an input").
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from components.config import node_labels
from components.config.addresses import AddressRange, merge
from components.config.settings import NodeGroup, NodeOverride, Settings, Workload

# Namespace of all UUIDs made here: uuid5(NAMESPACE_URL, "https://k3s-macvlan.dev").
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://k3s-macvlan.dev")

# From these releases on, containerd searches data/cni and no longer data/current/bin (k3s pull requests 10868, 10869).
_NEW_CNI_DIRECTORY = {28: 15, 29: 10, 30: 6, 31: 2}

# What Kubernetes makes itself.
_FIRST_NAMESPACES = frozenset({"default", "kube-node-lease", "kube-public", "kube-system"})

GIB = 2**30
API_PORT = 6443

# Certificates name this many servers from the start, so that adding one restarts no other (etcd advises 7 at most).
_FORESEEN_SERVERS = 7


@dataclass(frozen=True, kw_only=True)
class PoolPlan:
    """The stack's storage pool on one hypervisor."""

    hypervisor: str
    uri: str
    name: str
    uuid: str
    path: str

    def volume(self, name: str) -> str:
        """Path of a volume of this pool on the hypervisor."""
        return f"{self.path}/{name}"


@dataclass(frozen=True, kw_only=True)
class NodePlan:
    """One node: identity, place, size."""

    name: str  # in Kubernetes and in settings: server-1, agent-2
    domain: str  # in libvirt, and the host name: <project>-<stack>-server-1
    role: str  # server or agent
    index: int  # from 0, within its role
    uuid: str
    mac: str
    address: IPv4Address
    pool: PoolPlan
    cpus: int
    memory: int  # MiB
    disk: int  # bytes
    labels: tuple[str, ...]  # key=value, those that the kubelet sets itself
    api_labels: tuple[tuple[str, str], ...]  # (key, value), those that only somebody else may set, through the API
    taints: tuple[str, ...]  # key=value:Effect
    slice: AddressRange  # macvlan addresses this node may give out
    access_address: IPv4Address | None  # of the node's own macvlan interface, where nodes reach their own pods
    check_address: IPv4Address | None  # of the temporary interface of the macvlan check; no two nodes use the same

    @property
    def first(self) -> bool:
        """The server that starts the cluster."""
        return self.role == "server" and self.index == 0


@dataclass(frozen=True, kw_only=True)
class PodPlan:
    """One pod on the network: its name, and the node it is bound to, if any."""

    name: str
    node: NodePlan | None


@dataclass(frozen=True, kw_only=True)
class CniPaths:
    """Where CNI lives on the nodes."""

    bin: str
    conf: str

    @property
    def multus_kubeconfig(self) -> str:
        return f"{self.conf}/multus.d/multus.kubeconfig"


@dataclass(frozen=True, kw_only=True)
class ImagePlan:
    """The base image as a volume, named by what identifies its content."""

    name: str
    source: str
    checksum: str
    format: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything computed from a stack's settings."""

    project: str
    stack: str
    owner: str  # the mark on what is ours: project/stack
    nodes: tuple[NodePlan, ...]
    pools: tuple[PoolPlan, ...]
    pods: tuple[PodPlan, ...]
    image: ImagePlan
    claims: tuple[AddressRange, ...]  # taken out of the network's DHCP range
    api_names: tuple[str, ...]  # addresses of the servers, those that further ones would get, and k3s.apiAddress
    cni: CniPaths
    master: str  # parent interface of the pods' interfaces
    namespaces: tuple[str, ...]  # of Kubernetes, that the settings name and a new cluster does not have

    @property
    def servers(self) -> tuple[NodePlan, ...]:
        return tuple(node for node in self.nodes if node.role == "server")

    @property
    def agents(self) -> tuple[NodePlan, ...]:
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
    return ImagePlan(name=name, source=image.source, checksum=image.checksum, format=image.format)


def _node_names(role: str, count: int) -> list[str]:
    return [f"{role}-{index + 1}" for index in range(count)]


def _counted(addresses: AddressRange, role: str, index: int) -> IPv4Address:
    """Servers up from the start of the range, agents down from its end: a new node moves no other."""
    # Past the end of all addresses it stays there: conflicts.py tells of a range that is too small.
    counted = int(addresses.first) + index if role == "server" else int(addresses.last) - index
    return IPv4Address(max(0, min(counted, 2**32 - 1)))


def _access_address(settings: Settings, role: str, index: int) -> IPv4Address | None:
    access = settings.node_access
    return _counted(access.addresses, role, index) if access.enabled and access.addresses else None


def _slice(settings: Settings, role: str, index: int) -> AddressRange:
    """This node's part of the macvlan range, counted like the node addresses; all of it where there are no slices."""
    whole, size = settings.macvlan.range, settings.macvlan.addresses_per_node
    if size is None:
        return whole
    first = _counted(whole, "server", (index if role == "server" else len(whole) // size - 1 - index) * size)
    return AddressRange(first, _counted(AddressRange.single(first), "server", size - 1))


def _check_address(settings: Settings, own: AddressRange, first: bool) -> IPv4Address | None:
    """Free when it is checked: the set address on a node alone, and where there are slices the end of the node's own.

    Nodes that share one range (static addresses) are not told apart by it, so only the first is checked.
    """
    check = settings.macvlan_check
    if not check.enabled:
        return None
    if settings.macvlan.addresses_per_node is not None:
        return own.last
    return check.address if first else None


def _nodes(project: str, stack: str, settings: Settings, pools: dict[str, PoolPlan]) -> Iterator[NodePlan]:
    groups: tuple[tuple[str, NodeGroup], ...] = (("server", settings.servers), ("agent", settings.agents))
    for role, group in groups:
        for index, name in enumerate(_node_names(role, group.count)):
            override = group.overrides.get(name, NodeOverride())
            pool = pools.get(override.hypervisor or group.hypervisor)
            own = _slice(settings, role, index)
            labels = {**group.labels, **(override.labels or {})}
            yield NodePlan(
                name=name,
                domain=f"{project}-{stack}-{name}",
                role=role,
                index=index,
                uuid=str(uuid.uuid5(_NAMESPACE, f"{project}/{stack}/{name}")),
                mac=override.mac or mac_address(project, stack, name),
                address=override.address or _counted(settings.network.nodes, role, index),
                pool=pool or next(iter(pools.values())),
                cpus=override.cpus or group.cpus,
                memory=override.memory or group.memory,
                disk=(override.disk or group.disk) * GIB,
                labels=tuple(f"{key}={value}" for key, value in sorted(labels.items()) if node_labels.of_kubelet(key)),
                api_labels=tuple((key, value) for key, value in sorted(labels.items()) if not node_labels.of_kubelet(key)),
                taints=group.taints if override.taints is None else override.taints,
                slice=own,
                access_address=_access_address(settings, role, index),
                check_address=_check_address(settings, own, first=role == "server" and index == 0),
            )


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Addresses of the network that are ours, and the setting that says so."""

    setting: str
    range: AddressRange


def claims(nodes: tuple[NodePlan, ...], settings: Settings) -> tuple[Claim, ...]:
    """All addresses that are ours: the two ranges first, then single addresses, which may lie in a range."""
    names = {node.name for node in nodes}
    found = [
        Claim(setting="network.nodes", range=settings.network.nodes),
        Claim(setting="macvlan.range", range=settings.macvlan.range),
    ]
    groups: tuple[tuple[str, NodeGroup], ...] = (("server", settings.servers), ("agent", settings.agents))
    found += [
        Claim(setting=f"{role}s.overrides.{name}.address", range=AddressRange.single(override.address))
        for role, group in groups
        for name, override in group.overrides.items()
        if override.address and name in names and override.address not in settings.network.nodes
    ]
    if settings.node_access.enabled and settings.node_access.addresses:
        found.append(Claim(setting="nodeAccess.addresses", range=settings.node_access.addresses))
    if settings.workload.address:
        found.append(Claim(setting="workload.address", range=AddressRange.single(settings.workload.address)))
    if settings.macvlan_check.enabled and settings.macvlan_check.address:
        found.append(Claim(setting="macvlanCheck.address", range=AddressRange.single(settings.macvlan_check.address)))
    api = api_address(settings)
    # What network.exclude names has another machine, a load balancer say.
    if api is not None and api in settings.network.cidr and not any(api in each for each in settings.network.exclude):
        found.append(Claim(setting="k3s.apiAddress", range=AddressRange.single(api)))
    return tuple(found)


def api_address(settings: Settings) -> IPv4Address | None:
    """k3s.apiAddress where it is an address and not a host name."""
    try:
        return IPv4Address(settings.k3s.api_address)
    except AddressValueError:
        return None


def _api_names(nodes: tuple[NodePlan, ...], settings: Settings) -> tuple[str, ...]:
    present = [node.address for node in nodes if node.role == "server"]
    further = range(len(present), min(_FORESEEN_SERVERS, len(settings.network.nodes)))
    addresses = [*present, *(_counted(settings.network.nodes, "server", index) for index in further)]
    names = [*(str(address) for address in addresses), *([settings.k3s.api_address] if settings.k3s.api_address else [])]
    return tuple(dict.fromkeys(names))


def _pods(nodes: tuple[NodePlan, ...], workload: Workload) -> tuple[PodPlan, ...]:
    if not workload.per_node:
        return (PodPlan(name=workload.name, node=None),)
    return tuple(PodPlan(name=f"{workload.name}-{node.name}", node=node) for node in nodes)


def make(project: str, stack: str, settings: Settings) -> Plan:
    """The plan. Whether it holds is for conflicts.py to say: here an impossible setting only must not raise."""
    pools = {
        name: PoolPlan(
            hypervisor=name,
            uri=hypervisor.uri,
            name=f"{project}-{stack}",
            uuid=str(uuid.uuid5(_NAMESPACE, f"{project}/{stack}/pool/{name}")),
            path=f"{hypervisor.pool_directory.rstrip('/')}/{project}-{stack}",
        )
        for name, hypervisor in sorted(settings.hypervisors.items())
    }
    nodes = tuple(_nodes(project, stack, settings, pools))
    used = {node.pool.hypervisor for node in nodes}
    return Plan(
        project=project,
        stack=stack,
        owner=f"{project}/{stack}",
        nodes=nodes,
        pools=tuple(pool for name, pool in pools.items() if name in used),
        pods=_pods(nodes, settings.workload),
        image=image_plan(settings),
        claims=tuple(merge(claim.range for claim in claims(nodes, settings))),
        api_names=_api_names(nodes, settings),
        cni=CniPaths(
            bin=settings.k3s.cni_bin_directory or cni_bin_directory(settings.k3s.version),
            conf=settings.k3s.cni_conf_directory,
        ),
        master=settings.macvlan.master or settings.network.interface,
        namespaces=tuple(
            sorted({settings.multus.namespace, settings.macvlan.namespace, settings.workload.namespace} - _FIRST_NAMESPACES)
        ),
    )


def images(plan: Plan, settings: Settings, node: NodePlan) -> tuple[str, ...]:
    """Images that pods on this node will surely need: not that of a pod that may run elsewhere."""
    here = any(pod.node is node or len(plan.nodes) == 1 for pod in plan.pods)
    return (settings.multus.image, *([settings.workload.image] if here else []))


def with_prefix(network: IPv4Network, address: IPv4Address) -> str:
    """Address with prefix length, as CNI and `ip` write it: 192.168.122.205/24."""
    return f"{address}/{network.prefixlen}"
