"""Conflicts of networks for pods: with nodes, with the cluster, with the pod, with each other. Pure.

As in conflicts.py, of which this is a part, each names the settings it follows from.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import NamedTuple

from components.config.addresses import AddressRange, Ipv6Range
from components.config.network_plan import NetworkPlan
from components.config.plan import Claim, Plan, claims, k3s_release
from components.config.pod_networks import CHAINED_PLUGINS, IPV6_MTU, StaticIpv6
from components.config.problems import Problem, following, presence
from components.config.settings import Settings
from components.config.value_types import INTERFACE_PATTERN, K3S_PLUGINS

# What Ethernet carries, and a NIC has unless something gives it another.
ETHERNET_MTU = 1500

# What the plugins' releases know (containernetworking/plugins: go.mod of each; v1.6.0 has libcni 1.2 with CNI 1.1.0).
_CNI_1_1_PLUGINS = (1, 6)
# K3s's own host-local is of plugins v1.6.0 from here on (k3s: scripts/version.sh).
_CNI_1_1_K3S = 32


def conflicts(plan: Plan, settings: Settings) -> Iterator[Problem]:
    for network in plan.networks:
        yield from _missing(network)
        yield from _subnet(network, plan, settings)
        yield from _ipv6(network)
        yield from _slices(network, settings)
        yield from _link(network, settings)
        yield from _routes(network, settings)
        yield from _cni_version(network, settings)
        yield from _chained(network, settings)
    yield from _links_shared(plan)
    yield from _reserved(plan, settings)
    yield from _ipv6_shared(plan)
    yield from _macs(plan, settings)
    yield from _workload(plan, settings)
    yield from _proof(plan, settings)


def warnings(plan: Plan, settings: Settings) -> Iterator[str]:
    """What is allowed and seldom wanted."""
    for network in plan.networks:
        own = network.settings
        if own.default_route:
            yield (
                f"{network.path}.defaultRoute: pods on this network reach neither ClusterIP services nor cluster DNS, because "
                "their default route leaves by its interface; machines of the same network need no route to reach them, and others "
                "are answered by replies: by-source"
            )
        if own.cluster_routes:
            yield from (
                f"{network.path}.routes: {route} covers {setting} {covered}, so pods on this network do not reach it through the "
                "cluster"
                for route, setting, covered in _covering(network, settings)
            )


# --- addresses --------------------------------------------------------------------------------------------------------


def _missing(network: NetworkPlan) -> Iterator[Problem]:
    """What each kind of IPAM needs."""
    own, path = network.settings, network.path
    if own.ipam == "host-local" and own.range is None:
        conflict = "is needed with ipam host-local: addresses that it may give to pods, as 192.168.122.200-192.168.122.210; set it"
        yield following(f"{path}.range", "", conflict, f"{path}.ipam")
    if own.ipam == "host-local" and isinstance(own.ipv6, StaticIpv6) and own.ipv6.range is None:
        conflict = "is needed with ipam host-local: IPv6 addresses that it may give to pods, as fd00:50::100-fd00:50::1ff; set it"
        yield following(f"{path}.ipv6.range", "", conflict, f"{path}.ipam")
    for name, booked in own.addresses.items():
        if own.ipam == "static" and booked.ip is None:
            conflict = "is needed with ipam static, which gives out no addresses; set it"
            yield following(f"{path}.addresses.{name}.ip", "", conflict, f"{path}.ipam")


def _cidr_is_missing(network: NetworkPlan, settings: Settings) -> bool:
    """Whether the network is on other wires than the nodes, and its addresses are not set."""
    own = network.settings
    return own.cidr is None and (own.vlan is not None or network.parent != settings.network.interface)


def _subnet_of(network: NetworkPlan) -> tuple[str, tuple[str, ...]]:
    """The setting that gives the network's subnet, and those that a conflict with it follows from."""
    path, own = network.path, network.settings
    if own.cidr is not None:
        return f"{path}.cidr", (f"{path}.cidr",)
    # The nodes', because it is on their wires.
    where = (f"{path}.vlan", f"{path}.parent", *(("network.interface",) if own.parent is not None else ()))
    return "network.cidr", ("network.cidr", f"{path}.cidr", *where)


