"""A libvirt host: version, KVM, the network and its addresses, memory, storage, what drops frames of the pods' MAC addresses."""

from __future__ import annotations

import contextlib
import shutil
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any
from urllib.parse import urlsplit

from cli import stack
from cli.checks import data_disks, firmware, host_devices, machine, nics, pod_networks, storage
from cli.findings import Finding, Findings, error, guarded, ok, unknown, warning
from components.config.plan import NodePlan, Plan, mac_address
from components.config.pool_plan import PoolPlan
from components.config.settings import Settings
from components.libvirt import domain_spec, domain_xml, network_xml, xml
from components.libvirt.connection import HypervisorError, connect, find
from components.libvirt.leases import Lease, leases, on_bridge, standings
from components.libvirt.network import layers

OLDEST_VERSION = 7_000_000
"""Of libvirt, as getLibVersion counts: 7.0.0."""
_SLOW_PROBE = 10.0
"""Seconds after which a query of libvirt's capabilities is reported as slow."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was observed on one host. None: libvirt does not report it."""

    version: int
    """Of libvirt, as getLibVersion counts (7.0.0: 7000000)."""
    kvm: bool
    """libvirt offers KVM."""
    probe_seconds: float
    """Seconds that the query of libvirt's capabilities took."""
    security: tuple[str, ...] = ()
    """Security drivers that confine QEMU: apparmor, selinux."""
    cpus: int = 0
    """CPUs of the host."""
    memory_total: int | None = None
    """Memory of the host, MiB."""
    memory_available: int | None = None
    """Memory that is free or cache, MiB."""
    network: str | None = None
    """XML of the stack's libvirt network; None: there is none of this name, or machines are connected to a bridge."""
    network_active: bool = False
    network_autostart: bool = False
    leases: Sequence[Lease] = ()
    """DHCP leases of that network."""
    stale_leases: Sequence[Lease] = ()
    """Those of `leases` whose machines are deleted and that are in nobody's way: `up` ends them, or needs no answer from DHCP
    there."""
    reservations: Sequence[network_xml.Host] = ()
    """DHCP reservations of that network."""
    running: Mapping[str, int] = field(default_factory=dict)
    """Memory in MiB, by name, of the stack's domains that run."""
    domains: Mapping[str, str] = field(default_factory=dict)
    """XML of the stack's domains by name."""
    storage: storage.Facts = field(default_factory=storage.Facts)
    """Where the machines' disks are."""
    devices: Sequence[Finding] = ()
    """What was found of the host's devices that the machines are given."""
    nic_networks: Mapping[str, nics.Network] = field(default_factory=dict)
    """The libvirt networks of further NICs that are there, by name."""
    uefi: firmware.Offers | None = None
    """What is offered to machines that boot by UEFI; None where they boot by BIOS."""


def is_local(uri: str) -> bool:
    parts = urlsplit(uri)
    return not parts.netloc and "+ssh" not in parts.scheme


def check(pool: PoolPlan, plan: Plan, config: Settings) -> Findings:
    """All findings about one host; one error if it is not reached."""
    try:
        with connect(pool.uri) as connection:
            facts = observe(connection, pool, plan, config)
    except HypervisorError as refusal:
        yield error(
            f"hypervisor {pool.hypervisor}",
            str(refusal),
            "machines, storage and addresses are made through it",
            "apt install libvirt-daemon-system, sudo systemctl start libvirtd, sudo adduser $USER libvirt; or hypervisors.*.uri",
        )
        return
    yield from assess(facts, pool, plan, config)
    yield from guarded("data disks", data_disks.check(pool, plan))


