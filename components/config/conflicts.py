"""Conflicts between settings: what no single setting shows and the plan must not hold. Pure.

`reading.load` raises one SettingsError with all mistakes, each with the setting, its value, the conflict and the remedy. Each
conflict names the settings it follows from (`Problem.reads`), so that it is reported together with mistakes of other settings, and
not where the default of a wrong setting had to replace it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations

from components.config import (
    device_conflicts,
    disk_conflicts,
    downloads,
    hardening_conflicts,
    k3s_options,
    network_conflicts,
    nic_conflicts,
    snapshots,
    virtual_address_conflicts,
)
from components.config.plan import Claim, NodePlan, Plan, claims, virtual_api_address
from components.config.problems import Problem, following, presence
from components.config.settings import Settings, node_names
from components.node import cloud_init
from components.node.keys import public_key


def conflicts(plan: Plan, settings: Settings) -> list[Problem]:
    """Everything that contradicts itself; the same may be in it more than once."""
    return [
        *_texts(settings),
        *_groups(plan.nodes, settings),
        *_names(plan.nodes, settings),
        *_addresses(plan, settings),
        *_duplicates(plan.nodes, settings),
        *device_conflicts.conflicts(plan.nodes, settings),
        *network_conflicts.conflicts(plan, settings),
        *nic_conflicts.conflicts(plan, settings),
        *_homeless_pod(plan.nodes, settings),
        *disk_conflicts.conflicts(plan, settings),
        *hardening_conflicts.conflicts(settings),
        *_options_twice(settings),
        *snapshots.conflicts(
            settings.k3s.snapshots, {"k3s.config": settings.k3s.config, "k3s.serverConfig": settings.k3s.server_config}
        ),
        *_cluster_networks(settings),
        *virtual_address_conflicts.conflicts(settings),
        *_agents(settings),
        *_image_with_credentials(settings),
    ]


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
            yield following(f"cloudInit.{key}", "", str(error))
    if settings.ssh.private_key is not None:
        try:
            public_key(settings.ssh.private_key.get_secret_value())
        except ValueError as error:
            yield following("ssh.privateKey", "", f"is {error}; ssh-keygen makes one, or leave it out")


def warnings(plan: Plan, settings: Settings) -> tuple[str, ...]:
    """What is allowed and seldom wanted."""
    texts = [
        *network_conflicts.warnings(plan, settings),
        *nic_conflicts.warnings(plan, settings),
        *disk_conflicts.warnings(plan, settings),
    ]
    if not settings.k3s.install_script.sha256:
        texts.append("k3s.installScript.sha256 is empty, so the install script is run as it comes")
    if settings.machine.guest_agent and settings.artifacts.directory:
        texts.append(
            "machine.guestAgent with artifacts.directory: nodes download nothing, so the package qemu-guest-agent must be in the "
            "image"
        )
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
        yield following("network.nodes", str(nodes), conflict, "servers.count", "agents.count")
    by_uri = Counter(hypervisor.uri for hypervisor in settings.hypervisors.values())
    for name, hypervisor in sorted(settings.hypervisors.items()):
        if by_uri[hypervisor.uri] > 1:
            conflict = "is the URI of another of hypervisors too, where the pool has the same name; name each host once"
            same = [other for other, another in settings.hypervisors.items() if another.uri == hypervisor.uri]
            yield following(f"hypervisors.{name}.uri", hypervisor.uri, conflict, *(f"hypervisors.{other}.uri" for other in same))
    used = sorted({node.pool.hypervisor for node in planned})
    if settings.network.kind == "libvirt" and len(used) > 1:
        conflict = (
            f"is a network inside one host, and nodes are placed on {len(used)} ({', '.join(used)}), where they do not reach each "
            "other; set kind: bridge and the name of a bridge that is on all of them, or place all nodes on one"
        )
        reads = ["servers.count", "agents.count", "servers.hypervisor", "agents.hypervisor"]
        reads += [f"{node.role}s.overrides.{node.name}.hypervisor" for node in planned]
        reads += [presence(f"hypervisors.{name}") for name in used]
        yield following("network.kind", "'libvirt'", conflict, *reads)
    known = f"is none of hypervisors: {', '.join(sorted(settings.hypervisors))}; name one of them"
    for role, group in settings.groups:
        names = node_names(role, group.count)
        if group.count and group.hypervisor not in settings.hypervisors:
            yield following(f"{role}s.hypervisor", repr(group.hypervisor), known, presence(f"hypervisors.{group.hypervisor}"))
        for name, override in sorted(group.overrides.items()):
            path = f"{role}s.overrides.{name}"
            if name not in names:
                conflict = f"names no node; the nodes are {', '.join(names) or 'none'}; correct or remove it"
                yield Problem(path, "", conflict, frozenset({presence(path), f"{role}s.count"}))
            if override.hypervisor and override.hypervisor not in settings.hypervisors:
                named = presence(f"hypervisors.{override.hypervisor}")
                yield following(f"{path}.hypervisor", repr(override.hypervisor), known, named)


def _names(nodes: tuple[NodePlan, ...], settings: Settings) -> Iterator[Problem]:
    longest = max((node.domain for node in nodes), key=len)
    if len(longest) > 63 or not all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in longest):
        conflict = "is used as a host name: at most 63 lower-case letters, digits and '-'; rename the stack"
        yield following("(stack name)", longest, conflict)


# The settings that decide, in addition to its own value, whether a claim is one.
_CLAIMED = {"k3s.apiAddress": ("network.cidr",)}


def _addresses(plan: Plan, settings: Settings) -> Iterator[Problem]:
    cidr, gateway = settings.network.cidr, settings.network.gateway
    if gateway not in cidr:
        yield following("network.gateway", str(gateway), f"is outside network.cidr {cidr}; correct one of them", "network.cidr")
    claimed = claims(plan.nodes, plan.networks, settings)
    for claim in claimed:
        if claim.network is not None:
            continue
        router = network_conflicts.Router("network.gateway", gateway, ("network.gateway",))
        subnet, exclude = "network.cidr", settings.network.exclude
        for conflict, sources in network_conflicts.unfit(claim.range, cidr, subnet, (subnet,), router=router, exclude=exclude):
            yield _clash(claim, conflict, *sources)
    for one, other in combinations(claimed, 2):
        if one.link == other.link and one.range.overlaps(other.range) and not _booked_in_range(one, other):
            conflict = f"overlaps {one.setting} {one.range.shortest}, so an address could be given twice; move one of them"
            links = [path for claim in (one, other) if claim.network for path in network_conflicts.link_of(claim.network)]
            yield _clash(other, conflict, one.setting, *links, *_CLAIMED.get(one.setting, ()))


def _booked_in_range(one: Claim, other: Claim) -> bool:
    """Whether they are a static network's range and an entry of its own book, which may lie in it: nobody counts there."""
    network = one.network
    if network is None or network is not other.network or network.settings.ipam != "static":
        return False
    return one.setting == f"{network.path}.range" and other.setting.startswith(f"{network.path}.addresses.")