def _subnet(network: NetworkPlan, plan: Plan, settings: Settings) -> Iterator[Problem]:
    """The network's own subnet, and what of it the stack claims."""
    own, path = network.settings, network.path
    subnet, sources = _subnet_of(network)
    without = _cidr_is_missing(network, settings)
    if without:
        where = f"VLAN {own.vlan}" if own.vlan is not None else f"another interface, {network.parent}"
        conflict = f"is needed for a network on {where}, whose addresses are not those of the nodes; set it"
        yield following(f"{path}.cidr", "", conflict, f"{path}.vlan", f"{path}.parent", "network.interface")
    nodes = settings.network
    if own.cidr is not None and network.link == nodes.interface and own.cidr != nodes.cidr and own.cidr.overlaps(nodes.cidr):
        conflict = f"overlaps network.cidr {nodes.cidr}, the subnet of the same wires, and is another; leave it out, or correct one"
        reads = ("network.cidr", f"{path}.vlan", f"{path}.parent", "network.interface")
        yield following(f"{path}.cidr", str(own.cidr), conflict, *reads)
        return
    if own.gateway is not None and own.gateway not in network.cidr and not without:
        conflict = f"is outside {subnet} {network.cidr}; correct one of them"
        yield following(f"{path}.gateway", str(own.gateway), conflict, *sources)
    gateway = own.gateway if without else network.gateway
    if gateway is None and own.ipam != "dhcp":
        for needs, wanted in (("defaultRoute", own.default_route), ("replies", own.replies == "by-source")):
            if wanted:
                conflict = f"needs the network's router, and {path}.gateway is not set; set it"
                yield following(f"{path}.{needs}", "", conflict, f"{path}.gateway", *sources)
    for setting, value in (("k3s.podCidr", settings.k3s.pod_cidr), ("k3s.serviceCidr", settings.k3s.service_cidr)):
        if own.cidr is not None and own.cidr.overlaps(value):
            conflict = (
                f"overlaps {setting} {value}, so pods would send what is for the cluster to this network; choose another {setting}"
            )
            yield following(f"{path}.cidr", str(own.cidr), conflict, setting)
    count = settings.servers.count + settings.agents.count
    if own.node_access is not None and count > len(own.node_access):
        conflict = f"holds {len(own.node_access)} addresses for {count} nodes; widen it"
        yield following(f"{path}.nodeAccess", str(own.node_access), conflict, "servers.count", "agents.count")
    if own.node_access is not None and own.ipam == "dhcp" and network.node_subnet and not network.booked:
        conflict = (
            "would take the node's own connections with it: with ipam dhcp every address of the network may be a pod's, and the "
            "node has an address there too; book the pods' addresses (addresses.NAME with ip and mac), to which alone it is then a "
            "way, or remove it"
        )
        yield following(f"{path}.nodeAccess", str(own.node_access), conflict, f"{path}.ipam", f"{path}.addresses", *sources)
    if not without:
        for claim in _network_claims(network, plan, settings):
            yield from _claim(claim, network, settings.network.exclude)


def _network_claims(network: NetworkPlan, plan: Plan, settings: Settings) -> list[Claim]:
    return [claim for claim in claims(plan.nodes, (network,), settings) if claim.network is network]


class Router(NamedTuple):
    """A router, whose address nobody else may have."""

    setting: str
    address: IPv4Address
    sources: tuple[str, ...]
    """The settings that say its address."""


