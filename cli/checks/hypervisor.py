"""A libvirt host: version, KVM, the network and its addresses, memory, storage, and what would drop foreign MAC addresses."""

from __future__ import annotations

import contextlib
import shutil
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cli import stack
from cli.checks import machine
from cli.findings import Finding, Findings, error, guarded, ok, unknown, warning
from components.config.plan import GIB, NodePlan, Plan, PoolPlan, mac_address
from components.config.settings import Settings
from components.libvirt import domain_spec, network_xml, storage_xml, xml
from components.libvirt.connection import HypervisorError, connect, find
from components.libvirt.leases import Lease, leases, on_bridge, standings
from components.libvirt.network import layers

OLDEST = 7_000_000
# What a fresh node takes at once: K3s with its images over the base image. The rest of its disk is taken as it is used.
_FRESH = 4 * GIB
_SLOW_PROBE = 10.0


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was seen on one host. Memory in MiB, storage in bytes; None: not told."""

    version: int
    kvm: bool
    probe_seconds: float
    security: tuple[str, ...] = ()
    cpus: int = 0
    memory_total: int | None = None
    memory_available: int | None = None
    network: str | None = None
    network_active: bool = False
    network_autostart: bool = False
    leases: Sequence[Lease] = ()
    gone: Sequence[Lease] = ()
    """Of these, of machines that are gone and in nobody's way: `up` ends them, or needs no answer from DHCP there."""
    reservations: Sequence[network_xml.Host] = ()
    running: Mapping[str, int] = field(default_factory=dict)
    """Memory by name of the stack's domains that run."""
    interfaces: Mapping[str, str] = field(default_factory=dict)
    """XML by name of the stack's domains."""
    space: int | None = None
    """Free in the file system of the pool."""
    allocated: int = 0
    """Taken by the stack's volumes already."""


def is_local(uri: str) -> bool:
    parts = urlsplit(uri)
    return not parts.netloc and "+ssh" not in parts.scheme


def check(pool: PoolPlan, plan: Plan, config: Settings) -> Findings:
    """All findings about one host; one error if it is not reached."""
    try:
        with connect(pool.uri) as connection:
            facts = look(connection, pool, plan, config)
    except HypervisorError as failed:
        yield error(
            f"hypervisor {pool.hypervisor}",
            str(failed),
            "machines, storage and addresses are made through it",
            "apt install libvirt-daemon-system, sudo systemctl start libvirtd, sudo adduser $USER libvirt; or hypervisors.*.uri",
        )
        return
    yield from judge(facts, pool, plan, config)


def look(connection: Any, pool: PoolPlan, plan: Plan, config: Settings) -> Facts:
    began = time.monotonic()
    capabilities = connection.getCapabilities()
    probe = time.monotonic() - began
    network = None if stack.on_bridge(config) else find(connection.networkLookupByName, config.network.name)
    active = network is not None and bool(network.isActive())
    held = leases(network) if network is not None and active else []
    xmls = {
        domain.name(): (domain.XMLDesc(0), bool(domain.isActive()))
        for node in plan.nodes
        if node.pool.hypervisor == pool.hypervisor and (domain := find(connection.lookupByUUIDString, node.uuid)) is not None
    }
    total, available = _memory(connection)
    space, allocated = _space(connection, pool)
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
        leases=held,
        gone=_gone(connection, network, held, plan) if held else [],
        reservations=[] if network is None else _reservations(network),
        running={name: domain_spec.read_domain(xml).memory_mib for name, (xml, runs) in xmls.items() if runs},
        interfaces={name: xml for name, (xml, _runs) in xmls.items()},
        space=space,
        allocated=allocated,
    )


def security_models(capabilities: str) -> tuple[str, ...]:
    """apparmor, selinux: what confines QEMU there, without plain file ownership."""
    root = xml.parse(capabilities)
    models = [element.text or "" for element in root.findall("host/secmodel/model")]
    return tuple(model for model in models if model in ("apparmor", "selinux"))


