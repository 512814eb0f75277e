"""Conflicts of networks for pods with nodes, cluster, pod and each other; each with setting, value, conflict and remedy."""

from __future__ import annotations

from typing import Any

import pytest

from .test_conflicts import RANGE, check, lan, warnings

pytestmark = pytest.mark.unit

POD = "nginx-macvlan"
IOT: dict[str, Any] = {"vlan": 50, "cidr": "192.168.50.0/24", "gateway": "192.168.50.1", "range": "192.168.50.100-192.168.50.120"}
BOOK: dict[str, Any] = {POD: {"ip": "192.168.50.10"}}


BOOKED: dict[str, Any] = {**IOT, "range": None, "ipam": "static", "addresses": BOOK}


def networks(**entries: dict[str, Any]) -> dict[str, Any]:
    return {"podNetworks": entries}


def iot(**more: Any) -> dict[str, Any]:
    """A network in the nodes' subnet, and one on a VLAN."""
    return networks(lan={"range": RANGE}, iot={**IOT, **more})


def static(**more: Any) -> dict[str, Any]:
    """The same with addresses from a book on the VLAN."""
    return networks(lan={"range": RANGE}, iot={**BOOKED, **more})


def on(parent: str, number: int, **more: Any) -> dict[str, Any]:
    """A network on another NIC."""
    subnet = f"10.0.{number}"
    return {"parent": parent, "cidr": f"{subnet}.0/24", "range": f"{subnet}.10-{subnet}.20", **more}


OLD_PLUGINS = {"url": "https://h/cni-plugins-linux-amd64-v1.5.1.tgz", "checksum": "sha256:" + "0" * 64}

