"""The pods' network: addresses that no DHCP server gives out as well, and the routes of the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any

from rules.values import UNKNOWN, at, document, elements, text

# The second is half of all addresses: two such routes are a default route by another name.
_WIDE = ("/0", "/1")


def configurations(kind: str, props: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(network's name, plugin's configuration) in a NetworkAttachmentDefinition or in a file written to a node."""
    if kind.startswith("kubernetes:k8s.cni.cncf.io/") and kind.endswith(":NetworkAttachmentDefinition"):
        configuration = document(text(at(props, "spec", "config")))
    elif kind == "command:remote:Command":
        configuration = document(text(at(props, "stdin")))
    else:
        return
    name = str(configuration.get("name"))
    # The configuration is of a list of plugins, or of one.
    for plugin in elements(configuration.get("plugins", [configuration])):
        if isinstance(plugin, Mapping) and "ipam" in plugin:
            yield name, plugin


def default_routes(kind: str, props: Any, acknowledged: Sequence[str]) -> Iterator[str]:
    """Networks with a default route whose names are not `acknowledged`."""
    for name, plugin in configurations(kind, props):
        for route in elements(at(plugin, "ipam", "routes")):
            if str(at(route, "dst")).endswith(_WIDE) and name not in acknowledged:
                yield (
                    f"network {name} gives pods the route {at(route, 'dst')} by net1, which takes them off ClusterIP services "
                    "and cluster DNS; remove it, or acknowledge it: macvlan.defaultRoute: true, or the network's name in this "
                    "policy's configuration"
                )


def cluster_routes(kind: str, props: Any, acknowledged: Sequence[str], cluster: Sequence[str]) -> Iterator[str]:
    """Networks with a route into one of the networks inside of the `cluster`, whose names are not `acknowledged`.

    Routes that are as wide as a default route are reported by `default_routes`.
    """
    cluster_networks = [network for network in map(_network, cluster) if network]
    for name, plugin in configurations(kind, props):
        for destination in (str(at(route, "dst")) for route in elements(at(plugin, "ipam", "routes"))):
            route = _network(destination)
            if route is None or destination.endswith(_WIDE) or name in acknowledged:
                continue
            for network in cluster_networks:
                if route.overlaps(network):
                    yield (
                        f"network {name} gives pods the route {destination} by net1, which covers {network} of the cluster; route "
                        "smaller networks, or acknowledge it: macvlan.clusterRoutes: true, or the network's name in this policy's "
                        "configuration"
                    )


def _network(text: str) -> IPv4Network | None:
    try:
        return IPv4Network(text, strict=False)
    except ValueError:
        return None


def outside(kind: str, props: Any) -> Iterator[str]:
    """Ranges that run backwards or leave their subnet."""
    for subnet, span in _host_local(kind, props):
        hosts = _hosts(subnet)
        if hosts is None:
            yield f"subnet {subnet!r} is no IPv4 network"
        elif span is None or not (hosts[0] <= span[0] <= span[1] <= hosts[1]):
            yield f"{'what is given' if span is None else _text(span)} is no range of hosts in {subnet}"


CLAIMS = ("pulumi-python:dynamic/libvirt:DhcpClaim", "pulumi-python:dynamic/libvirt:FreeAddresses")


class Addresses:
    """The claims and ranges of a stack's resources, collected one by one.

    They are read from inputs: in the first preview of a stack nothing is known of the outputs of Kubernetes resources, and the
    view of a whole stack has only outputs.
    """

    def __init__(self) -> None:
        self._claims: dict[str, list[tuple[int, int]] | None] = {}
        self._ranges: dict[str, list[tuple[int, int]]] = {}

    def collect(self, urn: str, kind: str, props: Any) -> None:
        """Take the claimed ranges, or those of host-local, from a resource's inputs."""
        if kind in CLAIMS:
            ranges = at(props, "ranges")
            self._claims[urn] = None if ranges is UNKNOWN else [span for span in map(_span, map(str, elements(ranges))) if span]
        else:
            self._ranges[urn] = [span for _, span in _host_local(kind, props) if span]

    def unclaimed(self, urns: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(message, URN) of networks, among the resources `urns`, whose addresses some DHCP server still gives out.

        A hypervisor's DhcpClaim says what was taken out of DHCP there; an address outside of it may be given out twice. On a
        LAN, whose DHCP server is unmanaged, FreeAddresses says which addresses were probed.
        """
        present = set(urns)
        claims = {urn: spans for urn, spans in self._claims.items() if urn in present}
        for urn, span in [(urn, span) for urn, spans in self._ranges.items() if urn in present for span in spans]:
            if not claims:
                yield f"{_text(span)} is taken out of no network's DHCP range: the stack has no DhcpClaim", urn
            for claim, spans in claims.items():
                unclaimed = [] if spans is None else list(_without(span, spans))
                if unclaimed:
                    texts = ", ".join(map(_text, unclaimed))
                    yield f"{texts} of {_text(span)} is not taken out of DHCP by {claim.rpartition('::')[2]}", urn


def _host_local(kind: str, props: Any) -> Iterator[tuple[Any, tuple[int, int] | None]]:
    """(subnet, range) of each range that the host-local plugin gives out; None for a range that is none.

    Where no start or end is given, the plugin takes the first or last host. Its two forms:
    https://www.cni.dev/plugins/current/ipam/host-local/
    """
    for _, plugin in configurations(kind, props):
        ipam = plugin["ipam"]
        if at(ipam, "type") != "host-local":
            continue
        sets = [elements(entries) for entries in elements(at(ipam, "ranges"))]
        for entry in [*([ipam] if at(ipam, "subnet") else []), *(entry for entries in sets for entry in entries)]:
            subnet = at(entry, "subnet")
            first, last = (str(IPv4Address(host)) for host in _hosts(subnet) or (0, 0))
            yield subnet, _span(f"{at(entry, 'rangeStart') or first}-{at(entry, 'rangeEnd') or last}")


def _hosts(subnet: Any) -> tuple[int, int] | None:
    """First and last host of an IPv4 network."""
    try:
        network = IPv4Network(str(subnet))
    except ValueError:
        return None
    return int(network.network_address) + 1, int(network.broadcast_address) - 1


# Pairs of integers and not components' AddressRange: `pulumi policy publish` packs this directory alone, with its own requirements.
def _span(text: str) -> tuple[int, int] | None:
    first, _, last = text.partition("-")
    try:
        return int(IPv4Address(first)), int(IPv4Address(last or first))
    except AddressValueError:
        return None


def _without(span: tuple[int, int], claimed: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    first, last = span
    for start, end in sorted(claimed):
        if end < first or start > last:
            continue
        if start > first:
            yield first, start - 1
        first = end + 1
    if first <= last:
        yield first, last


def _text(span: tuple[int, int]) -> str:
    first, last = map(str, map(IPv4Address, span))
    return first if first == last else f"{first}-{last}"
