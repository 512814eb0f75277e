"""The networks for pods on a hypervisor that is this machine: whether their VLANs pass its bridge, and whether it sends elsewhere
what is for their addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

from cli.checks.tools import run_json
from cli.findings import Finding, Findings, error, ok, unknown, warning
from components.config.network_plan import NetworkPlan
from components.config.plan import Plan
from components.config.settings import Settings

_MOST_ADDRESSES = 4
"""Addresses of a network whose routes are queried at most."""


class Ports(NamedTuple):
    """A bridge, and what machines have there."""

    bridge: str
    """Its name; empty if it is not known, or if libvirt itself sets the VLANs of the ports."""
    taps: Mapping[str, str]
    """Name of the bridge's port by name of each node here; empty for a machine that does not run."""


def check(
    plan: Plan, config: Settings, bridge: str, taps: Mapping[str, str], further: Mapping[str, Ports] | None = None
) -> Findings:
    """bridge: the one that the nodes are on, empty if it is not known. taps: name of the bridge's port by name of each node here,
    empty for a machine that does not run. further: of the machines' further NICs, by their names."""
    further = further or {}
    tagged = [network for network in plan.networks if network.settings.vlan is not None]
    for network in tagged:
        if network.parent != config.network.interface and network.parent not in further:
            yield unknown(
                "vlan",
                f"{network.path} is on VLAN {network.settings.vlan} of {network.parent}, a NIC that others have given the machines",
                "whether its bridge passes that VLAN is not known",
                f"bridge vlan show, for the bridge of {network.parent}",
            )
    own = [network for network in tagged if network.parent == config.network.interface]
    elsewhere = [network for network in plan.networks if not network.of_nodes]
    if not tagged and not elsewhere:
        return
    links = vlan_links(run_json("ip", "-j", "-details", "link", "show"))
    # Where the settings say the VLANs of the port, libvirt sets them.
    if own and bridge and config.network.vlan is None:
        yield from assess_bridge(observe(bridge, links), own, taps)
    for name, ports in further.items():
        on_it = [network for network in tagged if network.parent == name]
        if on_it and ports.bridge:
            yield from assess_bridge(observe(ports.bridge, links), on_it, ports.taps)
    bridges = {config.network.interface: bridge, **{name: ports.bridge for name, ports in further.items()}}
    default = _route("show", "default") if elsewhere else {}
    for network in elsewhere:
        yield routes(network, links, default, bridges.get(network.link, ""))


def not_checked(plan: Plan, hypervisor: str) -> Findings:
    """Of a hypervisor that is another machine."""
    vlans = sorted({network.settings.vlan for network in plan.networks if network.settings.vlan is not None})
    if vlans:
        listed = f"VLAN {', '.join(map(str, vlans))}"
        yield unknown(
            "vlan",
            f"{hypervisor} is another machine: whether its bridge passes {listed} cannot be checked from here",
            "a bridge that filters VLANs drops the frames of pods",
            "run doctor there as well",
        )


# --- VLANs on the bridge ---


class Membership(NamedTuple):
    """Consecutive VLANs that a port carries."""

    first: int
    last: int
    tagged: bool
    """Their frames leave by the port with their tags."""


class VlanLink(NamedTuple):
    """A VLAN interface of this machine."""

    name: str
    on: str
    """The interface that it is on."""
    master: str
    """The bridge that it is a port of; empty if it is none."""
    vlan: int


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """A bridge of this machine."""

    name: str
    linux: bool = True
    """It is one of the kernel's, and not Open vSwitch's for instance."""
    filtering: bool = False
    """It drops frames of VLANs that the port does not carry."""
    default: str = "1"
    """VLAN that a new port carries, and no other."""
    ports: tuple[str, ...] = ()
    vlans: Mapping[str, Sequence[Membership]] | None = field(default_factory=dict)
    """VLANs by port, and of the bridge itself by its own name; None: not known."""
    taken: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """VLANs that interfaces of this machine on a port take off it before the bridge has them, by port."""

    def carries(self, port: str, vlan: int, *, tagged: bool) -> bool:
        """tagged: with its tag, as a machine needs it whose pods are on the VLAN; else in any way."""
        return any(item.first <= vlan <= item.last and (item.tagged or not tagged) for item in (self.vlans or {}).get(port, ()))


def observe(name: str, links: Iterable[VlanLink], system: Path = Path("/sys/class/net")) -> Bridge:
    """The bridge, by sysfs and iproute2. links: all VLAN interfaces of this machine."""
    folder = system / name
    if not (folder / "bridge").is_dir():
        return Bridge(name=name, linux=False)
    return Bridge(
        name=name,
        # A kernel that cannot filter has no such file.
        filtering=_word(folder / "bridge/vlan_filtering") == "1",
        default=_word(folder / "bridge/default_pvid") or "1",
        ports=tuple(sorted(port.name for port in (folder / "brif").iterdir())) if (folder / "brif").is_dir() else (),
        vlans=memberships(run_json("bridge", "-j", "vlan", "show")),
        taken=taken(links),
    )


