"""Conflicts of the nodes' further network interfaces: with each other, with networks for pods, with addresses. Pure.

As in conflicts.py, of which this is a part, each names the settings it follows from.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from components.config.addresses import AddressRange
from components.config.network_plan import NetworkPlan
from components.config.nic_plan import NicPlan, NodeNics, of_nodes
from components.config.nics import Nic
from components.config.plan import NodePlan, Plan, claims
from components.config.problems import Problem, following
from components.config.settings import Settings


def conflicts(plan: Plan, settings: Settings) -> Iterator[Problem]:
    for own in of_nodes(settings):
        yield from _names(own, settings)
        yield from _of_one_node(own, settings)
    yield from _macs(plan, settings)
    for node in plan.nodes:
        yield from _subnets(node, settings)
    yield from _addresses_twice(plan)
    yield from _claimed(plan, settings)
    for network in plan.networks:
        yield from _parent(network, plan, settings)
        yield from _vlans(network, plan, settings)
        yield from _mtu(network, plan)


def warnings(plan: Plan, settings: Settings) -> Iterator[str]:
    """What is allowed and seldom wanted."""
    for own, path, queues in _queues(plan, settings):
        if queues > own.cpus:
            yield f"{path}.queues: {own.name} has {own.cpus} CPUs, so {queues - own.cpus} of the {queues} queues stay unused"
    hypervisors = {node.pool.hypervisor for node in plan.nodes}
    named = {nic.settings.network for node in plan.nodes for nic in node.nics if nic.settings.network}
    for network in sorted(named) if len(hypervisors) > 1 else ():
        yield (
            f"nics: the libvirt network {network} is one inside each of {len(hypervisors)} hypervisors, so nodes on different ones "
            "do not reach each other by it unless it is on one bridge of all"
        )


def _queues(plan: Plan, settings: Settings) -> Iterator[tuple[NodePlan, str, int]]:
    for node in plan.nodes:
        if settings.network.queues is not None:
            yield node, "network", settings.network.queues
        for nic in node.nics:
            if nic.settings.queues is not None:
                yield node, nic.path, nic.settings.queues


def _following(setting: str, value: str, conflict: str, *others: str) -> Problem:
    """As `following`. Where an element of a list of NICs is left out because it is wrong, the others have other places in it, so
    what they contradict waits until the list is right."""
    lists = [path.rpartition(".nics.")[0] + ".nics" for path in (setting, *others) if ".nics." in path]
    return following(setting, value, conflict, *others, *lists)


# --- single nodes -----------------------------------------------------------------------------------------------------


def _names(own: NodeNics, settings: Settings) -> Iterator[Problem]:
    first_paths: dict[str, str] = {}
    for place, (name, _) in enumerate(own.nics):
        path = f"{own.path}.{place}"
        if name == settings.network.interface:
            conflict = "is the name of the nodes' first NIC too, network.interface; write another"
            yield _following(f"{path}.name", repr(name), conflict, "network.interface")
        if name in first_paths:
            conflict = f"is the name of {first_paths[name]} too, and Linux gives a name to one; write another"
            yield _following(f"{path}.name", repr(name), conflict, f"{first_paths[name]}.name")
        first_paths.setdefault(name, path)


def _of_one_node(own: NodeNics, settings: Settings) -> Iterator[Problem]:
    """What only one machine can have, in a list of several nodes."""
    if own.alone:
        return
    role = own.path.partition(".")[0]
    for place, (_, nic) in enumerate(own.nics):
        for name, value in (("mac", nic.mac), ("address", nic.address)):
            if value is not None:
                conflict = (
                    f"would be that of several nodes; give each its own, in {role}.overrides.NAME.nics, which replaces the group's "
                    "list"
                )
                yield _following(f"{own.path}.{place}.{name}", str(value), conflict, f"{role}.count", f"{role}.overrides")


def _macs(plan: Plan, settings: Settings) -> Iterator[Problem]:
    """A MAC address is of one NIC: of nodes' first ones, of further ones, of the books of networks for pods."""
    overrides = {**settings.servers.overrides, **settings.agents.overrides}
    holders: dict[str, tuple[str, str]] = {}
    for node in plan.nodes:
        own = f"{node.role}s.overrides.{node.name}.mac"
        overridden = node.name in overrides and overrides[node.name].mac is not None
        holders.setdefault(node.mac.lower(), (own if overridden else "(stack name)", f"node {node.name}"))
    for network in plan.networks:
        for name, booked in network.settings.addresses.items():
            if booked.mac is not None:
                setting = f"{network.path}.addresses.{name}.mac"
                holders.setdefault(booked.mac.lower(), (setting, setting))
    taken: set[tuple[str, str]] = set()
    for node in plan.nodes:
        for nic in node.nics:
            # One entry for several nodes, or one name for several entries, which others report.
            same = (nic.path, nic.mac) if nic.settings.mac else (node.name, nic.name)
            if same in taken:
                continue
            taken.add(same)
            first = holders.setdefault(nic.mac.lower(), (f"{nic.path}.mac", f"{nic.path} of {node.name}"))
            if first[0] != f"{nic.path}.mac":
                conflict = f"is the MAC address of {first[1]} too; give one of them another"
                yield _following(f"{nic.path}.mac", nic.mac, conflict, first[0])


