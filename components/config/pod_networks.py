"""The networks for pods as settings: one model for each network, and what contradicts itself within one. Pure.

Names are those of CNI, Kubernetes and the plugins where these have one. What concerns several networks, or networks and nodes, and
what is missing, is in network_conflicts.py. The plugins: https://www.cni.dev/plugins/current/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from components.config.addresses import AddressRange, Ipv6Range
from components.config.model import Model
from components.config.problems import Mistake, refuse
from components.config.value_types import (
    K3S_PLUGINS,
    Address,
    Destination,
    Interface,
    Ipv6Address,
    Ipv6Subnet,
    Mac,
    Name,
    Path,
    Subnet,
)

MACVLAN_MODES = ("bridge", "vepa", "private", "passthru")
IPVLAN_MODES = ("l2", "l3", "l3s")
IPAM_PLUGINS = ("host-local", "static", "dhcp")

INTERFACE_PLUGINS = (
    "bridge", "dummy", "flannel", "host-device", "ipvlan", "loopback", "macvlan", "ptp", "tap", "vlan"
)  # fmt: skip
"""Plugins that make an interface or take one, so that they cannot follow another."""

CHAINED_PLUGINS = ("bandwidth", "firewall", "portmap", "sbr", "tuning", "vrf")
"""Those of the plugins' releases that follow another one."""

IPV6_MTU = 1280
"""Below this MTU the kernel gives an interface no IPv6, and no sysctls of it (RFC 8200; measured)."""

# host-local refuses a subnet with fewer addresses than four (allocator/range.go).
_HOST_LOCAL_PREFIX = 126

_OF_THE_LIST = ("cniVersion", "name", "prevResult", "runtimeConfig", "ipam")


class BookedAddress(Model):
    """What one pod has on the network."""

    ip: Address | None = None
    """IPv4 address. Needed with ipam static. With dhcp it is what the DHCP server has reserved for `mac`, and `status` compares it;
    host-local counts by itself and takes none."""
    ipv6: Ipv6Address | None = None
    """IPv6 address, with ipam static and an `ipv6.cidr`."""
    mac: Mac | None = None
    """MAC address; absent: the kernel makes one. ipvlan has none of its own."""
    namespace: Name | None = None
    """Namespace of the pod that it is for; absent: any."""


class PodRoute(Model):
    """A route of the pods' interface."""

    to: Destination
    """Destination, as 10.20.0.0/16."""
    via: Address | None = None
    """Next hop, an address of `cidr`; absent: on-link, as a multicast group is."""


class StaticIpv6(Model):
    """IPv6 addresses that the pods are given."""

    cidr: Ipv6Subnet
    """The network's IPv6 addresses, as fd00:50::/64."""
    gateway: Ipv6Address | None = None
    """Its IPv6 gateway; used by `defaultRoute` and `replies: by-source`."""
    range: Ipv6Range | None = None
    """With ipam host-local: addresses for pods, cut into slices as `range` is."""

    @model_validator(mode="after")
    def _inside(self) -> StaticIpv6:
        mistakes = []
        if self.gateway is not None and self.gateway not in self.cidr and not self.gateway.is_link_local:
            mistakes.append(Mistake(("gateway",), self.gateway, f"is outside cidr {self.cidr}; correct one of them", ("cidr",)))
        if self.range is not None and not self.range.within(self.cidr):
            mistakes.append(Mistake(("range",), self.range, f"is not inside cidr {self.cidr}; correct one of them", ("cidr",)))
        refuse(mistakes)
        return self


def _ipv6(value: Any) -> Any:
    # By itself, because a union reports the mistakes of each of its kinds.
    if isinstance(value, Mapping):
        return StaticIpv6.model_validate(value)
    if not isinstance(value, StaticIpv6) and value not in ("ignore", "accept"):
        raise ValueError("neither ignore nor accept; write one of them, or cidr and, with host-local, range below it")
    return value


