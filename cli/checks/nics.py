"""What the machines' NICs are plugged into: whether the networks and bridges are there, and put on them the VLANs that are set."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.findings import Findings, error, ok, unknown, warning
from components.config.nics import vlan_text
from components.config.plan import NodePlan
from components.config.settings import Settings
from components.libvirt import domain_xml, network_xml, xml
from components.libvirt.connection import find

LINUX_VLANS = 11_000_000
"""Of libvirt, as getLibVersion counts: the first that puts the VLANs of a NIC on its port of a Linux bridge."""

SYSTEM = Path("/sys/class/net")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A libvirt network that a further NIC is on, as libvirt reports it."""

    xml: str
    active: bool
    autostart: bool

    @property
    def bridge(self) -> str:
        """Its bridge; empty for one that has none."""
        return network_xml.read_network(self.xml).bridge


@dataclass(frozen=True, kw_only=True)
class Plug:
    """What is set of one NIC of several nodes, or of one."""

    setting: str
    """Its path: network, or servers.nics.0."""
    network: str | None
    portgroup: str | None
    bridge: str | None
    openvswitch: bool
    vlan: str
    """As an input of `Domain`; empty for none."""
    mtu: int | None


def plugs(config: Settings, nodes: Iterable[NodePlan]) -> list[Plug]:
    """Of the nodes' first NIC where it is on a bridge, and of all further ones, each once."""
    network = config.network
    plugged = []
    if network.bridge_name is not None:
        vlan = vlan_text(network.vlan, network.native_vlan)
        plugged.append(
            Plug(
                setting="network",
                network=None,
                portgroup=None,
                bridge=network.bridge_name,
                openvswitch=network.openvswitch,
                vlan=vlan,
                mtu=network.mtu,
            )
        )
    for nic in (nic for node in nodes for nic in node.nics):
        own = nic.settings
        plugged.append(
            Plug(
                setting=nic.path,
                network=own.network,
                portgroup=own.portgroup,
                bridge=own.bridge,
                openvswitch=own.openvswitch,
                vlan=vlan_text(own.vlan, own.native_vlan),
                mtu=own.mtu,
            )
        )
    return list(dict.fromkeys(plugged))


def observe(connection: Any, nodes: Iterable[NodePlan]) -> dict[str, Network]:
    """The libvirt networks of further NICs that are there, by name."""
    networks = {}
    for name in sorted({nic.settings.network for node in nodes for nic in node.nics if nic.settings.network is not None}):
        network = find(connection.networkLookupByName, name)
        if network is not None:
            active, autostart = bool(network.isActive()), bool(network.autostart())
            networks[name] = Network(xml=network.XMLDesc(0), active=active, autostart=autostart)
    return networks


def ports(documents: Mapping[str, str], running: Iterable[str], nodes: Iterable[NodePlan]) -> dict[str, dict[str, str]]:
    """By name of a further NIC: the port of its bridge by the node's name; empty for a machine that does not run.

    documents: XML of domains by name. running: names of those that run.
    """
    ports_of: dict[str, dict[str, str]] = {}
    for node in nodes:
        devices = xml.parse(documents[node.domain]).findall("devices/interface") if node.domain in running else []
        taps = {
            domain_xml.attribute(device, "mac", "address").lower(): domain_xml.attribute(device, "target", "dev")
            for device in devices
        }
        for nic in node.nics:
            ports_of.setdefault(nic.name, {})[node.name] = taps.get(nic.mac.lower(), "")
    return ports_of


def bridges(networks: Mapping[str, Network], nodes: Iterable[NodePlan]) -> dict[str, str]:
    """By name of a further NIC: its bridge, where all nodes have it on one, unless libvirt itself sets the VLANs of its ports."""
    by_name: dict[str, set[str]] = {}
    for nic in (nic for node in nodes for nic in node.nics):
        own = nic.settings
        bridge = _bridge(own.network, own.bridge, networks)
        by_name.setdefault(nic.name, set()).add("" if own.openvswitch or own.vlan is not None else bridge)
    return {name: next(iter(ports)) for name, ports in by_name.items() if len(ports) == 1 and "" not in ports}


def _bridge(network: str | None, bridge: str | None, networks: Mapping[str, Network]) -> str:
    """Empty if it is not known."""
    known = networks.get(network or "")
    return known.bridge if known is not None else bridge or ""


def assess(networks: Mapping[str, Network], config: Settings, nodes: Sequence[NodePlan], *, version: int, local: bool) -> Findings:
    """networks: as observed. version: of libvirt. local: the hypervisor is this machine."""
    for plug in plugs(config, nodes):
        problems = list(
            assess_network(plug, networks) if plug.network is not None else _assess_bridge(plug, version=version, local=local)
        )
        bridge = _bridge(plug.network, plug.bridge, networks)
        if local and bridge:
            problems += _mtu(plug, bridge, SYSTEM)
        yield from problems
        if not problems and plug.setting != "network":
            place = f"bridge {plug.bridge}" if plug.network is None else f"the libvirt network {plug.network}"
            yield ok("nics", f"{place} of {plug.setting} is there")