def observe(connection: Any, pool: PoolPlan, plan: Plan, config: Settings) -> Facts:
    began = time.monotonic()
    capabilities = connection.getCapabilities()
    probe = time.monotonic() - began
    network = None if stack.on_bridge(config) else find(connection.networkLookupByName, config.network.name)
    active = network is not None and bool(network.isActive())
    network_leases = leases(network) if network is not None and active else []
    nodes = [node for node in plan.nodes if node.pool.hypervisor == pool.hypervisor]
    domains = {
        domain.name(): (domain.XMLDesc(0), bool(domain.isActive()))
        for node in nodes
        if (domain := find(connection.lookupByUUIDString, node.uuid)) is not None
    }
    total, available = _memory(connection)
    documents = [document for document, _running in domains.values()]
    return Facts(
        version=connection.getLibVersion(),
        kvm=domain_spec.supports_kvm(capabilities),
        probe_seconds=probe,
        security=security_models(capabilities),
        cpus=connection.getInfo()[2],
        memory_total=total,
        memory_available=available,
        network=None if network is None else network.XMLDesc(0),
        network_active=active,
        network_autostart=network is not None and bool(network.autostart()),
        leases=network_leases,
        stale_leases=_stale_leases(connection, network, network_leases, plan) if network_leases else [],
        reservations=[] if network is None else _reservations(network),
        running={name: domain_spec.read_domain(xml).memory_mib for name, (xml, running) in domains.items() if running},
        domains={name: xml for name, (xml, _running) in domains.items()},
        storage=storage.observe(connection, pool, documents, nodes, local=is_local(pool.uri)),
        devices=tuple(guarded(host_devices.CHECK, host_devices.check(connection, nodes, plan.owner))),
        nic_networks=nics.observe(connection, nodes),
        uefi=firmware.observe(connection, config),
    )


def security_models(capabilities: str) -> tuple[str, ...]:
    """The security drivers that confine QEMU there (apparmor, selinux), without plain file ownership."""
    root = xml.parse(capabilities)
    models = [element.text or "" for element in root.findall("host/secmodel/model")]
    return tuple(model for model in models if model in ("apparmor", "selinux"))


def _reservations(network: Any) -> list[network_xml.Host]:
    with contextlib.suppress(Exception):  # a driver that reports one of a network's definitions only
        return [host for layer in layers(network) for host in layer.facts.hosts]
    return list(network_xml.read_network(network.XMLDesc(0)).hosts)


def _memory(connection: Any) -> tuple[int | None, int | None]:
    try:
        stats = connection.getMemoryStats(-1)
        return stats["total"] // 1024, (stats["free"] + stats.get("cached", 0) + stats.get("buffers", 0)) // 1024
    except Exception:
        return int(connection.getInfo()[1]), None


def assess(facts: Facts, pool: PoolPlan, plan: Plan, config: Settings) -> Findings:
    nodes = [node for node in plan.nodes if node.pool.hypervisor == pool.hypervisor]
    local = is_local(pool.uri)
    own_macs = pods_have_own_macs(config)
    name = f"hypervisor {pool.hypervisor}"
    yield from assess_host(name, pool.uri, facts)
    yield assess_kvm(facts, config, machine.kvm_device() if local else "not checked")
    yield from firmware.assess(facts.uefi, facts.version, config)
    yield from assess_memory(facts, nodes)
    yield from storage.assess(facts.storage, pool, nodes, facts.domains)
    yield from facts.devices
    bridge = ""
    if stack.on_bridge(config):
        bridge = config.network.name
        if not (local and config.network.openvswitch):
            yield machine.bridge_device(bridge) if local else unknown("network", f"bridge {bridge} cannot be checked from here")
    else:
        if facts.network is not None:
            bridge = network_xml.read_network(facts.network).bridge
        yield from assess_network(facts, config, own_macs=own_macs, dnsmasq=_dnsmasq() if local else None)
        yield assess_addresses(facts, plan, config)
    yield from guarded("nics", nics.assess(facts.nic_networks, config, nodes, version=facts.version, local=local))
    for network_name, network in facts.nic_networks.items():
        yield from _mac_filters(xml.parse(network.xml), network_name, own_macs=own_macs)
    yield from assess_interfaces(facts, own_macs=own_macs)
    if local:
        yield from guarded("vlan", pod_networks.check(plan, config, bridge, taps(facts, nodes), _further(facts, nodes)))
        yield from guarded("routes", machine.routes(config.network.cidr, bridge, local=True))
        claims = list(plan.claims)
        macs = [node.mac for node in plan.nodes]
        yield from guarded("addresses", machine.neighbours(bridge, claims, macs, running=bool(facts.running)))
        yield from guarded("bridge filter", machine.bridged_frames())
        path = machine.pool_path(pool.path, root_qemu=machine.qemu_is_root(), models=facts.security)
        yield from guarded("pool path", path)
    else:
        yield unknown(
            "bridge filter",
            f"{pool.hypervisor} is another machine: its firewall, routes and the mode of {pool.path} cannot be checked from here",
            "what libvirt does not report can stop machines or their frames",
            "run doctor there as well",
        )
        yield from pod_networks.not_checked(plan, pool.hypervisor)
        yield from guarded("routes", machine.routes(config.network.cidr, "", local=False))