# --- addresses --------------------------------------------------------------------------------------------------------


def _subnets(node: NodePlan, settings: Settings) -> Iterator[Problem]:
    """A node has one interface for a subnet: with two, an answer could leave by the one that the request did not come from."""
    others = (
        ("network.cidr", settings.network.cidr), ("k3s.podCidr", settings.k3s.pod_cidr),
        ("k3s.serviceCidr", settings.k3s.service_cidr),
    )  # fmt: skip
    for nic in node.nics:
        address = nic.settings.address
        for setting, subnet in others:
            if address is not None and address.network.overlaps(subnet):
                conflict = f"overlaps {setting} {subnet}, which the node reaches otherwise; choose an address of another subnet"
                yield _following(f"{nic.path}.address", str(address), conflict, setting)
    for one, other in combinations(node.nics, 2):
        mine, theirs = other.settings.address, one.settings.address
        if mine is not None and theirs is not None and mine.network.overlaps(theirs.network):
            conflict = f"is in the subnet of {one.path}.address {theirs}, on another NIC of the node; choose one of another subnet"
            yield _following(f"{other.path}.address", str(mine), conflict, f"{one.path}.address")


def _addresses_twice(plan: Plan) -> Iterator[Problem]:
    given = [(node, nic) for node in plan.nodes for nic in node.nics if nic.settings.address is not None]
    for (one, first), (other, nic) in combinations(given, 2):
        mine, theirs = nic.settings.address, first.settings.address
        if one is other or first.path == nic.path or mine is None or theirs is None or mine.ip != theirs.ip:
            continue
        if _plugged_into(nic.settings) == _plugged_into(first.settings):
            conflict = f"is the address of {one.name} too ({first.path}.address); choose another"
            yield _following(f"{nic.path}.address", str(mine), conflict, f"{first.path}.address")


def _plugged_into(nic: Nic) -> tuple[object, ...]:
    return nic.network, nic.portgroup, nic.bridge, nic.vlan, nic.native_vlan


def _claimed(plan: Plan, settings: Settings) -> Iterator[Problem]:
    """Addresses of networks for pods on a NIC, without a VLAN of their own: the node's is none of them, nor their router's."""
    claimed = [claim for claim in claims(plan.nodes, plan.networks, settings) if claim.network is not None]
    for nic in (nic for node in plan.nodes for nic in node.nics):
        address = nic.settings.address
        if address is None:
            continue
        setting = f"{nic.path}.address"
        for claim in claimed:
            if claim.link == nic.name and claim.range.overlaps(AddressRange.single(address.ip)):
                conflict = f"is one of {claim.setting} {claim.range.shortest}, which pods get; move one of them"
                yield _following(setting, str(address), conflict, claim.setting, f"{nic.path}.name")
        for network in plan.networks:
            if network.link == nic.name and network.gateway == address.ip:
                conflict = f"is {network.path}.gateway, another machine's; choose another address"
                yield _following(setting, str(address), conflict, f"{network.path}.gateway", f"{nic.path}.name")