def _reservations(network: Any) -> list[network_xml.Host]:
    with contextlib.suppress(Exception):  # a driver that does not tell both of a network's definitions
        return [host for layer in layers(network) for host in layer.facts.hosts]
    return list(network_xml.read_network(network.XMLDesc(0)).hosts)


def _memory(connection: Any) -> tuple[int | None, int | None]:
    try:
        found = connection.getMemoryStats(-1)
        return found["total"] // 1024, (found["free"] + found.get("cached", 0) + found.get("buffers", 0)) // 1024
    except Exception:
        return int(connection.getInfo()[1]), None


def _space(connection: Any, pool: PoolPlan) -> tuple[int | None, int]:
    """Free bytes where the pool is or will be, from libvirt if a pool there tells, and what the stack's own volumes take."""
    own = find(connection.storagePoolLookupByUUIDString, pool.uuid)
    if own is not None and own.isActive():
        taken = sum(volume.info()[2] for volume in own.listAllVolumes(0))
        return int(own.info()[3]), taken
    directory = str(Path(pool.path).parent)
    for other in connection.listAllStoragePools(0):
        if other.isActive() and storage_xml.read_pool(other.XMLDesc(0)).path.rstrip("/") == directory:
            return int(other.info()[3]), 0
    if is_local(pool.uri):
        for each in Path(pool.path).parents:
            with contextlib.suppress(OSError):
                return shutil.disk_usage(each).free, 0
    return None, 0


def judge(facts: Facts, pool: PoolPlan, plan: Plan, config: Settings) -> Findings:
    nodes = [node for node in plan.nodes if node.pool.hypervisor == pool.hypervisor]
    local = is_local(pool.uri)
    name = f"hypervisor {pool.hypervisor}"
    yield from judge_host(name, pool.uri, facts)
    yield judge_kvm(facts, config, machine.kvm_device() if local else "not looked at")
    yield from judge_memory(facts, nodes)
    yield judge_space(facts, pool, nodes)
    bridge = ""
    if stack.on_bridge(config):
        bridge = config.network.name
        yield machine.bridge_device(bridge) if local else unknown("network", f"bridge {bridge} is not seen from here")
    else:
        if facts.network is not None:
            bridge = network_xml.read_network(facts.network).bridge
        yield from judge_network(facts, config, dnsmasq=_dnsmasq() if local else None)
        yield judge_addresses(facts, plan, config)
    yield from judge_interfaces(facts)
    if local:
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
            f"{pool.hypervisor} is another machine: its firewall, routes and the permissions of {pool.path} are not seen from here",
            "what libvirt does not tell can stop machines or their frames",
            "run doctor there as well",
        )
        yield from guarded("routes", machine.routes(config.network.cidr, "", local=False))


def _dnsmasq() -> bool:
    return bool(shutil.which("dnsmasq") or shutil.which("dnsmasq", path="/usr/sbin:/sbin"))


def judge_host(name: str, uri: str, facts: Facts) -> Findings:
    version = f"{facts.version // 1_000_000}.{facts.version // 1000 % 1000}.{facts.version % 1000}"
    if facts.version < OLDEST:
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
            f"libvirt took {facts.probe_seconds:.0f} s to tell its capabilities",
            "it probes QEMU anew each time where /dev/kvm is there and cannot be used by QEMU's user: every start of a machine "
            "takes as long",
            "chmod 0660 /dev/kvm and group kvm, or hide the device from libvirtd; machine.virtType: qemu alone does not fix it",
        )


def judge_kvm(facts: Facts, config: Settings, device: str) -> Finding:
    """device: /dev/kvm on this machine, or `not looked at`."""
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
        return error("kvm", f"no KVM: {reason}", "machine.virtType asks for it", fix)
    return warning("kvm", f"no KVM: {reason}", "machines are emulated, about ten times slower; limits may be too short", fix)


