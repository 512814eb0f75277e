"""The networks for pods: addresses that no DHCP server gives out as well, and routes that leave the cluster's own alone.

Of the plugins they know what sbr, host-local and dhcp do: https://www.cni.dev/plugins/current/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network
from typing import Any, NamedTuple

from rules.values import UNKNOWN, at, document, elements, from_json, text
from rules.workloads import annotation

# The second is half of all addresses: two such routes are a default route by another name.
_WIDE = ("/0", "/1")
_NETWORKS = "k8s.v1.cni.cncf.io/networks"
# Names of DHCP's option 3 in the plugin's configuration.
_ROUTERS = ("routers", "3")


@dataclass(frozen=True)
class Configuration:
    """A plugin that gives pods addresses, where a network's configuration has it."""

    network: str
    """The network's name."""
    plugin: Mapping[str, Any]
    """The plugin's CNI object."""
    following: tuple[str, ...]
    """Types of the plugins that run after it."""

    @property
    def ipam(self) -> Any:
        """Its ipam."""
        return self.plugin["ipam"]

    @property
    def for_replies(self) -> bool:
        """Whether its routes hold for replies alone: sbr moves them to a table that only the interface's own addresses use."""
        return "sbr" in self.following

    @property
    def routes(self) -> list[tuple[str, str]]:
        """(destination, next hop) of each route; an empty text where it names no next hop."""
        return [(str(at(route, "dst")), str(at(route, "gw") or "")) for route in elements(at(self.ipam, "routes"))]


def configurations(kind: str, props: Any) -> Iterator[Configuration]:
    """What a NetworkAttachmentDefinition holds, or a file written to a node."""
    if kind.startswith("kubernetes:k8s.cni.cncf.io/") and kind.endswith(":NetworkAttachmentDefinition"):
        configuration = document(text(at(props, "spec", "config")))
    elif kind == "command:remote:Command":
        configuration = document(text(at(props, "stdin")))
    else:
        return
    name = str(configuration.get("name"))
    # The configuration is of a list of plugins, or of one.
    plugins = [plugin for plugin in elements(configuration.get("plugins", [configuration])) if isinstance(plugin, Mapping)]
    for index, plugin in enumerate(plugins):
        if "ipam" in plugin:
            yield Configuration(name, plugin, tuple(str(following.get("type")) for following in plugins[index + 1 :]))


def default_routes(kind: str, props: Any, acknowledged: Sequence[str]) -> Iterator[str]:
    """Networks with a default route, and pods that request one of Multus, by networks whose names are not `acknowledged`."""
    effect = "which takes {} off ClusterIP services and cluster DNS"
    for configuration in configurations(kind, props):
        name = configuration.network
        if configuration.for_replies or name in acknowledged:
            continue
        remedy = (
            f"remove it, or acknowledge it: podNetworks.{name}.defaultRoute: true, or the network's name in this policy's "
            f"configuration. Where only replies are to leave by this network, podNetworks.{name}.replies: by-source (plugin sbr) "
            "leaves the rest to the cluster"
        )
        for destination, _ in configuration.routes:
            if destination.endswith(_WIDE):
                yield f"network {name} gives pods the route {destination} by its interface, {effect.format('them')}; {remedy}"
        if _requests_routers(configuration.ipam):
            yield (
                f"network {name} requests a router from its DHCP server, and so gives pods a default route by its interface, "
                f"{effect.format('them')}; {remedy}"
            )
    for entry in elements(_attachments(kind, props)):
        name = str(at(entry, "name"))
        if at(entry, "default-route") and name not in acknowledged:
            yield (
                f"the annotation {_NETWORKS} gives the pod its default route by network {name} (default-route), "
                f"{effect.format('it')}; remove it, or acknowledge it by the network's name in this policy's configuration"
            )


def _requests_routers(ipam: Any) -> bool:
    """Whether dhcp requests routers, of which it makes a default route. It does unless an option says skipDefault."""
    if at(ipam, "type") != "dhcp":
        return False
    requested = list(elements(at(ipam, "request")))
    return not any(at(option, "skipDefault") is True for option in requested) or any(
        str(at(option, "option")) in _ROUTERS for option in requested
    )


def _attachments(kind: str, props: Any) -> Any:
    """The JSON list by which a pod requests networks; None where it requests them by names alone."""
    return from_json(annotation(kind, props, _NETWORKS))