def assess_network(plug: Plug, networks: Mapping[str, Network]) -> Findings:
    name = plug.network or ""
    if name not in networks:
        yield error(
            "nics",
            f"there is no libvirt network {name}",
            f"{plug.setting} is on it",
            f"virsh net-define FILE && virsh net-start {name} && virsh net-autostart {name}; or {plug.setting}.network",
        )
        return
    network = networks[name]
    if not network.active:
        yield error(
            "nics",
            f"the libvirt network {name} is not active",
            f"{plug.setting} is on it, and no machine starts with it",
            f"virsh net-start {name} && virsh net-autostart {name}",
        )
    elif not network.autostart:
        yield warning(
            "nics",
            f"the libvirt network {name} does not start with the host",
            f"after a reboot machines with {plug.setting} do not start",
            f"virsh net-autostart {name}",
        )
    groups = [group.get("name", "") for group in xml.parse(network.xml).findall("portgroup")]
    if plug.portgroup is not None and plug.portgroup not in groups:
        yield error(
            "nics",
            f"the libvirt network {name} has no port group {plug.portgroup} ({', '.join(groups) or 'none at all'})",
            f"{plug.setting}.portgroup says so, and libvirt would take the network without any",
            f"virsh net-edit {name}; or {plug.setting}.portgroup",
        )


def _assess_bridge(plug: Plug, *, version: int, local: bool) -> Findings:
    if plug.vlan and not plug.openvswitch and version < LINUX_VLANS:
        yield error(
            "nics",
            f"libvirt {version // 1_000_000}.{version // 1000 % 1000} puts no VLAN on ports of Linux bridges, and "
            f"{plug.setting}.vlan is {plug.vlan}",
            "it refuses to start a machine with it; 11.0 is the first that does",
            f"a bridge of Open vSwitch with {plug.setting}.openvswitch: true; or the bridge of a VLAN interface and no vlan: "
            "ip link add link NIC name NIC.50 type vlan id 50, as a port of a bridge of its own",
        )
    if not local:
        if plug.setting != "network":
            observed = f"bridge {plug.bridge} of {plug.setting} cannot be checked from here"
            yield unknown("nics", observed, "no machine starts without it", "run doctor there as well")
        return
    folder = SYSTEM / str(plug.bridge)
    switch = _open_vswitch(str(plug.bridge)) if plug.openvswitch else None
    yield from assess_bridge(plug, folder, switch)


def assess_bridge(plug: Plug, folder: Path, switch: bool | None) -> Findings:
    """folder: the bridge's in sysfs. switch: whether Open vSwitch has such a bridge; None: not known, or not queried."""
    linux = (folder / "bridge").is_dir()
    if plug.openvswitch:
        if linux:
            yield error(
                "nics",
                f"{plug.bridge} is a bridge of Linux, and {plug.setting}.openvswitch is true",
                "libvirt finds no such bridge in Open vSwitch, and starts no machine",
                f"take {plug.setting}.openvswitch out, or name a bridge of Open vSwitch (ovs-vsctl list-br)",
            )
        elif switch is False:
            yield error(
                "nics",
                f"Open vSwitch has no bridge {plug.bridge}",
                f"{plug.setting} is on it",
                f"apt install openvswitch-switch; ovs-vsctl add-br {plug.bridge}, and ovs-vsctl add-port {plug.bridge} NIC",
            )
        elif switch is None:
            yield unknown(
                "nics",
                f"whether Open vSwitch has the bridge {plug.bridge} is not known",
                f"{plug.setting} is on it",
                f"sudo ovs-vsctl br-exists {plug.bridge}, which takes root",
            )
        return
    if not linux:
        other = folder.is_dir()
        if other or plug.setting != "network":  # that there is none at all is said by the check of the nodes' own network
            yield error(
                "nics",
                f"{plug.bridge} is no bridge of Linux" if other else f"this machine has no bridge {plug.bridge}",
                f"{plug.setting} is on it",
                f"for one of Open vSwitch {plug.setting}.openvswitch: true; else make it: ip link add {plug.bridge} type bridge",
            )
        return
    if plug.vlan and not _filters(folder):
        yield error(
            "nics",
            f"bridge {plug.bridge} does not filter VLANs, and {plug.setting}.vlan is {plug.vlan}",
            "libvirt sets the VLANs of a port, which a bridge heeds only if it filters",
            f"ip link set {plug.bridge} type bridge vlan_filtering 1, after bridge vlan add for the ports that need other VLANs",
        )


def _filters(folder: Path) -> bool:
    try:
        return (folder / "bridge/vlan_filtering").read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


def _open_vswitch(bridge: str) -> bool | None:
    program = shutil.which("ovs-vsctl") or shutil.which("ovs-vsctl", path="/usr/sbin:/sbin:/usr/bin")
    if program is None:
        return False
    command = [program, "--timeout=10", "br-exists", bridge]
    code = subprocess.run(command, capture_output=True, check=False, timeout=20).returncode  # noqa: S603
    return {0: True, 2: False}.get(code)


def _mtu(plug: Plug, bridge: str, system: Path) -> Iterator[Any]:
    try:
        carried = int((system / bridge / "mtu").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    if plug.setting != "network" and plug.mtu is not None and plug.mtu > carried:
        yield error(
            "nics",
            f"bridge {bridge} has an MTU of {carried}, {plug.setting}.mtu is {plug.mtu}",
            "larger frames are dropped there",
            f"ip link set {bridge} mtu {plug.mtu}, and its ports; of a libvirt network <mtu size='{plug.mtu}'/>; or less in "
            f"{plug.setting}.mtu",
        )
