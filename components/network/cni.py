"""The CNI configuration of a network for pods, and what a pod's annotation requests on it. Pure.

https://www.cni.dev/plugins/current/: main/macvlan, main/ipvlan, ipam/host-local, ipam/static, ipam/dhcp, meta/tuning, meta/sbr
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from components.config.addresses import AddressRange, Ipv6Range
from components.config.network_plan import NetworkPlan, NodeNetworkPlan
from components.config.pod_networks import BookedAddress, StaticIpv6

_EVERYWHERE, _EVERYWHERE_IPV6 = IPv4Network("0.0.0.0/0"), IPv6Network("::/0")
_NO_GATEWAY = "0.0.0.0"  # noqa: S104

# Before sbr, which copies the routes that it finds. Without IPv6 on the interface no router's announcement is too early for it.
_NO_IPV6 = {"net.ipv6.conf.IFNAME.disable_ipv6": "1"}
_IPV6 = {"net.ipv6.conf.IFNAME.disable_ipv6": "0"}
_NO_ANNOUNCEMENTS = {"net.ipv6.conf.IFNAME.accept_ra": "0"}


def whole(network: NetworkPlan) -> dict[str, Any]:
    """The configuration as it is where nodes have no slices."""
    ipv6 = network.settings.ipv6
    return _configuration(network, network.settings.range, ipv6.range if isinstance(ipv6, StaticIpv6) else None)


def on_node(node_network: NodeNetworkPlan) -> dict[str, Any]:
    """The configuration of one node, with its slice."""
    return _configuration(node_network.network, node_network.slice, node_network.ipv6_slice)


def _configuration(network: NetworkPlan, addresses: AddressRange | None, ipv6_addresses: Ipv6Range | None) -> dict[str, Any]:
    """One plugin's configuration, or a list where others follow it."""
    settings = network.settings
    head = {"cniVersion": settings.cni_version, "name": network.name}
    interface: dict[str, Any] = {"type": settings.type, "master": network.link, "mode": settings.mode_or_default}
    if settings.mtu is not None:
        interface["mtu"] = settings.mtu
    if settings.ipam == "static":
        # The address comes with the pod's annotation.
        interface["capabilities"] = {"ips": True}
    interface["ipam"] = _ipam(network, addresses, ipv6_addresses)
    chained = _chained(network)
    return {**head, "plugins": [interface, *chained]} if chained else {**head, **interface}


def _chained(network: NetworkPlan) -> list[dict[str, Any]]:
    settings = network.settings
    replies = [{"type": "sbr"}] if settings.replies == "by-source" else []
    return [*_tuned(network, replies), *settings.chain]