def _word(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def memberships(document: object) -> dict[str, list[Membership]] | None:
    """VLANs by port, of `bridge -j vlan show`; None if it is no such document."""
    if not isinstance(document, list):
        return None
    return {
        str(entry.get("ifname", "")): [
            Membership(vlan["vlan"], vlan.get("vlanEnd", vlan["vlan"]), "Egress Untagged" not in vlan.get("flags", ()))
            for vlan in entry.get("vlans", ())
        ]
        for entry in document
        if isinstance(entry, dict)
    }


def vlan_links(document: object) -> list[VlanLink]:
    """The VLAN interfaces of this machine, of `ip -j -details link show`."""
    links = []
    for entry in document if isinstance(document, list) else ():
        info = entry.get("linkinfo") or {}
        number = (info.get("info_data") or {}).get("id")
        if info.get("info_kind") == "vlan" and number is not None:
            name, on, master = (str(entry.get(key) or "") for key in ("ifname", "link", "master"))
            links.append(VlanLink(name, on, master, int(number)))
    return links


def taken(links: Iterable[VlanLink]) -> dict[str, frozenset[int]]:
    """Numbers of the VLAN interfaces by the interface that they are on."""
    by_interface: dict[str, set[int]] = {}
    for link in links:
        by_interface.setdefault(link.on, set()).add(link.vlan)
    return {interface: frozenset(numbers) for interface, numbers in by_interface.items()}


def assess_bridge(bridge: Bridge, networks: Sequence[NetworkPlan], taps: Mapping[str, str]) -> Findings:
    """networks: those on a VLAN of the nodes' interface."""
    if not bridge.linux:
        yield unknown(
            "vlan",
            f"{bridge.name} is no Linux bridge of this machine, so which VLANs its ports carry is not known",
            "a switch that filters VLANs drops the frames of pods",
            "its own tools, such as ovs-vsctl list port",
        )
        return
    by_vlan: dict[int, list[str]] = {}
    for network in networks:
        if network.settings.vlan is not None:
            by_vlan.setdefault(network.settings.vlan, []).append(network.path)
    for vlan, paths in by_vlan.items():
        yield from _assess_vlan(bridge, vlan, " and ".join(paths), taps)


def _assess_vlan(bridge: Bridge, vlan: int, paths: str, taps: Mapping[str, str]) -> Findings:
    problems = [*_taken(bridge, vlan, paths, taps), *_filtered(bridge, vlan, paths, taps)]
    yield from problems or [ok("vlan", f"bridge {bridge.name} passes VLAN {vlan} ({paths})")]


def _taken(bridge: Bridge, vlan: int, paths: str, taps: Mapping[str, str]) -> Findings:
    """The kernel looks for a VLAN interface before it hands a frame to the bridge (net/core/dev.c, __netif_receive_skb_core)."""
    for port in bridge.ports:
        if port not in taps.values() and vlan in bridge.taken.get(port, ()):
            yield error(
                "vlan",
                f"this machine has an interface for VLAN {vlan} on {port}, a port of bridge {bridge.name}",
                f"it takes the VLAN's frames that arrive there, so none reaches the pods of {paths}",
                "remove that interface; for an address of this machine's own there: "
                f"ip link add link {bridge.name} name {bridge.name}.{vlan} type vlan id {vlan}",
            )


def _filtered(bridge: Bridge, vlan: int, paths: str, taps: Mapping[str, str]) -> Findings:
    if not bridge.filtering:
        return
    off = f"or let it pass all: ip link set {bridge.name} type bridge vlan_filtering 0"
    if bridge.vlans is None:
        observed = f"bridge {bridge.name} filters VLANs, and `bridge vlan show` could not be read"
        yield unknown("vlan", observed, f"{paths} is on VLAN {vlan}", "apt install iproute2")
        return
    lacking = {node: tap for node, tap in taps.items() if tap and not bridge.carries(tap, vlan, tagged=True)}
    if lacking:
        listed = ", ".join(f"{tap} ({node})" for node, tap in lacking.items())
        add = "; ".join(f"bridge vlan add dev {tap} vid {vlan}" for tap in lacking.values())
        yield error(
            "vlan",
            f"bridge {bridge.name} filters VLANs, and ports of machines do not carry VLAN {vlan} with its tag: {listed}",
            f"it drops the frames of pods of {paths}",
            f"{add}, as long as the machine runs, and at each start by a hook of libvirt's; {off}",
        )
    new = [node for node, tap in taps.items() if not tap]
    if new:
        start = f"a machine that starts gets a port with VLAN {bridge.default} alone: {', '.join(new)}"
        yield warning(
            "vlan",
            f"bridge {bridge.name} filters VLANs, and {start}",
            f"unless a hook of libvirt's adds VLAN {vlan}, the bridge drops the frames of pods of {paths}",
            f"a hook (/etc/libvirt/hooks/qemu) with bridge vlan add dev PORT vid {vlan}; {off}",
        )
    others = [port for port in bridge.ports if port not in taps.values()]
    if not any(bridge.carries(port, vlan, tagged=False) for port in (*others, bridge.name)):
        yield warning(
            "vlan",
            f"bridge {bridge.name} filters VLANs, and neither itself nor a port of others carries VLAN {vlan}",
            f"pods of {paths} reach nobody beyond this machine's own nodes",
            f"bridge vlan add dev {others[0] if others else 'PORT'} vid {vlan}, and for this machine itself bridge vlan add dev "
            f"{bridge.name} vid {vlan} self; {off}",
        )


# --- routes ---


def routes(network: NetworkPlan, links: Iterable[VlanLink], default: Mapping[str, Any], bridge: str) -> Finding:
    """Whether this machine sends elsewhere what is for pods. links: its VLAN interfaces. default: its default route. bridge: the
    network's where it is on no VLAN, else empty."""
    on_it = on_vlan(links, network.settings.vlan) | {name for name in (bridge,) if name}
    answers = {address: _route("get", "fibmatch", str(address)) for address in addresses(network)}
    return assess_routes(network, answers, default, on_it)


def addresses(network: NetworkPlan) -> list[IPv4Address]:
    """A few addresses that pods have: the range's first, those of the book; where there are none, one of the network's first."""
    settings = network.settings
    chosen = [settings.range.first] if settings.range is not None else []
    chosen += [booked.ip for booked in settings.addresses.values() if booked.ip is not None]
    if not chosen:
        hosts = (network.cidr.network_address + offset for offset in (1, 2))
        chosen = [address for address in hosts if address != network.gateway][:1]
    return chosen[:_MOST_ADDRESSES]


def _route(*words: str) -> Mapping[str, Any]:
    """The first route that `ip route` prints; empty where there is none, which it reports without any JSON."""
    document = run_json("ip", "-j", "-4", "route", *words)
    first = document[0] if isinstance(document, list) and document else {}
    return first if isinstance(first, dict) else {}


def on_vlan(links: Iterable[VlanLink], vlan: int | None) -> frozenset[str]:
    """Interfaces of this machine that are on the VLAN for sure: its VLAN interfaces, and bridges with one of them as a port."""
    return frozenset(name for link in links if link.vlan == vlan for name in (link.name, link.master) if name)


def assess_routes(
    network: NetworkPlan, answers: Mapping[IPv4Address, Mapping[str, Any]], default: Mapping[str, Any], on_it: Iterable[str]
) -> Finding:
    """answers: this machine's route to each address. default: its default route. on_it: its interfaces that are on the network."""
    where = f"VLAN {network.settings.vlan}" if network.settings.vlan is not None else f"the network of {network.link}"
    own = [str(address) for address, route in answers.items() if route.get("type") == "local"]
    if own:
        return error(
            "routes",
            f"this machine itself has {', '.join(own)}, which {network.path} gives to pods",
            "two machines with one address answer in turn",
            f"take it off this machine, or other addresses in {network.path}",
        )
    on_network = set(on_it)
    elsewhere = [route for route in answers.values() if _elsewhere(route, default, on_network)]
    if elsewhere:
        ways = ", ".join(dict.fromkeys(map(_shown, elsewhere)))
        return warning(
            "routes",
            f"this machine reaches addresses of {network.path} ({network.cidr}) by {ways}, which is not known to be {where}",
            "where that is another network with the same addresses, its machines answer `up` and you in place of the pods",
            f"another {network.path}.cidr, or remove that network or route; nothing where its switch puts it on {where}",
        )
    direct = sorted({str(route["dev"]) for route in answers.values() if route.get("dev") in on_network and "gateway" not in route})
    if direct:
        return ok("routes", f"{network.path} is reached by {', '.join(direct)}, on {where}")
    return ok("routes", f"this machine is no neighbour of {network.path}, and sends what is for {network.cidr} to no other network")


def _elsewhere(route: Mapping[str, Any], default: Mapping[str, Any], on_network: set[str]) -> bool:
    """Whether a route leads neither onto the network, nor to a router where the default route leaves, nor is that route itself."""
    device = route.get("dev")
    by_router = "gateway" in route and device == default.get("dev")
    return bool(device) and route.get("dst") != "default" and device not in on_network and not by_router


def _shown(route: Mapping[str, Any]) -> str:
    return f"{route.get('dst')} by {route['dev']}" + (f" via {route['gateway']}" if "gateway" in route else "")