def pods_have_own_macs(config: Settings) -> bool:
    """Whether there are pods with MAC addresses of their own, and not their node's."""
    return any(network.type == "macvlan" for network in config.pod_networks.values())


def taps(facts: Facts, nodes: Iterable[NodePlan]) -> dict[str, str]:
    """The port of the network's bridge that each node's machine has, by the node's name; empty for one that does not run."""
    ports = {}
    for node in nodes:
        devices = xml.parse(facts.domains[node.domain]).findall("devices/interface") if node.domain in facts.running else []
        own = (device for device in devices if domain_xml.attribute(device, "mac", "address").lower() == node.mac.lower())
        ports[node.name] = next((domain_xml.attribute(device, "target", "dev") for device in own), "")
    return ports


def _further(facts: Facts, nodes: Sequence[NodePlan]) -> dict[str, pod_networks.Ports]:
    """By name of a further NIC: its bridge, if it is known, and the ports there."""
    bridges = nics.bridges(facts.nic_networks, nodes)
    taps_of = nics.ports(facts.domains, facts.running, nodes)
    return {name: pod_networks.Ports(bridges.get(name, ""), taps) for name, taps in taps_of.items()}


def _dnsmasq() -> bool:
    return bool(shutil.which("dnsmasq") or shutil.which("dnsmasq", path="/usr/sbin:/sbin"))


def assess_host(name: str, uri: str, facts: Facts) -> Findings:
    version = f"{facts.version // 1_000_000}.{facts.version // 1000 % 1000}.{facts.version % 1000}"
    if facts.version < OLDEST_VERSION:
        yield error(
            name,
            f"libvirt {version} on {uri}",
            "the program is written for 7.0 and later",
            "upgrade the host: Debian 11, Ubuntu 22.04 or later",
        )
    else:
        yield ok(name, f"libvirt {version} answers on {uri}")
    if facts.probe_seconds > _SLOW_PROBE:
        yield warning(
            name,
            f"libvirt took {facts.probe_seconds:.0f} s to report its capabilities",
            "it probes QEMU again each time where /dev/kvm is there and cannot be used by QEMU's user: every start of a machine "
            "takes as long",
            "chmod 0660 /dev/kvm and group kvm, or hide the device from libvirtd; machine.virtType: qemu alone does not fix it",
        )


def assess_kvm(facts: Facts, config: Settings, device: str) -> Finding:
    """device: /dev/kvm on this machine, or `not checked`."""
    chosen = config.machine.virt_type
    if chosen == "qemu":
        return ok("kvm", "plain emulation is chosen (machine.virtType: qemu)")
    if facts.kvm:
        return ok(
            "kvm", "libvirt offers KVM. If a guest never boots all the same (a CPU that is virtual itself): machine.virtType: qemu"
        )
    reason = {"absent": "there is no /dev/kvm", "closed": "/dev/kvm may not be opened by this user"}.get(
        device, "libvirt does not offer it"
    )
    fix = "switch virtualisation on in the firmware, modprobe kvm_intel or kvm_amd; or machine.virtType: qemu"
    if chosen == "kvm":
        return error("kvm", f"no KVM: {reason}", "machine.virtType requires it", fix)
    return warning("kvm", f"no KVM: {reason}", "machines are emulated, about ten times slower; limits may be too short", fix)


def assess_memory(facts: Facts, nodes: Sequence[NodePlan]) -> Findings:
    to_start = sum(node.memory for node in nodes if node.domain not in facts.running)
    all_nodes = sum(node.memory for node in nodes)
    setting = "servers.memory, agents.memory, fewer nodes, or another hypervisor for some"
    if facts.memory_total is not None and all_nodes > facts.memory_total:
        yield error(
            "memory",
            f"the machines have {all_nodes} MiB, the host {facts.memory_total} MiB",
            "the host kills processes when its memory ends",
            f"less in {setting}",
        )
    elif facts.memory_available is not None and to_start > facts.memory_available:
        yield warning(
            "memory",
            f"machines yet to start want {to_start} MiB, {facts.memory_available} MiB are free or cache",
            "the host swaps, or kills processes",
            f"less in {setting}; or end other programs",
        )
    else:
        free = "" if facts.memory_available is None else f", {facts.memory_available} MiB free or cache"
        yield ok("memory", f"machines yet to start want {to_start} MiB{free}")
    largest = max((node.cpus for node in nodes), default=0)
    if facts.cpus and largest > facts.cpus:
        yield warning(
            "cpus",
            f"a machine has {largest} CPUs, the host {facts.cpus}",
            "more than the host has makes it slower, not faster",
            "less in servers.cpus or agents.cpus",
        )