def judge_memory(facts: Facts, nodes: Sequence[NodePlan]) -> Findings:
    wanted = sum(node.memory for node in nodes if node.domain not in facts.running)
    every = sum(node.memory for node in nodes)
    setting = "servers.memory, agents.memory, fewer nodes, or another hypervisor for some"
    if facts.memory_total is not None and every > facts.memory_total:
        yield error(
            "memory",
            f"the machines have {every} MiB, the host {facts.memory_total} MiB",
            "the host kills processes when its memory ends",
            f"less in {setting}",
        )
    elif facts.memory_available is not None and wanted > facts.memory_available:
        yield warning(
            "memory",
            f"machines yet to start want {wanted} MiB, {facts.memory_available} MiB are free or cache",
            "the host swaps, or kills processes",
            f"less in {setting}; or end other programs",
        )
    else:
        free = "" if facts.memory_available is None else f", {facts.memory_available} MiB free or cache"
        yield ok("memory", f"machines yet to start want {wanted} MiB{free}")
    largest = max((node.cpus for node in nodes), default=0)
    if facts.cpus and largest > facts.cpus:
        yield warning(
            "cpus",
            f"a machine has {largest} CPUs, the host {facts.cpus}",
            "more than the host has makes it slower, not faster",
            "less in servers.cpus or agents.cpus",
        )


def judge_space(facts: Facts, pool: PoolPlan, nodes: Sequence[NodePlan]) -> Finding:
    fresh = [node for node in nodes if node.domain not in facts.interfaces]
    most = max(0, sum(node.disk for node in nodes) - facts.allocated)
    least = len(fresh) * _FRESH + (GIB if fresh else 0)
    if facts.space is None:
        return unknown(
            "storage", f"free space at {pool.path} is not told", "a full file system stops machines", f"df -h {pool.path}"
        )
    free = f"{facts.space / GIB:.1f} GiB are free at {pool.path}"
    fix = "free some, or another hypervisors.*.poolDirectory"
    if facts.space < least:
        return error(
            "storage",
            f"{free}, about {least / GIB:.0f} GiB are needed at once",
            "the base image is stored once, and each new node takes about 4 GiB for K3s and its images",
            fix,
        )
    if facts.space < most:
        return warning(
            "storage",
            f"{free}; full disks would take {most / GIB:.0f} GiB more",
            "disks grow as they are used, and a machine whose disk cannot grow is paused",
            f"{fix}; or less in servers.disk, agents.disk",
        )
    return ok("storage", free)