# --- networks for pods ------------------------------------------------------------------------------------------------


def _parents(network: NetworkPlan, plan: Plan) -> list[tuple[NodePlan, NicPlan]]:
    """The NIC of each node that the network is on, of those that have one of this name."""
    return [(node, nic) for node in plan.nodes for nic in node.nics if nic.name == network.parent]


def _parent(network: NetworkPlan, plan: Plan, settings: Settings) -> Iterator[Problem]:
    """Each network is made on every node. A parent that is no NIC of the settings is looked for on the node."""
    parents = _parents(network, plan)
    lacking = [node.name for node in plan.nodes if all(node is not other for other, _ in parents)]
    reads = ("servers.nics", "agents.nics", "servers.overrides", "agents.overrides", "servers.count", "agents.count")
    if parents and lacking and network.parent != settings.network.interface:
        conflict = (
            f"is a NIC of {parents[0][0].name} and none of {', '.join(lacking)}, and the network is made on every node; add it to "
            "the nics of all"
        )
        yield _following(f"{network.path}.parent", repr(network.parent), conflict, *reads)
    for node, nic in parents:
        address = nic.settings.address
        if network.settings.mode == "passthru" and network.settings.vlan is None and (address is not None or nic.settings.dhcp):
            conflict = f"would take {nic.name} away from {node.name}, which has an address on it; use mode bridge, or no address"
            given = [f"{network.path}.{name}" for name in ("parent", "vlan")] + [
                f"{nic.path}.{name}" for name in ("address", "dhcp")
            ]
            yield _following(f"{network.path}.mode", "'passthru'", conflict, *given)
            return


def _vlans(network: NetworkPlan, plan: Plan, settings: Settings) -> Iterator[Problem]:
    """What the switch passes: on a NIC of one VLAN frames without a tag, on a trunk those with its tags."""
    vlan, path = network.settings.vlan, f"{network.path}.vlan"
    if network.parent == settings.network.interface:
        nodes = settings.network
        given = [("network", nodes.vlan, nodes.native_vlan)]
    else:
        given = [(nic.path, nic.settings.vlan, nic.settings.native_vlan) for _, nic in _parents(network, plan)]
    for nic_path, tags, native in dict.fromkeys(given):
        reads = (f"{network.path}.parent", f"{nic_path}.vlan", f"{nic_path}.nativeVlan", f"{nic_path}.name")
        if tags is None:
            continue
        if not isinstance(tags, tuple):
            if vlan is not None:
                conflict = (
                    f"is a VLAN inside of {nic_path}.vlan {tags}, whose port takes no frames with tags; remove it, or make that a "
                    f"trunk: vlan: [{vlan}]"
                )
                yield _following(path, str(vlan), conflict, *reads)
        elif vlan is None and native is None:
            conflict = (
                f"is needed: {nic_path}.vlan is a trunk, which takes no frames without a tag; set it to one of "
                f"{', '.join(map(str, tags))}"
            )
            yield _following(path, "", conflict, *reads)
        elif vlan is not None and vlan not in tags:
            listed = ", ".join(map(str, tags))
            conflict = f"is none of {nic_path}.vlan {listed}, so its frames are dropped; add it there, or correct it"
            yield _following(path, str(vlan), conflict, *reads)


def _mtu(network: NetworkPlan, plan: Plan) -> Iterator[Problem]:
    mtu = network.settings.mtu
    for _, nic in _parents(network, plan) if mtu is not None else ():
        own = nic.settings.mtu
        if own is not None and mtu is not None and mtu > own:
            conflict = (
                f"is {mtu - own} bytes above the {own} of {nic.name}, which {nic.path}.mtu says, and the plugin refuses each pod "
                f"above its parent; set at most {own}"
            )
            yield _following(f"{network.path}.mtu", str(mtu), conflict, f"{nic.path}.mtu", f"{network.path}.parent")
            return
