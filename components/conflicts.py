"""Conflicts between settings: what no single setting shows and the plan must not hold. Pure.

`check` raises one SettingsError with all of them, each with the setting, its value, the conflict and the way out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from components.addresses import AddressRange
from components.libvirt import documents
from components.plan import Claim, NodePlan, Plan, claims, make
from components.settings import NodeGroup, Problem, Settings, SettingsError, parse_as_far_as_possible
from components.ssh import public_key


def load(project: str, stack: str, raw: Mapping[str, Any]) -> tuple[Settings, Plan]:
    """Settings and plan from raw configuration; SettingsError with the mistakes of single settings and those between them."""
    settings, problems = parse_as_far_as_possible(raw)
    wrong = {problem.setting.split(".")[0] for problem in problems}
    plan = make(project, stack, settings)
    try:
        check(plan, settings)
    except SettingsError as error:
        # Where a setting is wrong, its default stood in for it; what only that default contradicts is no mistake.
        problems += [each for each in error.problems if not any(key in f"{each.setting} {each.conflict}" for key in wrong)]
    if problems:
        raise SettingsError(stack, sorted(set(problems)))
    return settings, plan


def check(plan: Plan, settings: Settings) -> None:
    """Raise SettingsError unless the plan holds together."""
    problems = {
        *_texts(settings),
        *_groups(plan.nodes, settings),
        *_names(plan.nodes, settings),
        *_addresses(plan.nodes, settings),
        *_duplicates(plan.nodes),
        *_slices(plan.nodes, settings),
        *_pods(settings),
        *_cluster_networks(settings),
    }
    if problems:
        raise SettingsError(plan.stack, sorted(problems))


def _texts(settings: Settings) -> Iterator[Problem]:
    try:
        documents.user_data(
            hostname="node",
            user=settings.ssh.user,
            authorized_keys=[],
            host_private_key="",
            host_public_key="",
            extra=settings.cloud_init,
        )
    except ValueError as error:
        yield Problem("cloudInit", "", str(error))
    if settings.ssh.private_key is not None:
        try:
            public_key(settings.ssh.private_key.get_secret_value())
        except ValueError as error:
            yield Problem("ssh.privateKey", "", f"is {error}; ssh-keygen makes one, or leave it out")


def warnings(settings: Settings) -> tuple[str, ...]:
    """What is allowed and seldom wanted."""
    found = []
    if settings.macvlan.default_route:
        found.append(
            "macvlan.defaultRoute: pods on this network reach neither ClusterIP services nor cluster DNS, because their "
            "default route leaves by net1; machines of the same network need no route to reach them"
        )
    if not settings.k3s.install_script.sha256:
        found.append("k3s.installScript.sha256 is empty, so the install script is run as it comes")
    for name, hypervisor in sorted(settings.hypervisors.items()):
        if re.search(r"[?&]no_verify=[^0&]", hypervisor.uri):
            found.append(
                f"hypervisors.{name}.uri: no_verify takes whichever machine answers for the hypervisor, and gives it the nodes' "
                "keys and the cluster's tokens; leave it out and make the host's key known to ssh"
            )
    return tuple(found)


def _groups(planned: tuple[NodePlan, ...], settings: Settings) -> Iterator[Problem]:
    nodes, wanted = settings.network.nodes, settings.servers.count + settings.agents.count
    if wanted > len(nodes):
        conflict = f"holds {len(nodes)} addresses for {wanted} nodes; widen it or lower servers.count or agents.count"
        yield Problem("network.nodes", str(nodes), conflict)
    access = settings.node_access.addresses
    if settings.node_access.enabled and access is not None and wanted > len(access):
        conflict = f"holds {len(access)} addresses for {wanted} nodes; widen it"
        yield Problem("nodeAccess.addresses", str(access), conflict)
    by_uri = Counter(hypervisor.uri for hypervisor in settings.hypervisors.values())
    for name, hypervisor in sorted(settings.hypervisors.items()):
        if by_uri[hypervisor.uri] > 1:
            conflict = "is the URI of another of hypervisors too, where the pool has the same name; name each host once"
            yield Problem(f"hypervisors.{name}.uri", hypervisor.uri, conflict)
    used = sorted({node.pool.hypervisor for node in planned})
    if settings.network.kind == "libvirt" and len(used) > 1:
        conflict = (
            f"is a network inside one host, and nodes are placed on {len(used)} ({', '.join(used)}), where they do not reach each "
            "other; set kind: bridge and the name of a bridge that is on all of them, or place all nodes on one"
        )
        yield Problem("network.kind", "'libvirt'", conflict)
    known = f"is none of hypervisors: {', '.join(sorted(settings.hypervisors))}; name one of them"
    groups: tuple[tuple[str, NodeGroup], ...] = (("server", settings.servers), ("agent", settings.agents))
    for role, group in groups:
        names = [f"{role}-{index + 1}" for index in range(group.count)]
        if group.count and group.hypervisor not in settings.hypervisors:
            yield Problem(f"{role}s.hypervisor", repr(group.hypervisor), known)
        for name, override in sorted(group.overrides.items()):
            path = f"{role}s.overrides.{name}"
            if name not in names:
                yield Problem(path, "", f"names no node; the nodes are {', '.join(names) or 'none'}; correct or remove it")
            if override.hypervisor and override.hypervisor not in settings.hypervisors:
                yield Problem(f"{path}.hypervisor", repr(override.hypervisor), known)


def _names(nodes: tuple[NodePlan, ...], settings: Settings) -> Iterator[Problem]:
    longest = max((node.domain for node in nodes), key=len)
    if len(longest) > 63 or not all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in longest):
        conflict = "is used as a host name: at most 63 lower-case letters, digits and '-'; rename the stack"
        yield Problem("(stack name)", longest, conflict)
    network, pod = settings.macvlan.namespace, settings.workload.namespace
    if settings.multus.namespace_isolation and network not in ("default", pod):
        conflict = f"forbids the pod in {pod} the network in {network}; put both in one namespace or switch it off"
        yield Problem("multus.namespaceIsolation", "True", conflict)


def _foreign(settings: Settings) -> list[tuple[str, AddressRange]]:
    network = settings.network
    return [
        (f"network.gateway {network.gateway}", AddressRange.single(network.gateway)),
        (f"the network address of {network.cidr}", AddressRange.single(network.cidr.network_address)),
        (f"the broadcast address of {network.cidr}", AddressRange.single(network.cidr.broadcast_address)),
        *((f"network.exclude.{index} {item}", item) for index, item in enumerate(network.exclude)),
    ]


def _addresses(nodes: tuple[NodePlan, ...], settings: Settings) -> Iterator[Problem]:
    cidr, gateway = settings.network.cidr, settings.network.gateway
    if gateway not in cidr:
        yield Problem("network.gateway", str(gateway), f"is outside network.cidr {cidr}; correct one of them")
    ours = claims(nodes, settings)
    for claim in ours:
        if not claim.range.within(cidr):
            yield _clash(claim, f"is not inside network.cidr {cidr}; choose addresses of this network")
        for what, foreign in _foreign(settings):
            if claim.range.overlaps(foreign):
                yield _clash(claim, f"holds {what}, which is not ours to give; move or shorten it")
    for one, other in combinations(ours, 2):
        # The check is over before any pod exists, and a static pod address may lie in a range nobody counts from.
        free_in_macvlan = other.setting in ("macvlanCheck.address", "workload.address")
        if one.range.overlaps(other.range) and not (one.setting == "macvlan.range" and free_in_macvlan):
            yield _clash(other, f"overlaps {one.setting} {_text(one.range)}, so an address could be given twice; move one of them")


def _clash(claim: Claim, conflict: str) -> Problem:
    return Problem(claim.setting, _text(claim.range), conflict)


def _text(item: AddressRange) -> str:
    return str(item.first) if item.first == item.last else str(item)


def _duplicates(nodes: tuple[NodePlan, ...]) -> Iterator[Problem]:
    for one, other in combinations(nodes, 2):
        path = f"{other.role}s.overrides.{other.name}"
        if one.address == other.address:
            conflict = f"is the address of {one.name} and of {other.name}; widen network.nodes or change the overrides"
            yield Problem(f"{path}.address", str(one.address), conflict)
        if one.mac == other.mac:
            yield Problem(f"{path}.mac", other.mac, f"is the MAC address of {one.name} too; give one of them another")


def _slices(nodes: tuple[NodePlan, ...], settings: Settings) -> Iterator[Problem]:
    macvlan, count = settings.macvlan, len(nodes)
    whole, size = macvlan.range, macvlan.addresses_per_node
    if macvlan.ipam != "host-local":
        return
    if size is None and count > 1:
        fit = f"set it to at most {len(whole) // count}" if len(whole) >= count else f"widen it to {count} or more and set this"
        conflict = (
            f"is needed for {count} nodes: host-local counts on each node by itself and would give one address twice; "
            f"macvlan.range holds {len(whole)} addresses: {fit}"
        )
        yield Problem("macvlan.addressesPerNode", "", conflict)
    if size is not None and size * count > len(whole):
        conflict = (
            f"holds {len(whole)} addresses, but {count} nodes x addressesPerNode {size} = {size * count}; widen it, "
            "or lower addressesPerNode or the number of nodes"
        )
        yield Problem("macvlan.range", str(whole), conflict)


def _pods(settings: Settings) -> Iterator[Problem]:
    macvlan, address, plugins = settings.macvlan, settings.workload.address, settings.plugins.names
    if macvlan.ipam == "static" and address is None:
        yield Problem("macvlan.ipam", "'static'", "gives out no addresses, so the pod needs its own; set workload.address")
    if macvlan.ipam == "host-local" and address is not None:
        conflict = "is not asked for by host-local, which counts by itself; set macvlan.ipam: static, or remove the address"
        yield Problem("workload.address", str(address), conflict)
    if settings.workload.per_node and address is not None:
        yield Problem("workload.address", str(address), "is one address for a pod on every node; remove it or workload.perNode")
    needed = [macvlan.type, *(["static"] if macvlan.ipam == "static" else [])]
    for plugin in needed:
        if plugin not in plugins:
            conflict = f"lacks {plugin}, which macvlan.type or macvlan.ipam needs and K3s does not ship; add it"
            yield Problem("plugins.names", str(list(plugins)), conflict)
    if macvlan.mode == "passthru" and macvlan.master in ("", settings.network.interface):
        conflict = (
            f"would take {settings.network.interface} away from the node itself; name a second interface in macvlan.master, "
            "or use mode bridge"
        )
        yield Problem("macvlan.mode", "'passthru'", conflict)
    if settings.macvlan_check.enabled and settings.macvlan_check.address is None:
        yield Problem("macvlanCheck.address", "", "is needed for the check; set it, or macvlanCheck.enabled: false")


def _cluster_networks(settings: Settings) -> Iterator[Problem]:
    cidr, pods, services = settings.network.cidr, settings.k3s.pod_cidr, settings.k3s.service_cidr
    for setting, value in (("k3s.podCidr", pods), ("k3s.serviceCidr", services)):
        if value.overlaps(cidr):
            yield Problem(setting, str(value), f"overlaps network.cidr {cidr}; choose other addresses inside the cluster")
    if pods.overlaps(services):
        yield Problem("k3s.podCidr", str(pods), f"overlaps k3s.serviceCidr {services}; move one of them")