def judge_network(facts: Facts, config: Settings, *, dnsmasq: bool | None) -> Findings:
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
    wrong = list(_foreign_macs(root, name))
    yield from wrong
    if facts.network_active and not wrong:
        yield ok(
            "network",
            f"{name} is active on {_attribute(root, 'bridge', 'name') or 'no bridge'}, and drops no foreign MAC addresses",
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
    found = IPv4Network(f"{network.ip}/{network.netmask}", strict=False)
    if found != cidr:
        yield error(
            "network",
            f"the libvirt network {name} is {found}, network.cidr says {cidr}",
            "addresses of another subnet are reached by nobody",
            f"network.cidr: {found}, and network.gateway, network.nodes, macvlan.range inside it",
        )
    elif network.ip != gateway:
        yield warning(
            "network",
            f"the hypervisor is {network.ip} on {name}, network.gateway says {gateway}",
            "the check of macvlan pings the gateway, and routes of pods go by it",
            f"network.gateway: {network.ip}, unless another machine routes there",
        )
    if root.find("ip/dhcp") is None:
        yield error(
            "network",
            f"the libvirt network {name} has no DHCP server",
            "nodes get their reserved addresses by it",
            f"virsh net-edit {name}: <dhcp><range start=… end=…/></dhcp> inside <ip>",
        )


def _attribute(root: ET.Element, path: str, name: str) -> str:
    element = root.find(path)
    return "" if element is None else element.get(name, "")


def _foreign_macs(root: ET.Element, name: str) -> Findings:
    """What keeps frames of the pods' own MAC addresses from passing."""
    why = "each macvlan pod has a MAC address of its own, and frames to it never arrive"
    if _attribute(root, "bridge", "macTableManager") == "libvirt":
        yield error(
            "foreign MACs",
            f"the bridge of {name} has macTableManager='libvirt': it learns no MAC addresses",
            why,
            f"virsh net-edit {name}: take macTableManager out of <bridge>; then virsh net-destroy {name} && virsh net-start {name}",
        )
    mode = _attribute(root, "forward", "mode")
    if mode in ("vepa", "private", "passthrough", "hostdev") or (mode == "bridge" and root.find("bridge") is None):
        yield error(
            "foreign MACs",
            f"the network {name} connects machines by macvtap or device (forward mode {mode})",
            f"{why} (macvtap drops what is not for the machine's own)",
            "a network on a bridge: network.name; or macvlan.type: ipvlan, which shares the node's MAC address",
        )
    if any(each.get("isolated") == "yes" for each in root.iter("port")):
        yield error(
            "foreign MACs",
            f"ports of {name} are isolated from each other",
            "machines of the network reach neither nodes nor pods",
            f"virsh net-edit {name}: take <port isolated='yes'/> out",
        )


def _gone(connection: Any, network: Any, held: Sequence[Lease], plan: Plan) -> list[Lease]:
    """The leases in the stack's addresses whose machines are gone, without those that keep a node from its address: from here they
    could not be ended."""
    facts = network_xml.read_network(network.XMLDesc(0))
    theirs = _theirs(held, plan)
    ends = on_bridge(facts) if theirs else False
    nodes = {str(node.address) for node in plan.nodes}
    seen = standings(connection, facts, theirs, project=plan.project)
    return [each.lease for each in seen if not each.alive and (ends or each.lease.address not in nodes)]


def _our_macs(plan: Plan) -> set[str]:
    """Of the stack's nodes and of those that it may have had: one that left keeps its lease where that cannot be ended."""
    names = [f"{role}-{number}" for role in ("server", "agent") for number in range(1, 101)]
    return {node.mac for node in plan.nodes} | {mac_address(plan.project, plan.stack, name) for name in names}


def _theirs(held: Iterable[Lease], plan: Plan) -> list[Lease]:
    """Leases of others in the stack's addresses."""
    ours = _our_macs(plan)
    return [lease for lease in held if lease.mac not in ours and any(IPv4Address(lease.address) in claim for claim in plan.claims)]


def judge_addresses(facts: Facts, plan: Plan, config: Settings) -> Finding:
    strangers = [
        f"{lease.address} leased to {lease.name or 'a machine'} ({lease.mac})"
        for lease in _theirs(facts.leases, plan)
        if lease not in facts.gone
    ]
    ours = _our_macs(plan)
    strangers += sorted(
        {
            f"{host.ip} reserved for {host.name or 'a machine'} ({host.mac or 'no MAC'})"
            for host in facts.reservations
            if host.ip and host.mac not in ours and any(IPv4Address(host.ip) in claim for claim in plan.claims)
        }
    )
    if strangers:
        return error(
            "addresses",
            f"in the stack's ranges: {'; '.join(strangers)}",
            "the stack takes these addresses for itself, and `up` refuses while others have them",
            f"shut that machine down and wait for its lease to end, virsh net-update {config.network.name} delete ip-dhcp-host for "
            "a reservation, or other ranges in network.nodes and macvlan.range",
        )
    gone = f"; of machines that are gone: {', '.join(str(lease) for lease in facts.gone)}" if facts.gone else ""
    return ok("addresses", f"no lease or reservation of others in {', '.join(str(claim) for claim in plan.claims)}{gone}")


def judge_interfaces(facts: Facts) -> Iterable[Finding]:
    """The machines that are there: nothing on their NICs may drop what is not for their own MAC address."""
    for name, text in sorted(facts.interfaces.items()):
        for each in xml.parse(text).findall("devices/interface"):
            rule = each.find("filterref")
            if rule is not None:
                yield error(
                    "foreign MACs",
                    f"{name} has the network filter {rule.get('filter')}",
                    "no-mac-spoofing and clean-traffic drop the frames of pods",
                    f"virsh edit {name}: take <filterref> out; then ./lab refresh",
                )
            if each.get("type") == "direct":
                yield error(
                    "foreign MACs",
                    f"{name} is connected by macvtap",
                    "it drops frames for the pods' MAC addresses",
                    f"virsh edit {name}: connect it to a network or bridge; then ./lab refresh",
                )
