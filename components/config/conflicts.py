"""Conflicts between settings: what no single setting shows and the plan must not hold. Pure.

`reading.load` raises one SettingsError with all mistakes, each with the setting, its value, the conflict and the remedy. Each
conflict names the settings it follows from (`Problem.reads`), so that it is reported together with mistakes of other settings, and
not where the default of a wrong setting had to replace it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Network
from itertools import combinations

from components.config import k3s_options
from components.config.addresses import AddressRange
from components.config.plan import Claim, NodePlan, Plan, claims, virtual_api_address
from components.config.problems import Problem, presence
from components.config.settings import NodeGroup, Settings
from components.node import cloud_init
from components.node.keys import public_key


def conflicts(plan: Plan, settings: Settings) -> list[Problem]:
    """Everything that contradicts itself; the same may be in it more than once."""
    return [
        *_texts(settings),
        *_groups(plan.nodes, settings),
        *_names(plan.nodes, settings),
        *_addresses(plan.nodes, settings),
        *_duplicates(plan.nodes, settings),
        *_slices(plan.nodes, settings),
        *_pods(settings),
        *_parent(settings),
        *_routes(settings),
        *_routes_twice(settings),
        *_homeless_pod(plan.nodes, settings),
        *_options_twice(settings),
        *_cluster_networks(settings),
        *_agents(settings),
    ]


def _problem(setting: str, value: str, conflict: str, *others: str) -> Problem:
    """A problem that follows from `setting` and `others`."""
    return Problem(setting, value, conflict, frozenset({setting, *others}))


def _texts(settings: Settings) -> Iterator[Problem]:
    # With commands of the program's own, as machine/first_boot.py adds them.
    at_boot = [["true"]] if settings.network.kind == "bridge" or settings.ssh.port != 22 else []
    for key, value in (settings.cloud_init or {}).items():
        try:
            cloud_init.user_data(
                hostname="node",
                user=settings.ssh.user,
                authorized_keys=[],
                host_private_key="",
                host_public_key="",
                at_boot=at_boot,
                extra={key: value},
            )
        except ValueError as error:
            yield _problem(f"cloudInit.{key}", "", str(error))
    if settings.ssh.private_key is not None:
        try:
            public_key(settings.ssh.private_key.get_secret_value())
        except ValueError as error:
            yield _problem("ssh.privateKey", "", f"is {error}; ssh-keygen makes one, or leave it out")


def warnings(settings: Settings) -> tuple[str, ...]:
    """What is allowed and seldom wanted."""
    texts = []
    if settings.macvlan.default_route:
        texts.append(
            "macvlan.defaultRoute: pods on this network reach neither ClusterIP services nor cluster DNS, because their "
            "default route leaves by net1; machines of the same network need no route to reach them"
        )
    if settings.macvlan.cluster_routes:
        texts += [
            f"macvlan.routes: {route} covers {setting} {covered}, so pods on this network do not reach it through the cluster"
            for route, setting, covered in _covering(settings)
        ]
    if not settings.k3s.install_script.sha256:
        texts.append("k3s.installScript.sha256 is empty, so the install script is run as it comes")
    for name, hypervisor in sorted(settings.hypervisors.items()):
        if re.search(r"[?&]no_verify=[^0&]", hypervisor.uri):
            texts.append(
                f"hypervisors.{name}.uri: no_verify takes whichever machine answers for the hypervisor, and gives it the nodes' "
                "keys and the cluster's tokens; leave it out and make the host's key known to ssh"
            )
    return tuple(texts)


def _groups(planned: tuple[NodePlan, ...], settings: Settings) -> Iterator[Problem]:
    nodes, wanted = settings.network.nodes, settings.servers.count + settings.agents.count
    if wanted > len(nodes):
        conflict = f"holds {len(nodes)} addresses for {wanted} nodes; widen it or lower servers.count or agents.count"
        yield _problem("network.nodes", str(nodes), conflict, "servers.count", "agents.count")
    access = settings.node_access.addresses
    if settings.node_access.enabled and access is not None and wanted > len(access):
        conflict = f"holds {len(access)} addresses for {wanted} nodes; widen it"
        yield _problem("nodeAccess.addresses", str(access), conflict, "nodeAccess.enabled", "servers.count", "agents.count")
    by_uri = Counter(hypervisor.uri for hypervisor in settings.hypervisors.values())
    for name, hypervisor in sorted(settings.hypervisors.items()):
        if by_uri[hypervisor.uri] > 1:
            conflict = "is the URI of another of hypervisors too, where the pool has the same name; name each host once"
            same = [other for other, another in settings.hypervisors.items() if another.uri == hypervisor.uri]
            yield _problem(f"hypervisors.{name}.uri", hypervisor.uri, conflict, *(f"hypervisors.{other}.uri" for other in same))
    used = sorted({node.pool.hypervisor for node in planned})
    if settings.network.kind == "libvirt" and len(used) > 1:
        conflict = (
            f"is a network inside one host, and nodes are placed on {len(used)} ({', '.join(used)}), where they do not reach each "
            "other; set kind: bridge and the name of a bridge that is on all of them, or place all nodes on one"
        )
        reads = ["servers.count", "agents.count", "servers.hypervisor", "agents.hypervisor"]
        reads += [f"{node.role}s.overrides.{node.name}.hypervisor" for node in planned]
        reads += [presence(f"hypervisors.{name}") for name in used]
        yield _problem("network.kind", "'libvirt'", conflict, *reads)
    known = f"is none of hypervisors: {', '.join(sorted(settings.hypervisors))}; name one of them"
    groups: tuple[tuple[str, NodeGroup], ...] = (("server", settings.servers), ("agent", settings.agents))
    for role, group in groups:
        names = [f"{role}-{index + 1}" for index in range(group.count)]
        if group.count and group.hypervisor not in settings.hypervisors:
            yield _problem(f"{role}s.hypervisor", repr(group.hypervisor), known, presence(f"hypervisors.{group.hypervisor}"))
        for name, override in sorted(group.overrides.items()):
            path = f"{role}s.overrides.{name}"
            if name not in names:
                conflict = f"names no node; the nodes are {', '.join(names) or 'none'}; correct or remove it"
                yield Problem(path, "", conflict, frozenset({presence(path), f"{role}s.count"}))
            if override.hypervisor and override.hypervisor not in settings.hypervisors:
                named = presence(f"hypervisors.{override.hypervisor}")
                yield _problem(f"{path}.hypervisor", repr(override.hypervisor), known, named)


def _names(nodes: tuple[NodePlan, ...], settings: Settings) -> Iterator[Problem]:
    longest = max((node.domain for node in nodes), key=len)
    if len(longest) > 63 or not all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in longest):
        conflict = "is used as a host name: at most 63 lower-case letters, digits and '-'; rename the stack"
        yield _problem("(stack name)", longest, conflict)
    network, pod = settings.macvlan.namespace, settings.workload.namespace
    if settings.multus.namespace_isolation and network not in ("default", pod):
        conflict = f"forbids the pod in {pod} the network in {network}; put both in one namespace or switch it off"
        yield _problem("multus.namespaceIsolation", "True", conflict, "macvlan.namespace", "workload.namespace")


def _unavailable(settings: Settings) -> list[tuple[str, AddressRange, tuple[str, ...]]]:
    """Addresses that others have: in words, the addresses, and the settings that say so (none for an element of a list)."""
    network = settings.network
    return [
        (f"network.gateway {network.gateway}", AddressRange.single(network.gateway), ("network.gateway",)),
        (f"the network address of {network.cidr}", AddressRange.single(network.cidr.network_address), ("network.cidr",)),
        (f"the broadcast address of {network.cidr}", AddressRange.single(network.cidr.broadcast_address), ("network.cidr",)),
        *((f"{_text(item)} of network.exclude", item, ()) for item in network.exclude),
    ]


# The settings that decide, in addition to its own value, whether a claim is one.
_CLAIMED = {
    "nodeAccess.addresses": ("nodeAccess.enabled",),
    "macvlanCheck.address": ("macvlanCheck.enabled",),
    "k3s.apiAddress": ("network.cidr",),
}


def _addresses(nodes: tuple[NodePlan, ...], settings: Settings) -> Iterator[Problem]:
    cidr, gateway = settings.network.cidr, settings.network.gateway
    if gateway not in cidr:
        yield _problem("network.gateway", str(gateway), f"is outside network.cidr {cidr}; correct one of them", "network.cidr")
    claimed = claims(nodes, settings)
    for claim in claimed:
        if not claim.range.within(cidr):
            yield _clash(claim, f"is not inside network.cidr {cidr}; choose addresses of this network", "network.cidr")
        for description, addresses, sources in _unavailable(settings):
            if claim.range.overlaps(addresses):
                yield _clash(claim, f"holds {description}, which is not ours to give; move or shorten it", *sources)
    for one, other in combinations(claimed, 2):
        # The check is over before any pod exists, and a static pod address may lie in a range nobody counts from.
        free_in_macvlan = other.setting in ("macvlanCheck.address", "workload.address")
        if one.range.overlaps(other.range) and not (one.setting == "macvlan.range" and free_in_macvlan):
            conflict = f"overlaps {one.setting} {_text(one.range)}, so an address could be given twice; move one of them"
            yield _clash(other, conflict, one.setting, *_CLAIMED.get(one.setting, ()))


def _clash(claim: Claim, conflict: str, *others: str) -> Problem:
    return _problem(claim.setting, _text(claim.range), conflict, *others, *_CLAIMED.get(claim.setting, ()))


def _text(item: AddressRange) -> str:
    return str(item.first) if item.first == item.last else str(item)


def _duplicates(nodes: tuple[NodePlan, ...], settings: Settings) -> Iterator[Problem]:
    overrides = {**settings.servers.overrides, **settings.agents.overrides}

    def source(node: NodePlan, attribute: str) -> str:
        """The setting that gives a node its address or MAC; its own name where the plan computes the MAC."""
        own = f"{node.role}s.overrides.{node.name}.{attribute}"
        overridden = node.name in overrides and getattr(overrides[node.name], attribute) is not None
        return own if overridden or attribute == "mac" else "network.nodes"

    for one, other in combinations(nodes, 2):
        path = f"{other.role}s.overrides.{other.name}"
        if one.address == other.address:
            conflict = f"is the address of {one.name} and of {other.name}; widen network.nodes or change the overrides"
            yield _problem(f"{path}.address", str(one.address), conflict, source(one, "address"), source(other, "address"))
        if one.mac == other.mac:
            conflict = f"is the MAC address of {one.name} too; give one of them another"
            yield _problem(f"{path}.mac", other.mac, conflict, source(one, "mac"))


def _slices(nodes: tuple[NodePlan, ...], settings: Settings) -> Iterator[Problem]:
    macvlan, count = settings.macvlan, len(nodes)
    whole, size = macvlan.range, macvlan.addresses_per_node
    counted = ("macvlan.ipam", "servers.count", "agents.count")
    if macvlan.ipam != "host-local":
        return
    if size is None and count > 1:
        fit = f"set it to at most {len(whole) // count}" if len(whole) >= count else f"widen it to {count} or more and set this"
        conflict = (
            f"is needed for {count} nodes: host-local counts on each node by itself and would give one address twice; "
            f"macvlan.range holds {len(whole)} addresses: {fit}"
        )
        yield _problem("macvlan.addressesPerNode", "", conflict, "macvlan.range", *counted)
    if size is not None and size * count > len(whole):
        conflict = (
            f"holds {len(whole)} addresses, but {count} nodes x addressesPerNode {size} = {size * count}; widen it, "
            "or lower addressesPerNode or the number of nodes"
        )
        yield _problem("macvlan.range", str(whole), conflict, "macvlan.addressesPerNode", *counted)


def _pods(settings: Settings) -> Iterator[Problem]:
    macvlan, address, plugins = settings.macvlan, settings.workload.address, settings.plugins.names
    if macvlan.ipam == "static" and address is None:
        conflict = "gives out no addresses, so the pod needs its own; set workload.address"
        yield _problem("macvlan.ipam", "'static'", conflict, "workload.address")
    if macvlan.ipam == "host-local" and address is not None:
        conflict = "is not asked for by host-local, which counts by itself; set macvlan.ipam: static, or remove the address"
        yield _problem("workload.address", str(address), conflict, "macvlan.ipam")
    if settings.workload.per_node and address is not None:
        conflict = "is one address for a pod on every node; remove it or workload.perNode"
        yield _problem("workload.address", str(address), conflict, "workload.perNode")
    needed = [(macvlan.type, "macvlan.type"), *([("static", "macvlan.ipam")] if macvlan.ipam == "static" else [])]
    for plugin, setting in needed:
        if plugin not in plugins:
            conflict = f"lacks {plugin}, which {setting} needs and K3s does not ship; add it"
            yield _problem("plugins.names", str(list(plugins)), conflict, setting)
    if settings.macvlan_check.enabled and settings.macvlan_check.address is None:
        conflict = "is needed for the check; set it, or macvlanCheck.enabled: false"
        yield _problem("macvlanCheck.address", "", conflict, "macvlanCheck.enabled")


# What Ethernet carries, and a NIC has unless something gives it another.
ETHERNET_MTU = 1500


def _parent(settings: Settings) -> Iterator[Problem]:
    macvlan, network = settings.macvlan, settings.network
    if macvlan.master not in ("", network.interface):
        return
    reads = ("macvlan.master", "network.interface")
    if macvlan.mode == "passthru":
        conflict = (
            f"would take {network.interface} away from the node itself; name a second interface in macvlan.master, "
            "or use mode bridge"
        )
        yield _problem("macvlan.mode", "'passthru'", conflict, *reads)
    parent = network.mtu or ETHERNET_MTU
    if macvlan.mtu is not None and macvlan.mtu > parent:
        source = "network.mtu says" if network.mtu else "a NIC has as a rule"
        conflict = (
            f"is {macvlan.mtu - parent} bytes above the {parent} of {network.interface}, which {source}, and the plugin refuses "
            f"each pod above its parent; set at most {parent}, or network.mtu where the network carries more"
        )
        yield _problem("macvlan.mtu", str(macvlan.mtu), conflict, "network.mtu", *reads)


def _covering(settings: Settings) -> Iterator[tuple[IPv4Network, str, str]]:
    """(route, setting, its value) for each of the cluster's addresses that a route covers or lies in.

    Each route by itself: a set of routes covers what one of them covers.
    """
    nodes = settings.network.nodes
    for route in settings.macvlan.routes:
        for setting, network in (("k3s.podCidr", settings.k3s.pod_cidr), ("k3s.serviceCidr", settings.k3s.service_cidr)):
            if route.overlaps(network):
                yield route, setting, str(network)
        # A wider one leaves the nodes on-link: the kernel takes the most specific route, which is then the interface's own.
        # Half of all addresses is half of a default route.
        inside = route.subnet_of(settings.network.cidr) or route.prefixlen <= 1
        if inside and AddressRange(route.network_address, route.broadcast_address).overlaps(nodes):
            yield route, "network.nodes", str(nodes)


def _routes(settings: Settings) -> Iterator[Problem]:
    if settings.macvlan.cluster_routes:
        return
    for route, setting, covered in _covering(settings):
        conflict = (
            f"covers {setting} {covered}, so the pod would send what is meant for the cluster to the network's gateway; route "
            f"smaller networks that leave it out, or, if you mean it, set macvlan.clusterRoutes: true"
        )
        yield Problem("macvlan.routes", str(route), conflict, frozenset({setting, "macvlan.clusterRoutes"}))


def _routes_twice(settings: Settings) -> Iterator[Problem]:
    for route, count in Counter(settings.macvlan.routes).items():
        if count > 1:
            conflict = f"stands there {count} times, and the second time the plugin refuses the pod (file exists); write it once"
            yield Problem("macvlan.routes", str(route), conflict)


def _homeless_pod(nodes: tuple[NodePlan, ...], settings: Settings) -> Iterator[Problem]:
    """The pods of single nodes tolerate every taint, the one that may run anywhere none."""
    kept_off = [[taint for taint in node.taints if not taint.endswith(":PreferNoSchedule")] for node in nodes]
    if settings.workload.per_node or not all(kept_off):
        return
    conflict = (
        f"leaves the pod {settings.workload.name} without a node: each has a taint that it does not tolerate, such as "
        f"{kept_off[0][0]}; take that off one of them, or set workload.perNode: true, whose pods tolerate all"
    )
    reads = [f"{role}.{field}" for role in ("servers", "agents") for field in ("taints", "count")]
    reads += [f"{node.role}s.overrides.{node.name}.taints" for node in nodes]
    yield _problem("workload.perNode", "False", conflict, *reads)


def _options_twice(settings: Settings) -> Iterator[Problem]:
    common = {k3s_options.name(key): key for key in settings.k3s.config}
    for key in settings.k3s.server_config:
        other = common.get(k3s_options.name(key))
        if other is not None:
            conflict = (
                "is in k3s.config too, whose value servers would lose; write here what servers need, and leave "
                f"{other} out of k3s.config"
            )
            reads = frozenset({presence(f"k3s.config.{other}"), presence(f"k3s.serverConfig.{key}")})
            yield Problem(f"k3s.serverConfig.{key}", "", conflict, reads)


# What Kubernetes gives each node of the pods' addresses (kube-controller-manager, node-cidr-mask-size).
_NODE_PREFIX = 24


def _cluster_networks(settings: Settings) -> Iterator[Problem]:
    cidr, pods, services = settings.network.cidr, settings.k3s.pod_cidr, settings.k3s.service_cidr
    virtual = virtual_api_address(settings)
    for setting, value in (("k3s.podCidr", pods), ("k3s.serviceCidr", services)):
        if value.overlaps(cidr):
            conflict = f"overlaps network.cidr {cidr}; choose other addresses inside the cluster"
            yield _problem(setting, str(value), conflict, "network.cidr")
        if virtual and virtual in value:
            conflict = f"lies in {setting} {value}, which nobody outside of the cluster reaches; choose an address of the network"
            yield _problem("k3s.apiAddress", str(virtual), conflict, setting)
    if services.prefixlen < 12 or services.prefixlen > 28:
        conflict = "is too large for the API server or too small for cluster DNS, its tenth address; take one from /12 to /28"
        yield _problem("k3s.serviceCidr", str(services), conflict)
    count = settings.servers.count + settings.agents.count
    if pods.prefixlen > _NODE_PREFIX or 2 ** (_NODE_PREFIX - pods.prefixlen) < count:
        most = 2 ** max(_NODE_PREFIX - pods.prefixlen, 0) if pods.prefixlen <= _NODE_PREFIX else 0
        conflict = f"has a /{_NODE_PREFIX} for {most} nodes, and there are {count}; take a larger network"
        yield _problem("k3s.podCidr", str(pods), conflict, "servers.count", "agents.count")
    for setting, value in (("k3s.podCidr", pods), ("k3s.serviceCidr", services)):
        if value.is_loopback or value.is_multicast or value.is_unspecified or value.is_link_local:
            yield _problem(setting, str(value), "is no network of addresses for pods or services; take one of 10.0.0.0/8")
    if pods.overlaps(services):
        yield _problem("k3s.podCidr", str(pods), f"overlaps k3s.serviceCidr {services}; move one of them", "k3s.serviceCidr")


def _agents(settings: Settings) -> Iterator[Problem]:
    for key in k3s_options.servers_only(settings.k3s.config) if settings.agents.count else ():
        conflict = "is an option of servers alone, and an agent of K3s does not start with it; move it to k3s.serverConfig"
        yield Problem(f"k3s.config.{key}", "", conflict, frozenset({presence(f"k3s.config.{key}"), "agents.count"}))