# By name: a configuration, and for each of its problems the beginning and further parts.
CASES: list[tuple[str, dict[str, Any], list[tuple[str, ...]]]] = [
    # --- addresses
    ("host-local without a range", networks(lan={}),
     [("podNetworks.lan.range: is needed with ipam host-local", "as 192.168.122.200-192.168.122.210; set it")]),
    ("an entry of the book without address", static(addresses={POD: {"mac": "02:00:00:00:00:01"}}),
     [(f"podNetworks.iot.addresses.{POD}.ip: is needed with ipam static", "set it")]),
    ("host-local without an IPv6 range", lan(ipv6={"cidr": "fd00:50::/64"}),
     [("podNetworks.lan.ipv6.range: is needed with ipam host-local", "as fd00:50::100-fd00:50::1ff; set it")]),
    ("a VLAN without a subnet", iot(cidr=None, gateway=None),
     [("podNetworks.iot.cidr: is needed for a network on VLAN 50", "not those of the nodes; set it")]),
    ("a second NIC without a subnet", networks(cams={"parent": "enp2s0", "range": "10.0.0.2-10.0.0.9"}),
     [("podNetworks.cams.cidr: is needed for a network on another interface, enp2s0", "set it")]),
    # What is compared with a subnet waits for it; all else is reported.
    ("a VLAN without a subnet and with more",
     iot(cidr=None, routes=[{"to": "10.9.0.0/16", "via": "192.168.50.7"}], replies="by-source", gateway=None,
         nodeAccess="192.168.50.9", range="192.168.50.10-192.168.50.12") | {"servers": {"count": 3}},
     [("podNetworks.iot.cidr: is needed for a network on VLAN 50",),
      ("podNetworks.iot.replies: needs the network's router, and podNetworks.iot.gateway is not set; set it",),
      ("podNetworks.iot.nodeAccess = 192.168.50.9-192.168.50.9: holds 1 addresses for 3 nodes; widen it",),
      ("podNetworks.iot.addressesPerNode: is needed for 3 nodes",),
      ("podNetworks.lan.addressesPerNode: is needed for 3 nodes",)]),
    ("a router elsewhere", iot(gateway="192.168.122.1"),
     [("podNetworks.iot.gateway = 192.168.122.1: is outside podNetworks.iot.cidr 192.168.50.0/24; correct one of them",)]),
    ("a router elsewhere, in the nodes' subnet", lan(gateway="10.0.0.1"),
     [("podNetworks.lan.gateway = 10.0.0.1: is outside network.cidr 192.168.122.0/24; correct one of them",)]),
    ("a default route to nowhere", iot(gateway=None, defaultRoute=True),
     [("podNetworks.iot.defaultRoute: needs the network's router, and podNetworks.iot.gateway is not set; set it",)]),
    ("replies to nowhere", static(gateway=None, replies="by-source"),
     [("podNetworks.iot.replies: needs the network's router, and podNetworks.iot.gateway is not set; set it",)]),
    ("over the cluster's pods", iot(cidr="10.42.5.0/24", gateway=None, range="10.42.5.10-10.42.5.20"),
     [("podNetworks.iot.cidr = 10.42.5.0/24: overlaps k3s.podCidr 10.42.0.0/16", "choose another k3s.podCidr")]),
    ("over the cluster's services", iot(cidr="10.0.0.0/8", gateway=None, range="10.0.0.10-10.0.0.20"),
     [("podNetworks.iot.cidr = 10.0.0.0/8: overlaps k3s.podCidr 10.42.0.0/16",),
      ("podNetworks.iot.cidr = 10.0.0.0/8: overlaps k3s.serviceCidr 10.43.0.0/16", "choose another k3s.serviceCidr")]),
    ("too few for the nodes' own access", {"servers": {"count": 3}, **lan(nodeAccess="192.168.122.20", addressesPerNode=2)},
     [("podNetworks.lan.nodeAccess = 192.168.122.20-192.168.122.20: holds 1 addresses for 3 nodes; widen it",)]),
    ("pods outside", lan(range="10.0.0.1-10.0.0.9"),
     [("podNetworks.lan.range = 10.0.0.1-10.0.0.9: is not inside network.cidr 192.168.122.0/24", "choose addresses of this")]),
    ("pods half outside", lan(range="192.168.122.250-192.168.123.5"),
     [("podNetworks.lan.range = 192.168.122.250-192.168.123.5: is not inside network.cidr",),
      ("podNetworks.lan.range = 192.168.122.250-192.168.123.5: holds the broadcast address of 192.168.122.0/24",)]),
    ("pods of the VLAN outside", iot(range="192.168.122.100-192.168.122.120"),
     [("podNetworks.iot.range = 192.168.122.100-192.168.122.120: is not inside podNetworks.iot.cidr 192.168.50.0/24",)]),
    ("access to all of the nodes' own subnet", lan(range=None, ipam="dhcp", nodeAccess="192.168.122.20"),
     [("podNetworks.lan.nodeAccess = 192.168.122.20-192.168.122.20: would take the node's own connections with it",
       "book the pods' addresses")]),
    ("access to all of a subnet that a NIC has an address of",
     {"servers": {"nics": [{"network": "cams", "address": "10.0.1.5/24"}]},
      **networks(lan={"range": RANGE}, cams={**on("enp2s0", 1), "range": None, "ipam": "dhcp", "nodeAccess": "10.0.1.9"})},
     [("podNetworks.cams.nodeAccess = 10.0.1.9-10.0.1.9: would take the node's own connections with it",)]),
    ("access outside", iot(nodeAccess="192.168.122.20"),
     [("podNetworks.iot.nodeAccess = 192.168.122.20: is not inside podNetworks.iot.cidr 192.168.50.0/24",)]),
    ("an entry of the book outside", static(addresses={POD: {"ip": "192.168.51.10"}}),
     [(f"podNetworks.iot.addresses.{POD}.ip = 192.168.51.10: is not inside podNetworks.iot.cidr 192.168.50.0/24",)]),
    ("pods on the nodes' router", lan(range="192.168.122.1-192.168.122.9"),
     [("podNetworks.lan.range = 192.168.122.1-192.168.122.9: holds network.gateway 192.168.122.1", "move or shorten it")]),
    ("pods on the VLAN's router", iot(range="192.168.50.1-192.168.50.9"),
     [("podNetworks.iot.range = 192.168.50.1-192.168.50.9: holds podNetworks.iot.gateway 192.168.50.1", "move or shorten it")]),
    ("a pod on the VLAN's router", static(addresses={POD: {"ip": "192.168.50.1"}}),
     [(f"podNetworks.iot.addresses.{POD}.ip = 192.168.50.1: holds podNetworks.iot.gateway 192.168.50.1",)]),
    ("pods hold the network address", iot(range="192.168.50.0-192.168.50.0"),
     [("podNetworks.iot.range = 192.168.50.0: holds the network address of 192.168.50.0/24", "move or shorten it")]),
    ("pods hold the broadcast address", lan(range="192.168.122.250-192.168.122.255"),
     [("podNetworks.lan.range = 192.168.122.250-192.168.122.255: holds the broadcast address of 192.168.122.0/24",)]),
    ("a pod on the broadcast address", static(addresses={POD: {"ip": "192.168.50.255"}}),
     [(f"podNetworks.iot.addresses.{POD}.ip = 192.168.50.255: holds the broadcast address of 192.168.50.0/24",)]),
    ("pods among what is excluded", {"network": {"exclude": ["192.168.50.110-192.168.50.130", "192.168.50.101"]}, **iot()},
     [("podNetworks.iot.range = 192.168.50.100-192.168.50.120: holds 192.168.50.110-192.168.50.130 of network.exclude",),
      ("podNetworks.iot.range = 192.168.50.100-192.168.50.120: holds 192.168.50.101 of network.exclude",)]),
    # --- addresses of two
    ("nodes and pods", lan(range="192.168.122.195-192.168.122.210"),
     [("podNetworks.lan.range = 192.168.122.195-192.168.122.210: overlaps network.nodes 192.168.122.180-192.168.122.199",
       "so an address could be given twice; move one of them")]),
    ("access on nodes", lan(nodeAccess="192.168.122.180-192.168.122.181"),
     [("podNetworks.lan.nodeAccess = 192.168.122.180-192.168.122.181: overlaps network.nodes",)]),
    ("access on pods", iot(nodeAccess="192.168.50.120"),
     [("podNetworks.iot.nodeAccess = 192.168.50.120: overlaps podNetworks.iot.range 192.168.50.100-192.168.50.120",)]),
    ("two networks on one NIC", networks(lan={"range": RANGE}, more={"range": "192.168.122.210-192.168.122.220"}),
     [("podNetworks.more.range = 192.168.122.210-192.168.122.220: overlaps podNetworks.lan.range 192.168.122.200-192.168.122.210",
       "move one of them")]),
    ("two networks on one VLAN", networks(one=IOT, other={**IOT, "range": "192.168.50.90-192.168.50.100"}),
     [("podNetworks.other.range = 192.168.50.90-192.168.50.100: overlaps podNetworks.one.range",)]),
    ("a range and a book on one VLAN",
     networks(one=IOT, other={**BOOKED, "addresses": {POD: {"ip": "192.168.50.105"}}}),
     [(f"podNetworks.other.addresses.{POD}.ip = 192.168.50.105: overlaps podNetworks.one.range",)]),
    ("one address twice in a book", static(addresses={**BOOK, "printer": {"ip": "192.168.50.10"}}),
     [(f"podNetworks.iot.addresses.printer.ip = 192.168.50.10: overlaps podNetworks.iot.addresses.{POD}.ip 192.168.50.10",)]),
    ("one address in two books on one VLAN",
     networks(one=BOOKED, other=BOOKED),
     [(f"podNetworks.other.addresses.{POD}.ip = 192.168.50.10: overlaps podNetworks.one.addresses.{POD}.ip 192.168.50.10",)]),
    ("a reservation on nodes", lan(range=None, ipam="dhcp", addresses={"a": {"ip": "192.168.122.185", "mac": "02:00:00:00:00:01"}}),
     [("podNetworks.lan.addresses.a.ip = 192.168.122.185: overlaps network.nodes", "move one of them")]),
    ("a reservation outside",
     iot(range=None, ipam="dhcp", addresses={"a": {"ip": "192.168.51.5", "mac": "02:00:00:00:00:01"}}),
     [("podNetworks.iot.addresses.a.ip = 192.168.51.5: is not inside podNetworks.iot.cidr 192.168.50.0/24",)]),
    ("a reservation of the router's address",
     iot(range=None, ipam="dhcp", addresses={"a": {"ip": "192.168.50.1", "mac": "02:00:00:00:00:01"}}),
     [("podNetworks.iot.addresses.a.ip = 192.168.50.1: holds podNetworks.iot.gateway 192.168.50.1",)]),
    ("one reservation for two",
     iot(range=None, ipam="dhcp", addresses={"a": {"ip": "192.168.50.5", "mac": "02:00:00:00:00:01"},
                                            "b": {"ip": "192.168.50.5", "mac": "02:00:00:00:00:02"}}),
     [("podNetworks.iot.addresses.b.ip = 192.168.50.5: overlaps podNetworks.iot.addresses.a.ip 192.168.50.5",)]),
    ("a reservation in another network's range",
     networks(counted=IOT, asked={**IOT, "range": None, "ipam": "dhcp",
                                  "addresses": {"a": {"ip": "192.168.50.105", "mac": "02:00:00:00:00:01"}}}),
     [("podNetworks.asked.addresses.a.ip = 192.168.50.105: overlaps podNetworks.counted.range",)]),
    # --- IPv6
    ("the router's IPv6 address", lan(ipv6={"cidr": "fd00:50::/64", "gateway": "fd00:50::5", "range": "fd00:50::1-fd00:50::f"}),
     [("podNetworks.lan.ipv6.range = fd00:50::1-fd00:50::f: holds podNetworks.lan.ipv6.gateway fd00:50::5", "move or shorten it")]),
    ("a pod on the router's IPv6 address",
     static(ipv6={"cidr": "fd00:50::/64", "gateway": "fd00:50::1"}, addresses={POD: {**BOOK[POD], "ipv6": "fd00:50::1"}}),
     [(f"podNetworks.iot.addresses.{POD}.ipv6 = fd00:50::1: holds podNetworks.iot.ipv6.gateway fd00:50::1",)]),
    ("any router's IPv6 address", lan(ipv6={"cidr": "fd00:50::/64", "range": "fd00:50::-fd00:50::f"}),
     [("podNetworks.lan.ipv6.range = fd00:50::-fd00:50::f: holds the subnet-router address of fd00:50::/64", "move or shorten")]),
    ("fewer IPv6 addresses", lan(ipv6={"cidr": "fd00:50::/64", "range": "fd00:50::1-fd00:50::a"}),
     [("podNetworks.lan.ipv6.range = fd00:50::1-fd00:50::a: holds 10 addresses for the 11 of podNetworks.lan.range",
       "each pod gets one of both; widen it")]),
    ("one IPv6 range of two networks",
     networks(one={**IOT, "ipv6": {"cidr": "fd00:50::/64", "range": "fd00:50::1-fd00:50::20"}},
              other={**IOT, "range": "192.168.50.20-192.168.50.30",
                     "ipv6": {"cidr": "fd00:50::/48", "range": "fd00:50::20-fd00:50::40"}}),
     [("podNetworks.other.ipv6.range = fd00:50::20-fd00:50::40: overlaps podNetworks.one.ipv6.range fd00:50::1-fd00:50::20",
       "an address could be given twice; move one of them")]),
    ("one IPv6 address of two pods",
     static(ipv6={"cidr": "fd00:50::/64"}, addresses={POD: {**BOOK[POD], "ipv6": "fd00:50::7"},
                                                      "printer": {"ip": "192.168.50.11", "ipv6": "fd00:50:0::7"}}),
     [(f"podNetworks.iot.addresses.printer.ipv6 = fd00:50::7: overlaps podNetworks.iot.addresses.{POD}.ipv6 fd00:50::7",)]),
    # --- slices
    ("no slices", {"agents": {"count": 1}, **lan()},
     [("podNetworks.lan.addressesPerNode: is needed for 2 nodes",
       "podNetworks.lan.range holds 11 addresses: set it to at most 5")]),
    ("no slices of the second", {"agents": {"count": 1}, **iot()},
     [("podNetworks.lan.addressesPerNode: is needed for 2 nodes",),
      ("podNetworks.iot.addressesPerNode: is needed for 2 nodes", "set it to at most 10")]),
    ("no room for slices", {"agents": {"count": 19}, **lan(range="192.168.122.200-192.168.122.205")},
     [("podNetworks.lan.addressesPerNode: is needed for 20 nodes", "widen it to 20 or more and set this")]),
    ("slices too large", {"agents": {"count": 2}, **lan(addressesPerNode=5)},
     [(f"podNetworks.lan.range = {RANGE}: holds 11 addresses, but 3 nodes x addressesPerNode 5 = 15",
       "widen it, or lower addressesPerNode or the number of nodes")]),
    # --- interfaces
    ("a name too long with its VLAN", networks(iot={**IOT, "parent": "enp130s0f1np1", "vlan": 1234}),
     [("podNetworks.iot.vlan = 1234: makes the interface enp130s0f1np1.1234 on each node",
       "longer than the 15 characters", "give the parent a shorter name")]),
    ("passthru takes the NIC", lan(mode="passthru"),
     [("podNetworks.lan.mode = 'passthru': would take enp1s0 away from the node itself",
       "name a second interface in podNetworks.lan.parent, or use mode bridge")]),
    ("MTU", lan(mtu=9000),
     [("podNetworks.lan.mtu = 9000: is 7500 bytes above the 1500 of enp1s0, which a NIC has as a rule",
       "set at most 1500, or network.mtu")]),
    ("MTU of the network", {"network": {"mtu": 8000}, **lan(mtu=9000)},
     [("podNetworks.lan.mtu = 9000: is 1000 bytes above the 8000 of enp1s0, which network.mtu says", "set at most 8000")]),
    ("MTU of a VLAN on the nodes' NIC", iot(mtu=1501, parent="enp1s0"),
     [("podNetworks.iot.mtu = 1501: is 1 bytes above the 1500 of enp1s0",)]),
    ("MTU below that of IPv6", {"network": {"mtu": 1200}, **lan(ipv6="accept")},
     [("podNetworks.lan.ipv6: needs an MTU of 1280 bytes, and enp1s0 has 1200, which network.mtu says",
       "set more there, or write ipv6: ignore")]),
    ("macvlan and ipvlan", networks(one=on("enp2s0", 1), other=on("enp2s0", 2, type="ipvlan")),
     [("podNetworks.other.type = 'ipvlan': shares enp2s0 with podNetworks.one, whose type is macvlan",
       "take one type, or another parent or VLAN")]),
    ("macvlan and ipvlan on a VLAN", networks(one=IOT, other={**IOT, "range": "192.168.50.20-192.168.50.30", "type": "ipvlan"}),
     [("podNetworks.other.type = 'ipvlan': shares enp1s0.50 with podNetworks.one",)]),
    ("two modes of ipvlan", networks(one=on("enp2s0", 1, type="ipvlan", mode="l3"), other=on("enp2s0", 2, type="ipvlan")),
     [("podNetworks.other.mode = 'l2': shares enp2s0 with podNetworks.one, whose mode is l3",
       "take one mode, or another parent or VLAN")]),
    ("passthru and another", networks(one=on("enp2s0", 1, mode="passthru"), other=on("enp2s0", 2)),
     [("podNetworks.other.mode = 'bridge': shares enp2s0 with podNetworks.one, and passthru gives an interface to one pod alone",
       "take mode bridge for both, or another parent or VLAN")]),
    # --- MAC addresses
    ("a node's MAC address", {"servers": {"overrides": {"server-1": {"mac": "02:00:00:00:00:01"}}},
                              **static(addresses={POD: {**BOOK[POD], "mac": "02:00:00:00:00:01"}})},
     [(f"podNetworks.iot.addresses.{POD}.mac = 02:00:00:00:00:01: is the MAC address of node server-1 too", "give one of them")]),
    ("a node's computed MAC address", static(addresses={POD: {**BOOK[POD], "mac": "52:54:00:04:B7:3E"}}),
     [(f"podNetworks.iot.addresses.{POD}.mac = 52:54:00:04:b7:3e: is the MAC address of node server-1 too",)]),
    ("one MAC address of two pods", static(addresses={POD: {**BOOK[POD], "mac": "02:00:00:00:00:0a"},
                                                       "printer": {"ip": "192.168.50.11", "mac": "02:00:00:00:00:0A"}}),
     [(f"podNetworks.iot.addresses.printer.mac = 02:00:00:00:00:0a: is the MAC address of podNetworks.iot.addresses.{POD}.mac too",
       "give one of them another")]),
    ("one MAC address in two books",
     networks(lan={"range": RANGE, "addresses": {"a": {"mac": "02:00:00:00:00:0a"}}},
              iot={**IOT, "addresses": {"b": {"mac": "02:00:00:00:00:0a"}}}),
     [("podNetworks.iot.addresses.b.mac = 02:00:00:00:00:0a: is the MAC address of podNetworks.lan.addresses.a.mac too",)]),
    # --- routes
    ("a route over services", lan(routes=[{"to": "10.43.0.0/16"}]),
     [("podNetworks.lan.routes = 10.43.0.0/16: covers k3s.serviceCidr 10.43.0.0/16", "set podNetworks.lan.clusterRoutes: true")]),
    ("a route over both", iot(routes=[{"to": "10.0.0.0/8", "via": "192.168.50.1"}]),
     [("podNetworks.iot.routes = 10.0.0.0/8: covers k3s.podCidr 10.42.0.0/16",),
      ("podNetworks.iot.routes = 10.0.0.0/8: covers k3s.serviceCidr 10.43.0.0/16", "set podNetworks.iot.clusterRoutes: true")]),
    ("a route into pods", lan(routes=[{"to": "10.42.7.0/24"}]),
     [("podNetworks.lan.routes = 10.42.7.0/24: covers k3s.podCidr", "route smaller networks that leave it out")]),
    ("two halves of everything", lan(routes=[{"to": "0.0.0.0/1"}, {"to": "128.0.0.0/1"}]),
     [("podNetworks.lan.routes = 0.0.0.0/1: covers k3s.podCidr",), ("podNetworks.lan.routes = 0.0.0.0/1: covers k3s.serviceCidr",),
      ("podNetworks.lan.routes = 128.0.0.0/1: covers network.nodes",)]),
    ("a route to nodes", lan(routes=[{"to": "192.168.122.184/30"}]),
     [("podNetworks.lan.routes = 192.168.122.184/30: covers network.nodes 192.168.122.180-192.168.122.199",)]),
    ("a route to nodes by another network", iot(routes=[{"to": "192.168.0.0/16", "via": "192.168.50.254"}]),
     [("podNetworks.iot.routes = 192.168.0.0/16: covers network.nodes 192.168.122.180-192.168.122.199",)]),
    ("a route twice", iot(routes=[{"to": "10.1.0.0/24"}, {"to": "10.1.0.0/24", "via": "192.168.50.2"}]),
     [("podNetworks.iot.routes = 10.1.0.0/24: stands there 2 times", "write it once")]),
    ("a next hop elsewhere", iot(routes=[{"to": "10.1.0.0/24", "via": "192.168.122.1"}]),
     [("podNetworks.iot.routes = 10.1.0.0/24: goes via 192.168.122.1, which is outside of the network's own 192.168.50.0/24",
       "name a router of this network")]),
    ("a route to the network itself", iot(routes=[{"to": "192.168.50.0/24"}]),
     [("podNetworks.iot.routes = 192.168.50.0/24: is the network itself", "remove it")]),
    # --- plugins
    ("a CNI version that the plugins do not know", {"plugins": OLD_PLUGINS, **static(cniVersion="1.1.0")},
     [("podNetworks.iot.cniVersion = '1.1.0': is not known by the plugins v1.5 of plugins.url",
       "take v1.6.0 or later there, or cniVersion 1.0.0")]),
    ("a CNI version that K3s does not know", {"k3s": {"version": "v1.31.2+k3s1"}, **lan(cniVersion="1.1.0")},
     [("podNetworks.lan.cniVersion = '1.1.0': is not known by the host-local that K3s v1.31.2+k3s1 brings",
       "take v1.32 or later, or cniVersion 1.0.0")]),
    ("a CNI version that a chained plugin of K3s does not know",
     {"k3s": {"version": "v1.31.2+k3s1"}, **static(cniVersion="1.1.0", chain=[{"type": "bandwidth"}])},
     [("podNetworks.iot.cniVersion = '1.1.0': is not known by the bandwidth that K3s v1.31.2+k3s1 brings",)]),
    ("a plugin that nobody has", iot(chain=[{"type": "tuning"}, {"type": "tunnig"}]),
     [("podNetworks.iot.chain: names tunnig, which is none of the plugins' releases",
       "(bandwidth, firewall, portmap, sbr, tuning, vrf)",
       "correct it, or add it to plugins.names")]),
    # --- the pod
    ("a network that does not exist", {"workload": {"networks": ["lan", "cams"]}, **iot()},
     [("workload.networks = cams: is none of podNetworks: lan, iot; name one of them",)]),
    ("a network twice", {"workload": {"networks": ["lan", "iot", "lan"]}, **iot()},
     [("workload.networks = lan: stands there 2 times; write it once",)]),
    ("no network", {"workload": {"networks": []}, **iot()},
     [("workload.networks = []: is empty, and the pod would have no address to be served at; name a network",)]),
    ("no entry for the pod", static(addresses={"printer": {"ip": "192.168.50.11"}}),
     [(f"podNetworks.iot.addresses: has no entry for the pod {POD}, and with ipam static nobody else gives it an address",
       f"book one as addresses.{POD}, or name the pod's networks in workload.networks without iot")]),
    ("one entry for the pods of two nodes",
     {"workload": {"perNode": True, "networks": ["iot"]}, "agents": {"count": 1},
      **networks(lan={"range": RANGE, "addressesPerNode": 2}, iot=BOOKED)},
     [(f"podNetworks.iot.addresses: has no entry for the pod {POD}-server-1", f"book one as addresses.{POD}-server-1"),
      (f"podNetworks.iot.addresses: has no entry for the pod {POD}-agent-1",)]),
    ("an entry for a pod elsewhere", static(addresses={POD: {**BOOK[POD], "namespace": "home"}}),
     [(f"podNetworks.iot.addresses.{POD}.namespace = home: is not the namespace of the stack's pod of this name, "
       "workload.namespace default; correct it",)]),
    ("isolation", {"multus": {"namespaceIsolation": True}, "workload": {"namespace": "apps"}, **iot(namespace="nets")},
     [("multus.namespaceIsolation = True: forbids the pod in apps the network iot in nets",
       "put both in one namespace or switch it off")]),
    ("a proof on a network without the pod", {"workload": {"networks": ["lan"]}, "proof": {"networks": ["lan", "iot"]}, **iot()},
     [(f"proof.networks = iot: is no network of the pod {POD} (workload.networks), so no page is served on it; remove it",)]),
    ("a proof on a network that does not exist", {"proof": {"networks": ["cams"]}, **iot()},
     [(f"proof.networks = cams: is no network of the pod {POD}",)]),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_conflict_is_named_with_both_sides_and_a_remedy(raw: dict[str, Any], wanted: list[tuple[str, ...]]) -> None:
    found = check(raw)
    for beginning, *parts in wanted:
        lines = [line for line in found if line.startswith(beginning)]
        assert len(lines) == 1, (beginning, found)
        for part in parts:
            assert part in lines[0]
    assert len(found) == len(wanted), found


@pytest.mark.parametrize(
    "raw",
    [
        lan(range="192.168.122.2-192.168.122.179"),
        lan(addressesPerNode=11),
        {"servers": {"count": 3}, "agents": {"count": 2}, **lan(addressesPerNode=2)},
        lan(range=None, ipam="static", addresses={POD: {"ip": "192.168.122.203"}}),
        # An entry may be in the range of static, from which nobody counts.
        lan(ipam="static", addresses={POD: {"ip": "192.168.122.203"}}),
        lan(routes=[{"to": "192.168.0.0/16"}, {"to": "172.16.0.0/12", "via": "192.168.122.1"}]),
        lan(routes=[{"to": "10.9.0.0/16", "via": "192.168.122.1"}, {"to": "224.0.0.0/4"}]),
        lan(routes=[{"to": "10.0.0.0/8"}], clusterRoutes=True),
        # Replies take nothing away from the cluster.
        lan(routes=[{"to": "10.0.0.0/8"}], replies="by-source"),
        networks(one={**on("enp2s0", 1), "mode": "passthru"}),
        # Passthru of a VLAN's interface leaves the NIC to the node.
        iot(mode="passthru"),
        lan(mtu=1500),
        {"network": {"mtu": 9000}, **lan(mtu=9000)},
        networks(lan={**on("enp2s0", 1), "mtu": 9000}),
        {"network": {"mtu": 1000}, **lan()},
        lan(check=False),
        iot(),
        static(),
        # The same addresses on other wires.
        networks(one={**IOT, "vlan": 50}, other={**IOT, "vlan": 51}),
        networks(one={**IOT, "parent": "enp2s0"}, other={**IOT, "parent": "enp3s0"}),
        networks(one=IOT, other={**IOT, "range": "192.168.50.20-192.168.50.30"}),
        networks(one=IOT, other={**IOT, "cidr": "192.168.60.0/24", "gateway": None, "range": "192.168.60.20-192.168.60.30"}),
        networks(one={**IOT, "type": "ipvlan"}, other={**IOT, "parent": "enp2s0"}),
        networks(one={**on("enp2s0", 1), "mode": "vepa"}, other={**on("enp2s0", 2), "mode": "private"}),
        iot(range=None, gateway=None, ipam="dhcp", defaultRoute=True),
        # A way to the pods that is no way of the node's own.
        iot(range=None, ipam="dhcp", nodeAccess="192.168.50.20"),
        networks(cams={**on("enp2s0", 1), "range": None, "ipam": "dhcp", "nodeAccess": "10.0.1.9"}),
        lan(range=None, ipam="dhcp", nodeAccess="192.168.122.20",
            addresses={POD: {"ip": "192.168.122.203", "mac": "02:00:00:00:00:01"}}),
        # Who gives the reservation, may have it among what is excluded here.
        {"network": {"exclude": ["192.168.50.4-192.168.50.6"]},
         **iot(range=None, ipam="dhcp", addresses={"a": {"ip": "192.168.50.5", "mac": "02:00:00:00:00:01"}})},
        {"agents": {"count": 3}, **networks(iot=BOOKED)},
        {"workload": {"networks": ["lan"]}, **static(addresses={"printer": {"ip": "192.168.50.11"}})},
        {"plugins": {**OLD_PLUGINS, "names": ["own"]}, **iot(chain=[{"type": "own"}])},
        {"plugins": OLD_PLUGINS, **iot(cniVersion="1.0.0")},
        {"k3s": {"version": "v1.31.2+k3s1"}, **static(cniVersion="1.1.0")},
        {"multus": {"namespaceIsolation": True}, "workload": {"namespace": "apps", "networks": ["lan"]}, **iot(namespace="nets")},
        {"proof": {"networks": ["iot"]}, **iot()},
        {"proof": {"networks": []}, **iot()},
    ],
)  # fmt: skip
def test_what_holds_together_is_taken(raw: dict[str, Any]) -> None:
    assert check(raw) == []


@pytest.mark.parametrize("acknowledged", [True, False])
def test_acknowledged_routes_over_the_cluster_are_warned_of(acknowledged: bool) -> None:
    raw = iot(routes=[{"to": "10.0.0.0/8"}, {"to": "10.9.0.0/16"}], clusterRoutes=acknowledged)
    found = [warning for warning in warnings(raw) if warning.startswith("podNetworks.iot.routes")]
    covered = ["k3s.podCidr 10.42", "k3s.serviceCidr 10.43"] if acknowledged else []
    assert [warning.partition(" covers ")[2][: len(text)] for warning, text in zip(found, covered, strict=True)] == covered


@pytest.mark.parametrize("wanted", [True, False])
def test_a_default_route_by_a_network_is_warned_of(wanted: bool) -> None:
    found = [warning.partition(":")[0] for warning in warnings(iot(defaultRoute=wanted))]
    assert ("podNetworks.iot.defaultRoute" in found) == wanted