def unfit(
    addresses: AddressRange,
    cidr: IPv4Network,
    subnet: str,
    sources: tuple[str, ...],
    *,
    router: Router | None,
    exclude: tuple[AddressRange, ...],
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(conflict, the settings that it follows from) for addresses that are not in their subnet, or that others have.

    subnet: the setting that gives `cidr`. sources: what a conflict with that follows from. An element of a list has none.
    """
    if not addresses.within(cidr):
        conflict = f"is not inside {subnet} {cidr}; choose addresses of this network"
        yield conflict, sources
    unavailable = [
        *([(f"{router.setting} {router.address}", AddressRange.single(router.address), router.sources)] if router else []),
        (f"the network address of {cidr}", AddressRange.single(cidr.network_address), sources),
        (f"the broadcast address of {cidr}", AddressRange.single(cidr.broadcast_address), sources),
        *((f"{item.shortest} of network.exclude", item, ()) for item in exclude),
    ]
    for description, others, reads in unavailable:
        if addresses.overlaps(others):
            conflict = f"holds {description}, which is not ours to give; move or shorten it"
            yield conflict, reads


def _claim(claim: Claim, network: NetworkPlan, exclude: tuple[AddressRange, ...]) -> Iterator[Problem]:
    """Where addresses of the network are not in its subnet, or others have them."""
    subnet, sources = _subnet_of(network)
    own_gateway = f"{network.path}.gateway"
    gateway = own_gateway if network.settings.gateway is not None else "network.gateway"
    router = Router(gateway, network.gateway, (gateway, own_gateway, *sources)) if network.gateway is not None else None
    for conflict, others in unfit(claim.range, network.cidr, subnet, sources, router=router, exclude=exclude):
        yield following(claim.setting, claim.range.shortest, conflict, *others)


def _reservations(network: NetworkPlan) -> list[Claim]:
    """Addresses that the network's DHCP server has reserved. They are no claims of the stack: the server gives them."""
    if network.settings.ipam != "dhcp":
        return []
    return [
        Claim(
            setting=f"{network.path}.addresses.{name}.ip",
            range=AddressRange.single(booked.ip),
            link=network.link,
            network=network,
        )
        for name, booked in network.settings.addresses.items()
        if booked.ip is not None
    ]


def _reserved(plan: Plan, settings: Settings) -> Iterator[Problem]:
    """A reservation that nobody else on its link may have. network.exclude may hold it: what the server gives is another's."""
    claimed = claims(plan.nodes, plan.networks, settings)
    earlier: list[Claim] = []
    for network in plan.networks:
        for reservation in _reservations(network):
            if not _cidr_is_missing(network, settings):
                yield from _claim(reservation, network, ())
            for other in (*claimed, *earlier):
                if other.link == reservation.link and other.range.overlaps(reservation.range):
                    conflict = (
                        f"overlaps {other.setting} {other.range.shortest}, so an address could be given twice; move one of them"
                    )
                    links = [*link_of(network), *(link_of(other.network) if other.network else ())]
                    yield following(reservation.setting, reservation.range.shortest, conflict, other.setting, *links)
            earlier.append(reservation)


def link_of(network: NetworkPlan) -> list[str]:
    """The settings that say which link it is on."""
    return [f"{network.path}.parent", f"{network.path}.vlan"]


def _ipv6_claims(network: NetworkPlan) -> Iterator[tuple[str, Ipv6Range]]:
    """(setting, addresses) of all IPv6 addresses that are the network's."""
    own, ipv6 = network.settings, network.settings.ipv6
    if isinstance(ipv6, StaticIpv6) and ipv6.range is not None:
        yield f"{network.path}.ipv6.range", ipv6.range
    for name, booked in own.addresses.items():
        if booked.ipv6 is not None:
            yield f"{network.path}.addresses.{name}.ipv6", Ipv6Range.single(booked.ipv6)


def _ipv6(network: NetworkPlan) -> Iterator[Problem]:
    """The router's address and the subnet's first, at which any router answers (RFC 4291)."""
    ipv6, path = network.settings.ipv6, f"{network.path}.ipv6"
    if not isinstance(ipv6, StaticIpv6):
        return
    for setting, addresses in _ipv6_claims(network):
        if ipv6.gateway is not None and ipv6.gateway in addresses:
            conflict = f"holds {path}.gateway {ipv6.gateway}, which is not ours to give; move or shorten it"
            yield following(setting, addresses.shortest, conflict, f"{path}.gateway")
        if ipv6.cidr.network_address in addresses:
            conflict = f"holds the subnet-router address of {ipv6.cidr}, which is not ours to give; move or shorten it"
            yield following(setting, addresses.shortest, conflict, f"{path}.cidr")


def _ipv6_shared(plan: Plan) -> Iterator[Problem]:
    """IPv6 addresses of two on one link."""
    claimed = [(network, *claim) for network in plan.networks for claim in _ipv6_claims(network)]
    for (one, setting, addresses), (other, other_setting, others) in combinations(claimed, 2):
        if one.link == other.link and addresses.overlaps(others):
            conflict = f"overlaps {setting} {addresses.shortest}, so an address could be given twice; move one of them"
            yield following(other_setting, others.shortest, conflict, setting, *link_of(one), *link_of(other))


def _slices(network: NetworkPlan, settings: Settings) -> Iterator[Problem]:
    own, path = network.settings, network.path
    count = settings.servers.count + settings.agents.count
    whole, size = own.range, own.addresses_per_node
    counted = (f"{path}.ipam", "servers.count", "agents.count")
    if own.ipam != "host-local" or whole is None:
        return
    if size is None and count > 1:
        fit = f"set it to at most {len(whole) // count}" if len(whole) >= count else f"widen it to {count} or more and set this"
        conflict = (
            f"is needed for {count} nodes: host-local counts on each node by itself and would give one address twice; "
            f"{path}.range holds {len(whole)} addresses: {fit}"
        )
        yield following(f"{path}.addressesPerNode", "", conflict, f"{path}.range", *counted)
    if size is not None and size * count > len(whole):
        conflict = (
            f"holds {len(whole)} addresses, but {count} nodes x addressesPerNode {size} = {size * count}; widen it, "
            "or lower addressesPerNode or the number of nodes"
        )
        yield following(f"{path}.range", str(whole), conflict, f"{path}.addressesPerNode", *counted)
    if isinstance(own.ipv6, StaticIpv6) and own.ipv6.range is not None and own.ipv6.range.size < len(whole):
        conflict = (
            f"holds {own.ipv6.range.size} addresses for the {len(whole)} of {path}.range, and each pod gets one of both; widen it"
        )
        yield following(f"{path}.ipv6.range", str(own.ipv6.range), conflict, f"{path}.range", f"{path}.ipam")


# --- interfaces -------------------------------------------------------------------------------------------------------


def _link(network: NetworkPlan, settings: Settings) -> Iterator[Problem]:
    own, path, nodes = network.settings, network.path, settings.network
    reads = (f"{path}.parent", "network.interface")
    if own.vlan is not None and not re.fullmatch(INTERFACE_PATTERN, network.link):
        conflict = (
            f"makes the interface {network.link} on each node, whose name is longer than the 15 characters that Linux takes; give "
            "the parent a shorter name"
        )
        yield following(f"{path}.vlan", str(own.vlan), conflict, *reads)
    if network.parent != nodes.interface:
        return
    if own.mode == "passthru" and own.vlan is None:
        conflict = (
            f"would take {nodes.interface} away from the node itself; name a second interface in {path}.parent, or use mode bridge"
        )
        yield following(f"{path}.mode", "'passthru'", conflict, *reads, f"{path}.vlan")
    parent = nodes.mtu or ETHERNET_MTU
    if own.mtu is not None and own.mtu > parent:
        source = "network.mtu says" if nodes.mtu else "a NIC has as a rule"
        conflict = (
            f"is {own.mtu - parent} bytes above the {parent} of {nodes.interface}, which {source}, and the plugin refuses "
            f"each pod above its parent; set at most {parent}, or network.mtu where the network carries more"
        )
        yield following(f"{path}.mtu", str(own.mtu), conflict, "network.mtu", *reads)
    if own.ipv6 != "ignore" and own.mtu is None and parent < IPV6_MTU:
        conflict = (
            f"needs an MTU of {IPV6_MTU} bytes, and {nodes.interface} has {parent}, which network.mtu says; set more there, or "
            "write ipv6: ignore"
        )
        yield following(f"{path}.ipv6", "", conflict, "network.mtu", f"{path}.mtu", *reads)


def _links_shared(plan: Plan) -> Iterator[Problem]:
    """The kernel lets one driver take an interface's frames: macvlan or ipvlan (EBUSY), and with passthru one interface alone."""
    for one, other in combinations(plan.networks, 2):
        if one.link != other.link:
            continue
        reads = [f"{network.path}.{name}" for network in (one, other) for name in ("parent", "vlan", "type", "mode")]
        if one.settings.type != other.settings.type:
            conflict = (
                f"shares {other.link} with {one.path}, whose type is {one.settings.type}, and the kernel gives an interface to one "
                "of both; take one type, or another parent or VLAN"
            )
            yield following(f"{other.path}.type", repr(other.settings.type), conflict, *reads)
        elif one.settings.type == "ipvlan" and one.settings.mode_or_default != other.settings.mode_or_default:
            conflict = (
                f"shares {other.link} with {one.path}, whose mode is {one.settings.mode_or_default}, and the mode of ipvlan is one "
                "for all on an interface (the last one's); take one mode, or another parent or VLAN"
            )
            yield following(f"{other.path}.mode", repr(other.settings.mode_or_default), conflict, *reads)
        elif "passthru" in (one.settings.mode, other.settings.mode):
            conflict = (
                f"shares {other.link} with {one.path}, and passthru gives an interface to one pod alone; take mode bridge for "
                "both, or another parent or VLAN"
            )
            yield following(f"{other.path}.mode", repr(other.settings.mode_or_default), conflict, *reads)


def _macs(plan: Plan, settings: Settings) -> Iterator[Problem]:
    """MAC addresses of nodes and of all books, each of one machine."""
    overrides = {**settings.servers.overrides, **settings.agents.overrides}
    holders: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for node in plan.nodes:
        own = f"{node.role}s.overrides.{node.name}.mac"
        overridden = node.name in overrides and overrides[node.name].mac is not None
        holders[node.mac.lower()].append((own if overridden else "(stack name)", f"node {node.name}"))
    for network in plan.networks:
        for name, booked in network.settings.addresses.items():
            if booked.mac is not None:
                setting = f"{network.path}.addresses.{name}.mac"
                holders[booked.mac.lower()].append((setting, setting))
    for mac, several in holders.items():
        (first, what), *others = several
        for setting, _ in others:
            if setting.startswith("podNetworks."):
                conflict = f"is the MAC address of {what} too; give one of them another"
                yield following(setting, mac, conflict, first)


# --- routes -----------------------------------------------------------------------------------------------------------


def _covering(network: NetworkPlan, settings: Settings) -> Iterator[tuple[IPv4Network, str, str]]:
    """(route, setting, its value) for each of the cluster's addresses that a route covers or lies in.

    Each route by itself: a set of routes covers what one of them covers.
    """
    nodes = settings.network.nodes
    for route in (item.to for item in network.settings.routes):
        for setting, cluster in (("k3s.podCidr", settings.k3s.pod_cidr), ("k3s.serviceCidr", settings.k3s.service_cidr)):
            if route.overlaps(cluster):
                yield route, setting, str(cluster)
        # A wider one leaves the nodes on-link: the kernel takes the most specific route, which is then the interface's own.
        # Half of all addresses is half of a default route. On another subnet than the nodes' there is no such interface.
        on_link = network.of_nodes and route.prefixlen > 1 and not route.subnet_of(settings.network.cidr)
        if not on_link and AddressRange(route.network_address, route.broadcast_address).overlaps(nodes):
            yield route, "network.nodes", str(nodes)


def _routes(network: NetworkPlan, settings: Settings) -> Iterator[Problem]:
    own, path = network.settings, network.path
    for route, count in Counter(item.to for item in own.routes).items():
        if count > 1:
            # Measured with plugins v1.4.0.
            conflict = (
                f"stands there {count} times, and the second time the plugin refuses the pod (file exists), or, by another next "
                "hop, the first holds no more; write it once"
            )
            yield Problem(f"{path}.routes", str(route), conflict, frozenset({presence(f"{path}.routes")}))
    # None of them by the path of routes: what one contradicts stays true whatever the others are.
    sources = frozenset(_subnet_of(network)[1])
    for item in own.routes if not _cidr_is_missing(network, settings) else ():
        if item.via is not None and item.via not in network.cidr:
            conflict = (
                f"goes via {item.via}, which is outside of the network's own {network.cidr}, so the kernel refuses it; name a "
                "router of this network"
            )
            yield Problem(f"{path}.routes", str(item.to), conflict, sources)
        if item.to == network.cidr:
            conflict = "is the network itself, to which every pod on it has a route already; remove it"
            yield Problem(f"{path}.routes", str(item.to), conflict, sources)
    # With by-source the routes hold for replies alone, which take nothing away from the cluster.
    if own.cluster_routes or own.replies == "by-source":
        return
    for route, setting, covered in _covering(network, settings):
        conflict = (
            f"covers {setting} {covered}, so the pod would send what is meant for the cluster by this network; route "
            f"smaller networks that leave it out, or, if you mean it, set {path}.clusterRoutes: true"
        )
        yield Problem(f"{path}.routes", str(route), conflict, frozenset({setting, f"{path}.clusterRoutes", f"{path}.replies"}))


# --- plugins ----------------------------------------------------------------------------------------------------------


def _cni_version(network: NetworkPlan, settings: Settings) -> Iterator[Problem]:
    own, path = network.settings, network.path
    if own.cni_version != "1.1.0":
        return
    release = re.search(r"cni-plugins-linux-[a-z0-9]+-v(\d+)\.(\d+)", settings.plugins.url)
    if release and (int(release[1]), int(release[2])) < _CNI_1_1_PLUGINS:
        conflict = (
            f"is not known by the plugins v{release[1]}.{release[2]} of plugins.url; take v1.6.0 or later there, or cniVersion "
            "1.0.0"
        )
        yield following(f"{path}.cniVersion", repr(own.cni_version), conflict, "plugins.url")
    minor, _ = k3s_release(settings.k3s.version)
    for plugin in sorted(K3S_PLUGINS & {own.ipam, *own.chained}) if minor < _CNI_1_1_K3S else ():
        conflict = f"is not known by the {plugin} that K3s {settings.k3s.version} brings; take v1.32 or later, or cniVersion 1.0.0"
        yield following(
            f"{path}.cniVersion", repr(own.cni_version), conflict, "k3s.version", f"{path}.ipam", presence(f"{path}.chain")
        )


def _chained(network: NetworkPlan, settings: Settings) -> Iterator[Problem]:
    for plugin in network.settings.chain:
        kind = str(plugin.get("type"))
        if kind not in CHAINED_PLUGINS and kind not in K3S_PLUGINS and kind not in settings.plugins.names:
            conflict = (
                f"names {kind}, which is none of the plugins' releases ({', '.join(CHAINED_PLUGINS)}); correct it, or add it to "
                "plugins.names where the archive of plugins.url has it"
            )
            reads = frozenset({presence(f"{network.path}.chain"), "plugins.names"})
            yield Problem(f"{network.path}.chain", "", conflict, reads)


# --- the pod ----------------------------------------------------------------------------------------------------------


def _workload(plan: Plan, settings: Settings) -> Iterator[Problem]:
    workload = settings.workload
    known = [network.name for network in plan.networks]
    for name, count in Counter(workload.networks or ()).items():
        if name not in known:
            conflict = f"is none of podNetworks: {', '.join(known)}; name one of them"
            yield Problem("workload.networks", name, conflict, frozenset({presence(f"podNetworks.{name}")}))
        elif count > 1:
            conflict = f"stands there {count} times; write it once"
            yield Problem("workload.networks", name, conflict, frozenset({presence("workload.networks")}))
    if workload.networks is not None and not workload.networks:
        yield Problem("workload.networks", "[]", "is empty, and the pod would have no address to be served at; name a network")
    for pod in plan.pods:
        for attachment in pod.attachments:
            network = attachment.network
            reads = ("workload.networks", "workload.name", "workload.perNode", f"{network.path}.ipam")
            if network.settings.ipam == "static" and attachment.booked is None:
                conflict = (
                    f"has no entry for the pod {pod.name}, and with ipam static nobody else gives it an address; book one as "
                    f"addresses.{pod.name}, or name the pod's networks in workload.networks without {network.name}"
                )
                yield following(f"{network.path}.addresses", "", conflict, *reads)
            namespace = attachment.booked.namespace if attachment.booked else None
            if namespace is not None and namespace != workload.namespace:
                setting = f"{network.path}.addresses.{pod.name}.namespace"
                conflict = (
                    f"is not the namespace of the stack's pod of this name, workload.namespace {workload.namespace}; correct it"
                )
                yield following(setting, namespace, conflict, "workload.namespace", *reads)
    if settings.multus.namespace_isolation:
        for name in dict.fromkeys(attachment.network.name for pod in plan.pods for attachment in pod.attachments):
            own = settings.pod_networks[name].namespace
            if own not in ("default", workload.namespace):
                conflict = (
                    f"forbids the pod in {workload.namespace} the network {name} in {own}; put both in one namespace or switch it "
                    "off"
                )
                yield following(
                    "multus.namespaceIsolation", "True", conflict, f"podNetworks.{name}.namespace", "workload.namespace",
                    "workload.networks",
                )  # fmt: skip


def _proof(plan: Plan, settings: Settings) -> Iterator[Problem]:
    proof = settings.proof
    attached = {attachment.network.name for pod in plan.pods for attachment in pod.attachments}
    for name in proof.networks or ():
        if name not in attached:
            conflict = (
                f"is no network of the pod {settings.workload.name} (workload.networks), so no page is served on it; remove it"
            )
            reads = frozenset({"workload.networks", presence(f"podNetworks.{name}")})
            yield Problem("proof.networks", name, conflict, reads)