def _clash(claim: Claim, conflict: str, *others: str) -> Problem:
    return following(claim.setting, claim.range.shortest, conflict, *others, *_CLAIMED.get(claim.setting, ()))


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
            yield following(f"{path}.address", str(one.address), conflict, source(one, "address"), source(other, "address"))
        if one.mac == other.mac:
            conflict = f"is the MAC address of {one.name} too; give one of them another"
            yield following(f"{path}.mac", other.mac, conflict, source(one, "mac"))


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
    yield following("workload.perNode", "False", conflict, *reads)


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
            yield following(setting, str(value), conflict, "network.cidr")
        if virtual and virtual in value:
            conflict = f"lies in {setting} {value}, which nobody outside of the cluster reaches; choose an address of the network"
            yield following("k3s.apiAddress", str(virtual), conflict, setting)
    if services.prefixlen < 12 or services.prefixlen > 28:
        conflict = "is too large for the API server or too small for cluster DNS, its tenth address; take one from /12 to /28"
        yield following("k3s.serviceCidr", str(services), conflict)
    count = settings.servers.count + settings.agents.count
    if pods.prefixlen > _NODE_PREFIX or 2 ** (_NODE_PREFIX - pods.prefixlen) < count:
        most = 2 ** max(_NODE_PREFIX - pods.prefixlen, 0) if pods.prefixlen <= _NODE_PREFIX else 0
        conflict = f"has a /{_NODE_PREFIX} for {most} nodes, and there are {count}; take a larger network"
        yield following("k3s.podCidr", str(pods), conflict, "servers.count", "agents.count")
    for setting, value in (("k3s.podCidr", pods), ("k3s.serviceCidr", services)):
        if value.is_loopback or value.is_multicast or value.is_unspecified or value.is_link_local:
            yield following(setting, str(value), "is no network of addresses for pods or services; take one of 10.0.0.0/8")
    if pods.overlaps(services):
        yield following("k3s.podCidr", str(pods), f"overlaps k3s.serviceCidr {services}; move one of them", "k3s.serviceCidr")


def _agents(settings: Settings) -> Iterator[Problem]:
    for key in k3s_options.servers_only(settings.k3s.config) if settings.agents.count else ():
        conflict = "is an option of servers alone, and an agent of K3s does not start with it; move it to k3s.serverConfig"
        yield Problem(f"k3s.config.{key}", "", conflict, frozenset({presence(f"k3s.config.{key}"), "agents.count"}))


def _image_with_credentials(settings: Settings) -> Iterator[Problem]:
    if settings.image.prepare != "always":
        return
    for setting in downloads.with_credentials(settings):
        conflict = (
            "has credentials in its URL, which would be in the files of an image that stacks share (image.prepare: always); take a "
            "mirror without any, or set image.prepare: auto, with which no image is prepared then"
        )
        yield following(setting, "", conflict, "image.prepare")