class PodNetwork(Model):
    """A NetworkAttachmentDefinition, the interface of the nodes that it is on, and who has which address."""

    namespace: Name = "default"
    """Namespace of the NetworkAttachmentDefinition."""
    cni_version: Literal["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] = "0.3.1"
    """CNI version of the configuration."""
    type: Literal["macvlan", "ipvlan"] = "macvlan"
    """macvlan: a MAC address per pod; ipvlan: the node's MAC address for all."""
    mode: Literal["bridge", "vepa", "private", "passthru", "l2", "l3", "l3s"] | None = None
    """macvlan: bridge (default), vepa, private, passthru; ipvlan: l2 (default), l3, l3s."""
    parent: Interface | None = None
    """NIC of the nodes; absent: `network.interface`."""
    vlan: Annotated[int, Field(strict=True, ge=1, le=4094)] | None = None
    """VLAN on `parent`: each node gets the interface PARENT.VLAN, without an address of its own."""
    cidr: Subnet | None = None
    """The network's addresses; absent: `network.cidr`."""
    gateway: Address | None = None
    """The network's router; absent: `network.gateway` where `cidr` is `network.cidr`, else none."""
    mtu: Annotated[int, Field(strict=True, ge=68, le=65535)] | None = None
    """MTU of the pods' interface in bytes, at most the parent's (`network.mtu`); absent: the parent's."""
    ipam: Literal["host-local", "static", "dhcp"] = "host-local"
    """host-local: from `range`, counted on the node; static: each pod names its address in its annotation, best from `addresses`;
    dhcp: from the network's DHCP server, by a daemon that the program runs on each node."""
    range: AddressRange | None = None
    """Addresses for pods: with host-local those it gives out, with static those that pods may name without an entry in `addresses`.
    Of the nodes' own libvirt network they are taken out of its DHCP range."""
    addresses_per_node: Annotated[int, Field(strict=True, ge=1, le=65536)] | None = None
    """Size of each node's own slice of `range`; needed for more than one node, because host-local counts per node."""
    data_directory: Path | None = "/run/cni/macvlan"
    """host-local's record of given addresses on the node. In /run, so that a reboot leaves no address taken for ever."""
    addresses: dict[Name, BookedAddress] = {}
    """The book of addresses: who has which, by names of yours. The stack's pod takes the entry of its own name."""
    default_route: bool = False
    """Send everything by the gateway. It takes the pod off ClusterIP and DNS; warns."""
    replies: Literal["by-destination", "by-source"] = "by-destination"
    """by-source: what the pod answers from its address on this network leaves by this interface and the gateway, whatever the
    destination, while all else, services and cluster DNS too, stays on eth0 (plugin sbr). `routes` then hold for such replies
    alone."""
    routes: tuple[PodRoute, ...] = ()
    """Further destinations that pods reach by this interface."""
    cluster_routes: bool = False
    """Take `routes` that cover addresses of the cluster (k3s.podCidr, k3s.serviceCidr, network.nodes). They take the pod off what
    they cover; warns."""
    ipv6: Annotated[Literal["ignore", "accept"] | StaticIpv6, BeforeValidator(_ipv6)] = "ignore"
    """ignore: no IPv6 on this interface; accept: an address and routes from any router that announces them; or `cidr`, with `range`
    or with addresses of the book, for addresses of its own next to IPv4, whatever routers announce."""
    chain: tuple[dict[str, Any], ...] = ()
    """CNI plugins that run after it, each as its CNI object with its `type`."""
    node_access: AddressRange | None = None
    """One address per node, counted like `network.nodes`: each node gets a macvlan interface of its own with it, by which it
    reaches the pods on it, which the kernel otherwise does not allow. With ipam dhcp in a subnet that the node has an address in:
    those with an ip in `addresses`. Absent: none."""
    check: bool = True
    """Check the network on each node before pods use it: its interface, MTU, that macvlan or ipvlan works, that the gateway answers
    by ARP, that nobody has the pods' addresses."""

    @model_validator(mode="after")
    def _consistent(self) -> PodNetwork:
        refuse([*self._mode(), *self._ipam(), *self._routing(), *self._ipv6_addresses(), *self._chain()])
        return self

    def _mode(self) -> Iterator[Mistake]:
        modes = MACVLAN_MODES if self.type == "macvlan" else IPVLAN_MODES
        if self.mode is not None and self.mode not in modes:
            conflict = f"is not a mode of {self.type}; its modes are {', '.join(modes)}; write one of them"
            yield Mistake(("mode",), self.mode, conflict, ("type",))
        if self.node_access is not None and (self.type != "macvlan" or self.mode not in (None, "bridge")):
            conflict = "is a macvlan interface in mode bridge, which reaches no pods of another type or mode; remove it"
            yield Mistake(("nodeAccess",), self.node_access, conflict, ("type", "mode"))
        if self.type == "ipvlan" and self.mode in ("l3", "l3s"):
            # As the kernel describes it: Documentation/networking/ipvlan.rst.
            conflict = f"has neither broadcast nor multicast in mode {self.mode}, so {{}}; write mode: l2, or {{}}"
            if self.ipam == "dhcp":
                text = conflict.format("no DHCP server answers", "another ipam")
                yield Mistake(("mode",), self.mode, text, ("type", "ipam"))
            if self.ipv6 == "accept":
                text = conflict.format("no router's announcement arrives", "another ipv6")
                yield Mistake(("mode",), self.mode, text, ("type", "ipv6"))

    def _ipam(self) -> Iterator[Mistake]:
        if self.ipam == "dhcp" and self.range is not None:
            conflict = "is counted from by nobody with ipam dhcp, whose addresses are the DHCP server's to give; remove it"
            yield Mistake(("range",), self.range, conflict, ("ipam",))
        if self.ipam != "host-local" and self.addresses_per_node is not None:
            conflict = f"goes with ipam host-local, which counts on each node; with {self.ipam} nobody counts; remove it"
            yield Mistake(("addressesPerNode",), self.addresses_per_node, conflict, ("ipam",))
        for name, booked in self.addresses.items():
            if self.ipam == "host-local" and booked.ip is not None:
                conflict = (
                    "is not kept for this pod by host-local, which may give it to another; move the entry to a network with ipam: "
                    "static (two networks may share an interface), or leave only its mac"
                )
                yield Mistake(("addresses", name, "ip"), booked.ip, conflict, ("ipam",))
            if self.ipam == "dhcp" and booked.ip is not None and booked.mac is None:
                conflict = (
                    "is found by a DHCP server by the pod's MAC address, which this entry does not have; set mac too, or remove ip"
                )
                yield Mistake(("addresses", name, "ip"), booked.ip, conflict, ("ipam", f"addresses.{name}.mac"))
            if self.type == "ipvlan" and booked.mac is not None:
                conflict = "is not possible with type ipvlan, whose interfaces all have the node's MAC address; remove it"
                yield Mistake(("addresses", name, "mac"), booked.mac, conflict, ("type",))

    def _routing(self) -> Iterator[Mistake]:
        if self.ipam == "dhcp" and self.routes:
            conflict = "come from the DHCP server with ipam dhcp (its options 3, 33 and 121); remove them"
            yield Mistake(("routes",), None, conflict, ("ipam",))
        if self.default_route and self.replies == "by-source":
            conflict = "has no effect with replies: by-source, which keeps the route by the gateway for replies; remove one of them"
            yield Mistake(("defaultRoute",), True, conflict, ("replies",))
        for index, route in enumerate(self.routes):
            if route.via is not None and route.to.is_multicast:
                conflict = (
                    "would send what is for the group to the next hop's MAC address alone; leave via out, which makes the route "
                    "on-link"
                )
                yield Mistake(("routes", index, "via"), route.via, conflict)

    def _ipv6_addresses(self) -> Iterator[Mistake]:
        if isinstance(self.ipv6, StaticIpv6):
            if self.ipam == "dhcp":
                conflict = "goes with ipam host-local or static; dhcp asks for IPv4 alone; write accept or ignore"
                yield Mistake(("ipv6",), None, conflict, ("ipam",))
            if self.ipam == "static" and self.ipv6.range is not None:
                conflict = "is counted from by host-local alone; remove it, and book addresses as addresses.NAME.ipv6"
                yield Mistake(("ipv6", "range"), self.ipv6.range, conflict, ("ipam",))
            if self.ipam == "host-local" and self.ipv6.cidr.prefixlen > _HOST_LOCAL_PREFIX:
                conflict = f"is too small for host-local; take a /{_HOST_LOCAL_PREFIX} or larger, such as a /64"
                yield Mistake(("ipv6", "cidr"), self.ipv6.cidr, conflict, ("ipam",))
            gateway = self.ipv6.gateway
            if self.ipam == "static" and self.replies == "by-source" and gateway is not None and gateway not in self.ipv6.cidr:
                # sbr copies routes whose next hop is in the address's own subnet (plugins/meta/sbr).
                conflict = (
                    "is link-local, and replies: by-source keeps no route by it for ipam static; name the router's address of cidr"
                )
                yield Mistake(("ipv6", "gateway"), gateway, conflict, ("ipam", "replies", "ipv6.cidr"))
        if self.ipv6 != "ignore" and self.mtu is not None and self.mtu < IPV6_MTU:
            conflict = f"is below the {IPV6_MTU} bytes of IPv6, which the interface then has not; set more, or ipv6: ignore"
            yield Mistake(("mtu",), self.mtu, conflict, ("ipv6",))
        for name, booked in self.addresses.items():
            if booked.ipv6 is None:
                continue
            if not isinstance(self.ipv6, StaticIpv6) or self.ipam != "static":
                conflict = "goes with ipam static and ipv6.cidr; set them, or remove it"
                yield Mistake(("addresses", name, "ipv6"), booked.ipv6, conflict, ("ipam", "ipv6"))
            elif booked.ipv6 not in self.ipv6.cidr:
                conflict = f"is outside ipv6.cidr {self.ipv6.cidr}; correct one of them"
                yield Mistake(("addresses", name, "ipv6"), booked.ipv6, conflict, ("ipv6",))

    def _chain(self) -> Iterator[Mistake]:
        for index, plugin in enumerate(self.chain):
            kind = plugin.get("type")
            if not isinstance(kind, str) or not kind:
                conflict = "has no type, which names the plugin; write it as {type: tuning, …}"
                yield Mistake(("chain", index), None, conflict)
                continue
            at = ("chain", index, "type")
            if kind in INTERFACE_PLUGINS:
                yield Mistake(at, kind, "makes an interface of its own and cannot follow another plugin; remove it")
            elif kind in IPAM_PLUGINS:
                yield Mistake(at, kind, "gives addresses and cannot follow another plugin; set ipam in its place")
            elif kind == "sbr":
                yield Mistake(at, kind, "is what replies: by-source chains, with the route that it needs; set that in its place")
            for key in _OF_THE_LIST:
                if key in plugin:
                    conflict = f"belongs to the whole configuration and not to a plugin of chain; remove it from {kind}"
                    yield Mistake(("chain", index, key), None, conflict)
            if not _is_json(plugin):
                conflict = (
                    f"holds for {kind} what JSON cannot say, such as a date, .nan or a key that is no text; write it in quotes"
                )
                yield Mistake(("chain", index), None, conflict)
            elif kind == "tuning":
                yield from _sysctls(index, plugin)
            elif kind == "vrf" and not plugin.get("vrfname"):
                yield Mistake(("chain", index, "vrfname"), None, "is missing and has no default; write it")

    @property
    def mode_or_default(self) -> str:
        """The mode, with the type's own default."""
        return self.mode or ("bridge" if self.type == "macvlan" else "l2")

    @property
    def tunes_ipv6(self) -> bool:
        """Whether the plugin tuning is to set how the interface takes IPv6. With by-source also where it takes all: sbr moves every
        route that it finds, and with it that to neighbours by their link-local addresses (measured)."""
        return self.ipv6 != "accept" or self.replies == "by-source"

    @property
    def chained(self) -> tuple[str, ...]:
        """Plugins that run after it, in order."""
        tuning = ["tuning"] if self.tunes_ipv6 and (self.mtu is None or self.mtu >= IPV6_MTU) else []
        replies = ["sbr"] if self.replies == "by-source" else []
        return (*tuning, *replies, *(str(plugin.get("type")) for plugin in self.chain))

    @property
    def plugins(self) -> frozenset[str]:
        """Plugins that it needs on the nodes and K3s does not ship."""
        return frozenset({self.type, self.ipam, *self.chained}) - K3S_PLUGINS


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError):
        return False
    return True


def _sysctls(index: int, plugin: dict[str, Any]) -> Iterator[Mistake]:
    """tuning sets sysctls of the pod's network namespace alone, as text (plugins/meta/tuning)."""
    sysctls = plugin.get("sysctl", {})
    if not isinstance(sysctls, dict):
        conflict = 'is a mapping of sysctls to texts; write it as {net.ipv4.conf.IFNAME.arp_filter: "1"}'
        yield Mistake(("chain", index, "sysctl"), None, conflict)
        return
    for key, value in sysctls.items():
        at = ("chain", index, "sysctl", key)
        if not str(key).startswith(("net.", "net/")):
            yield Mistake(at, value, "is no sysctl of the network, and tuning sets no others; remove it", named=True)
        elif not isinstance(value, str):
            yield Mistake(at, value, f'is no text, and tuning reads nothing else; write it in quotes: "{value}"')