def _tuned(network: NetworkPlan, replies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`replies`, with how the interface takes IPv6 in front of it; what routers announce is accepted after it."""
    if not network.tuned:
        return replies
    match network.settings.ipv6:
        case "ignore":
            return [_tuning(_NO_IPV6), *replies]
        case "accept":
            return [_tuning(_NO_IPV6), *replies, _tuning(_IPV6)]
        case _:
            return [_tuning(_NO_ANNOUNCEMENTS), *replies]


def _tuning(sysctl: dict[str, str]) -> dict[str, Any]:
    return {"type": "tuning", "sysctl": sysctl}


def _ipam(network: NetworkPlan, addresses: AddressRange | None, ipv6_addresses: Ipv6Range | None) -> dict[str, Any]:
    """No route and no gateway unless the settings name them: neighbours need none, and a default route by net1 takes the pod off
    ClusterIP and DNS (measured: its route stands before eth0's)."""
    settings = network.settings
    if settings.ipam == "dhcp":
        return _dhcp(network)
    by_gateway = settings.default_route or settings.replies == "by-source"
    routes = [{"dst": str(route.to), **({"gw": str(route.via)} if route.via else {})} for route in settings.routes]
    ipv6 = settings.ipv6
    ipv6_routes = []
    if isinstance(ipv6, StaticIpv6) and ipv6.gateway and by_gateway:
        ipv6_routes = [{"dst": str(_EVERYWHERE_IPV6), "gw": str(ipv6.gateway)}]
    if settings.ipam == "static":
        everywhere = [{"dst": str(_EVERYWHERE), "gw": str(network.gateway)}] if by_gateway else []
        return {"type": "static", "routes": [*everywhere, *ipv6_routes, *routes]}
    everywhere = [{"dst": str(_EVERYWHERE)}] if by_gateway else []
    # host-local gives each address a gateway, the subnet's first host where none is set, and a route without one of its own
    # takes that; 0.0.0.0 is none for the kernel (measured, plugins v1.4.0).
    routes = [{"gw": _NO_GATEWAY, **route} for route in routes]
    gateway = {"gateway": str(network.gateway)} if by_gateway else {}
    own = {"subnet": str(network.cidr), **_bounds(addresses), **gateway}
    if isinstance(ipv6, StaticIpv6) and ipv6_addresses is not None:
        ipv6_gateway = {"gateway": str(ipv6.gateway)} if ipv6.gateway and by_gateway else {}
        ranges = [[own], [{"subnet": str(ipv6.cidr), **_bounds(ipv6_addresses), **ipv6_gateway}]]
        where: dict[str, Any] = {"ranges": ranges}
    else:
        where = own
    return {
        "type": "host-local",
        **where,
        "routes": [*everywhere, *ipv6_routes, *routes],
        **({"dataDir": settings.data_directory} if settings.data_directory else {}),
    }


def _bounds(addresses: AddressRange | Ipv6Range | None) -> dict[str, str]:
    return {"rangeStart": str(addresses.first), "rangeEnd": str(addresses.last)} if addresses is not None else {}


def _dhcp(network: NetworkPlan) -> dict[str, Any]:
    """The pod's name is its host name there. Without a request for routers a server sends none, and so the pod gets no default
    route; a server that sends one without a request overrides that."""
    settings = network.settings
    ipam: dict[str, Any] = {"type": "dhcp", "provide": [{"option": "host-name", "fromArg": "K8S_POD_NAME"}]}
    if not settings.default_route and settings.replies != "by-source":
        ipam["request"] = [{"option": "subnet-mask", "skipDefault": True}]
    return ipam


def attachment(network: NetworkPlan, booked: BookedAddress | None) -> dict[str, Any]:
    """What the annotation k8s.v1.cni.cncf.io/networks requests: an element of its JSON list."""
    entry: dict[str, Any] = {"name": network.name, "namespace": network.settings.namespace}
    if booked is None:
        return entry
    ips = []
    if booked.ip is not None and network.settings.ipam == "static":
        ips.append(f"{booked.ip}/{network.cidr.prefixlen}")
    if booked.ipv6 is not None and isinstance(network.settings.ipv6, StaticIpv6):
        ips.append(f"{booked.ipv6}/{network.settings.ipv6.cidr.prefixlen}")
    if ips:
        entry["ips"] = ips
    if booked.mac is not None:
        entry["mac"] = booked.mac
    return entry


def annotation(attachments: Sequence[dict[str, Any]], namespace: str) -> str:
    """The annotation of a pod in `namespace`: names alone where nothing more is requested, else JSON."""
    if any(set(entry) > {"name", "namespace"} for entry in attachments):
        return json.dumps(attachments)
    return ",".join(
        entry["name"] if entry["namespace"] == namespace else f"{entry['namespace']}/{entry['name']}" for entry in attachments
    )


def book(network: NetworkPlan) -> dict[str, str]:
    """By the names of the network's book: the text of a pod's annotation."""
    return {name: json.dumps([attachment(network, booked)]) for name, booked in network.settings.addresses.items()}


def canonical(document: dict[str, Any]) -> str:
    """JSON that is equal where the documents are."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def revision(network: NetworkPlan) -> str:
    """16 hex digits, others when the configuration changes, or the device of the nodes that it is on. Without the nodes' slices: a
    further node must not replace the pods of others."""
    common: dict[str, Any] = {"whole": whole(network), "addressesPerNode": network.settings.addresses_per_node}
    if network.nic:
        common["nic"] = network.nic
    return hashlib.sha256(canonical(common).encode()).hexdigest()[:16]