def assess_network(facts: Facts, config: Settings, *, own_macs: bool, dnsmasq: bool | None) -> Findings:
    """own_macs: pods have MAC addresses of their own, and not their node's. dnsmasq: the host has it; None: not known."""
    name, cidr = config.network.name, config.network.cidr
    if facts.network is None:
        yield error(
            "network",
            f"there is no libvirt network {name}",
            "nodes and pods live on it",
            "virsh net-define /usr/share/libvirt/networks/default.xml && virsh net-start default; or network.name",
        )
        return
    root = xml.parse(facts.network)
    if not facts.network_active:
        yield error(
            "network",
            f"the libvirt network {name} is not active",
            "nodes and pods live on it, and its addresses are changed while it runs",
            f"virsh net-start {name} && virsh net-autostart {name}",
        )
        if dnsmasq is False:
            yield error("network", "there is no dnsmasq", "libvirt gives out addresses by it", "apt install dnsmasq-base")
    elif not facts.network_autostart:
        yield warning(
            "network",
            f"the libvirt network {name} does not start with the host",
            "after a reboot the machines have no network",
            f"virsh net-autostart {name}",
        )
    yield from _subnet(root, name, cidr, str(config.network.gateway))
    findings = list(_mac_filters(root, name, own_macs=own_macs))
    yield from findings
    if facts.network_active and not findings:
        yield ok(
            "network",
            f"{name} is active on {domain_xml.attribute(root, 'bridge', 'name') or 'no bridge'}, and drops no frames of pods",
        )


def _subnet(root: ET.Element, name: str, cidr: IPv4Network, gateway: str) -> Findings:
    network = network_xml.read_network(xml.text_of(root))
    if not network.ip:
        yield error(
            "network",
            f"the libvirt network {name} has no IPv4 subnet of its own",
            "nodes get their addresses by its DHCP server",
            "a network with <ip> and <dhcp>: network.name",
        )
        return
    subnet = IPv4Network(f"{network.ip}/{network.netmask}", strict=False)
    if subnet != cidr:
        yield error(
            "network",
            f"the libvirt network {name} is {subnet}, network.cidr says {cidr}",
            "addresses of another subnet are reached by nobody",
            f"network.cidr: {subnet}, and network.gateway, network.nodes, podNetworks.NETWORK.range inside it",
        )
    elif network.ip != gateway:
        yield warning(
            "network",
            f"the hypervisor is {network.ip} on {name}, network.gateway says {gateway}",
            "the checks of podNetworks probe for the gateway by ARP, and routes of pods lead to it",
            f"network.gateway: {network.ip}, unless another machine routes there",
        )
    if root.find("ip/dhcp") is None:
        yield error(
            "network",
            f"the libvirt network {name} has no DHCP server",
            "nodes get their reserved addresses by it",
            f"virsh net-edit {name}: <dhcp><range start=… end=…/></dhcp> inside <ip>",
        )


def _mac_filters(root: ET.Element, name: str, *, own_macs: bool) -> Findings:
    """Settings of the network that drop frames of pods. own_macs: pods have MAC addresses of their own, and not their node's."""
    why = "each macvlan pod has a MAC address of its own, and frames to it never arrive"
    if own_macs and domain_xml.attribute(root, "bridge", "macTableManager") == "libvirt":
        yield error(
            "foreign MACs",
            f"the bridge of {name} has macTableManager='libvirt': it learns no MAC addresses",
            why,
            f"virsh net-edit {name}: take macTableManager out of <bridge>; then virsh net-destroy {name} && virsh net-start {name}",
        )
    mode = domain_xml.attribute(root, "forward", "mode")
    without_bridge = mode in ("vepa", "private", "passthrough", "hostdev") or (mode == "bridge" and root.find("bridge") is None)
    if own_macs and without_bridge:
        yield error(
            "foreign MACs",
            f"the network {name} connects machines by macvtap or device (forward mode {mode})",
            f"{why} (macvtap drops what is not for the machine's own)",
            "a network on a bridge: network.name; or podNetworks.NETWORK.type: ipvlan, whose pods have the node's MAC address",
        )
    if any(port.get("isolated") == "yes" for port in root.iter("port")):
        yield error(
            "foreign MACs",
            f"ports of {name} are isolated from each other",
            "machines of the network reach neither nodes nor pods",
            f"virsh net-edit {name}: take <port isolated='yes'/> out",
        )