def cluster_routes(kind: str, props: Any, acknowledged: Sequence[str], cluster: Sequence[str]) -> Iterator[str]:
    """Networks with a route into one of the networks inside of the `cluster`, whose names are not `acknowledged`.

    Routes that are as wide as a default route are reported by `default_routes`.
    """
    cluster_networks = [network for network in map(_network, cluster) if network]
    for configuration in configurations(kind, props):
        name = configuration.network
        if configuration.for_replies or name in acknowledged:
            continue
        for destination, _ in configuration.routes:
            route = _network(destination)
            if route is None or destination.endswith(_WIDE):
                continue
            for network in cluster_networks:
                if route.overlaps(network):
                    yield (
                        f"network {name} gives pods the route {destination} by its interface, which covers {network} of the "
                        f"cluster; route smaller networks, or acknowledge it: podNetworks.{name}.clusterRoutes: true, or the "
                        "network's name in this policy's configuration"
                    )


def _network(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None


def outside(kind: str, props: Any) -> Iterator[str]:
    """Ranges that run backwards or leave their subnet, and next hops that are in no subnet."""
    for configuration in configurations(kind, props):
        for subnet, hosts, span in _host_local(configuration):
            if hosts is None:
                yield f"subnet {subnet!r} is no IP network"
            elif span is None or not span.within(hosts):
                yield f"{span or 'what is given'} is no range of hosts in {subnet}"
        yield from _unreachable(configuration)


def _unreachable(configuration: Configuration) -> Iterator[str]:
    """Routes that the kernel refuses, and the plugin with them the pod: their next hop is on no subnet of the interface.

    Of static and dhcp the subnets are not known here: they come with the pod's annotation, and from the server.
    """
    reached = [hosts for _, hosts, _ in _host_local(configuration) if hosts]
    if not reached:
        return
    for destination, via in configuration.routes:
        hop = _span(via, via)
        if hop is None:
            continue
        if hop.first == 0:
            # 0.0.0.0 and :: are none: the destination itself is on-link, and may hold the next hops of routes after it.
            on_link = _subnet(destination, strict=False)
            reached += [on_link] if on_link else []
        elif not any(hop.within(addresses) for addresses in reached) and not hop.is_link_local:
            yield (
                f"network {configuration.network} routes {destination} via {via}, which is in none of its subnets, so no pod on it "
                "starts; name a router of this network"
            )


CLAIMS = ("pulumi-python:dynamic/libvirt:DhcpClaim", "pulumi-python:dynamic/libvirt:FreeAddresses")


class Addresses:
    """The claims and ranges of a stack's resources, collected one by one.

    They are read from inputs: in the first preview of a stack nothing is known of the outputs of Kubernetes resources, and the
    view of a whole stack has only outputs.
    """

    def __init__(self) -> None:
        self._claims: dict[str, tuple[str | None, list[Span] | None]] = {}
        self._ranges: dict[str, list[tuple[str, Span]]] = {}

    def collect(self, urn: str, kind: str, props: Any) -> None:
        """Take the claimed ranges, or those of host-local, from a resource's inputs."""
        if kind in CLAIMS:
            ranges = at(props, "ranges")
            spans = None if ranges is UNKNOWN else [span for span in map(_span_of, map(str, elements(ranges))) if span]
            # Only FreeAddresses says of which network they are.
            self._claims[urn] = text(at(props, "cidr")), spans
        else:
            self._ranges[urn] = [
                (text(at(configuration.plugin, "master")) or "", span)
                for configuration in configurations(kind, props)
                for _, _, span in _host_local(configuration)
                # DHCP of IPv4 is all that claims are about.
                if span and span.version == 4
            ]

    def unclaimed(self, urns: Iterable[str], *, interface: str, cidr: str) -> Iterator[tuple[str, str]]:
        """(message, URN) of networks, among the resources `urns`, whose addresses some DHCP server still gives out.

        A hypervisor's DhcpClaim says what was taken out of DHCP there; an address outside of it may be given out twice. On a
        LAN, whose DHCP server is unmanaged, FreeAddresses says which addresses were probed. Both concern the nodes' own network:
        what is on another interface than the nodes' `interface`, as on that of a VLAN, or outside of their `cidr`, that DHCP
        server does not reach.
        """
        present = set(urns)
        claims = [(urn, claim_cidr or cidr, spans) for urn, (claim_cidr, spans) in self._claims.items() if urn in present]
        # Without a master the plugins take the interface of the node's default route, which is its own.
        ranges = [
            (urn, span) for urn, own in self._ranges.items() for master, span in own if urn in present and master in ("", interface)
        ]
        for urn, span in ranges:
            if not claims and span.inside(cidr):
                yield f"{span} is taken out of no network's DHCP range: the stack has no DhcpClaim", urn
            for claim, claim_cidr, spans in claims:
                part = span.inside(claim_cidr)
                unclaimed = list(_without(part, spans)) if part and spans is not None else []
                if unclaimed:
                    texts = ", ".join(map(str, unclaimed))
                    yield f"{texts} of {span} is not taken out of DHCP by {claim.rpartition('::')[2]}", urn


# Numbers and not components' AddressRange: `pulumi policy publish` packs this directory alone, with its own requirements.
class Span(NamedTuple):
    """Addresses from the first to the last."""

    version: int
    """4 or 6."""
    first: int
    last: int

    def __str__(self) -> str:
        first, last = map(str, self.ends)
        return first if first == last else f"{first}-{last}"

    @property
    def ends(self) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
        """Its first and last address."""
        address = IPv4Address if self.version == 4 else IPv6Address
        return address(self.first), address(self.last)

    @property
    def is_link_local(self) -> bool:
        """Whether its first address needs no subnet to be reached on an interface, as those of IPv6 in fe80::/10."""
        return self.version == 6 and self.ends[0].is_link_local

    def within(self, other: Span) -> bool:
        """Whether it is a range, and all of it in the other."""
        return self.version == other.version and other.first <= self.first <= self.last <= other.last

    def inside(self, cidr: str) -> Span | None:
        """The part of it that is in an IPv4 network; all of it where `cidr` is none."""
        network = _network(cidr)
        if network is None:
            return self
        first, last = max(self.first, int(network.network_address)), min(self.last, int(network.broadcast_address))
        return Span(self.version, first, last) if first <= last else None


def _host_local(configuration: Configuration) -> Iterator[tuple[Any, Span | None, Span | None]]:
    """(subnet, its hosts, range) of each range that the host-local plugin gives out; None for a subnet or range that is none.

    Where no start or end is given, the plugin takes the first or last host. Its two forms:
    https://www.cni.dev/plugins/current/ipam/host-local/
    """
    ipam = configuration.ipam
    if at(ipam, "type") != "host-local":
        return
    sets = [elements(entries) for entries in elements(at(ipam, "ranges"))]
    for entry in [*([ipam] if at(ipam, "subnet") else []), *(entry for entries in sets for entry in entries)]:
        subnet = at(entry, "subnet")
        hosts = _hosts(subnet)
        first, last = hosts.ends if hosts else ("", "")
        yield subnet, hosts, _span(at(entry, "rangeStart") or first, at(entry, "rangeEnd") or last)


def _subnet(subnet: Any, *, strict: bool = True) -> Span | None:
    """All addresses of a network; None for what is none, and if `strict` for one with host bits, which host-local refuses."""
    try:
        network = ip_network(str(subnet), strict)
    except ValueError:
        return None
    return Span(network.version, int(network.network_address), int(network.broadcast_address))


def _hosts(subnet: Any) -> Span | None:
    """First and last host of a network. IPv6 has no broadcast address."""
    whole = _subnet(subnet)
    return whole and Span(whole.version, whole.first + 1, whole.last - 1 if whole.version == 4 else whole.last)


def _span_of(text: str) -> Span | None:
    first, _, last = text.partition("-")
    return _span(first, last or first)


def _span(first: Any, last: Any) -> Span | None:
    try:
        ends = ip_address(str(first)), ip_address(str(last))
    except ValueError:
        return None
    return Span(ends[0].version, int(ends[0]), int(ends[1])) if ends[0].version == ends[1].version else None


def _without(span: Span, claimed: Iterable[Span]) -> Iterator[Span]:
    first, last = span.first, span.last
    for _, start, end in sorted(claimed):
        if end < first or start > last:
            continue
        if start > first:
            yield span._replace(first=first, last=start - 1)
        first = end + 1
    if first <= last:
        yield span._replace(first=first, last=last)