def _stale_leases(connection: Any, network: Any, network_leases: Sequence[Lease], plan: Plan) -> list[Lease]:
    """The leases in the stack's addresses whose machines are deleted, without those that keep a node from its address and cannot be
    ended from here."""
    facts = network_xml.read_network(network.XMLDesc(0))
    unmanaged = _unmanaged_leases(network_leases, plan)
    can_release = on_bridge(facts) if unmanaged else False
    nodes = {str(node.address) for node in plan.nodes}
    all_standings = standings(connection, facts, unmanaged, project=plan.project)
    return [
        standing.lease for standing in all_standings if not standing.alive and (can_release or standing.lease.address not in nodes)
    ]


def _stack_macs(plan: Plan) -> set[str]:
    """MAC addresses of the stack's nodes and of those that it may have had: a lease of one that left may be beyond `up`'s reach."""
    names = [f"{role}-{number}" for role in ("server", "agent") for number in range(1, 101)]
    return {node.mac for node in plan.nodes} | {mac_address(plan.project, plan.stack, name) for name in names}


def _unmanaged_leases(network_leases: Iterable[Lease], plan: Plan) -> list[Lease]:
    """Leases in the stack's addresses that other machines have."""
    stack_macs = _stack_macs(plan)
    return [
        lease
        for lease in network_leases
        if lease.mac not in stack_macs and any(IPv4Address(lease.address) in claim for claim in plan.claims)
    ]


def assess_addresses(facts: Facts, plan: Plan, config: Settings) -> Finding:
    unmanaged = [
        f"{lease.address} leased to {lease.name or 'a machine'} ({lease.mac})"
        for lease in _unmanaged_leases(facts.leases, plan)
        if lease not in facts.stale_leases
    ]
    stack_macs = _stack_macs(plan)
    unmanaged += sorted(
        {
            f"{host.ip} reserved for {host.name or 'a machine'} ({host.mac or 'no MAC'})"
            for host in facts.reservations
            if host.ip and host.mac not in stack_macs and any(IPv4Address(host.ip) in claim for claim in plan.claims)
        }
    )
    if unmanaged:
        return error(
            "addresses",
            f"in the stack's ranges: {'; '.join(unmanaged)}",
            "the stack takes these addresses for itself, and `up` refuses while others have them",
            f"shut that machine down and wait for its lease to end, virsh net-update {config.network.name} delete ip-dhcp-host for "
            "a reservation, or other addresses in network.nodes and podNetworks.NETWORK",
        )
    stale = f"; of deleted machines: {', '.join(str(lease) for lease in facts.stale_leases)}" if facts.stale_leases else ""
    return ok("addresses", f"no lease or reservation of others in {', '.join(str(claim) for claim in plan.claims)}{stale}")


def assess_interfaces(facts: Facts, *, own_macs: bool) -> Iterable[Finding]:
    """The machines that exist: nothing on their NICs may drop frames of pods. own_macs: these have MAC addresses of their own."""
    for name, document in sorted(facts.domains.items()):
        for interface in xml.parse(document).findall("devices/interface"):
            network_filter = interface.find("filterref")
            if network_filter is not None:
                yield error(
                    "foreign MACs",
                    f"{name} has the network filter {network_filter.get('filter')}",
                    "it drops the frames of pods: no-mac-spoofing for their MAC addresses, clean-traffic for their addresses too",
                    f"virsh edit {name}: take <filterref> out; then ./lab refresh",
                )
            if own_macs and interface.get("type") == "direct":
                yield error(
                    "foreign MACs",
                    f"{name} is connected by macvtap",
                    "it drops frames for the pods' MAC addresses",
                    f"virsh edit {name}: connect it to a network or bridge; then ./lab refresh",
                )
