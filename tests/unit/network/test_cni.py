"""The CNI configuration of a network, and what a pod's annotation requests on it."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.config import reading
from components.config.network_plan import NetworkPlan
from components.config.plan import Plan
from components.config.pod_networks import IPVLAN_MODES, MACVLAN_MODES
from components.config.raw import RawConfiguration
from components.network import cni

pytestmark = pytest.mark.unit
steady = settings(deadline=None, database=None, derandomize=True)

RANGE = "192.168.122.200-192.168.122.210"
BOOK = {"nginx-macvlan": {"ip": "192.168.122.20"}}
IPV6 = {"cidr": "fd00:50::/64", "range": "fd00:50::100-fd00:50::1ff", "gateway": "fd00:50::1"}


def planned(networks: dict[str, dict[str, Any]], **more: Any) -> Plan:
    return reading.load("k3s-macvlan", "dev", RawConfiguration({"podNetworks": networks, **more})).plan


def counted(**more: Any) -> NetworkPlan:
    """A network with host-local, in the nodes' subnet."""
    return planned({"lan": {"range": RANGE, **more}}).networks[0]


def static(**more: Any) -> NetworkPlan:
    """A network with static, in the nodes' subnet."""
    return planned({"lan": {"ipam": "static", "addresses": BOOK, **more}}).networks[0]


def leased(**more: Any) -> NetworkPlan:
    """A network with dhcp, in the nodes' subnet."""
    return planned({"lan": {"ipam": "dhcp", **more}}).networks[0]


def plugins(network: NetworkPlan) -> list[dict[str, Any]]:
    """All plugins of a network, as the runtime runs them."""
    document = cni.whole(network)
    if "plugins" not in document:
        return [{key: value for key, value in document.items() if key not in ("cniVersion", "name")}]
    assert set(document) == {"cniVersion", "name", "plugins"}
    listed: list[dict[str, Any]] = document["plugins"]
    return listed


def ipam(network: NetworkPlan) -> dict[str, Any]:
    section: dict[str, Any] = plugins(network)[0]["ipam"]
    return section


# --- the interface


def test_the_articles_network_to_the_letter() -> None:
    article = {
        "cniVersion": "0.3.1",
        "name": "macvlan-conf",
        "type": "macvlan",
        "master": "enp1s0",
        "mode": "bridge",
        "ipam": {
            "type": "host-local",
            "subnet": "192.168.122.0/24",
            "rangeStart": "192.168.122.200",
            "rangeEnd": "192.168.122.210",
            "routes": [{"dst": "0.0.0.0/0"}],
            "gateway": "192.168.122.1",
        },
    }
    network = {"range": RANGE, "defaultRoute": True, "dataDirectory": None, "ipv6": "accept"}
    assert cni.whole(planned({"macvlan-conf": network}).networks[0]) == article


BY_IPAM: dict[str, dict[str, Any]] = {
    "host-local": {"range": "10.9.0.5"}, "static": {"addresses": {"nginx-macvlan": {"ip": "10.9.0.5"}}}, "dhcp": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "mode", "kind_of_ipam"),
    [
        (kind, mode, kind_of_ipam)
        for kind, modes in (("macvlan", MACVLAN_MODES), ("ipvlan", IPVLAN_MODES))
        for mode in modes
        for kind_of_ipam in BY_IPAM
        if kind_of_ipam != "dhcp" or mode not in ("l3", "l3s")
    ],
)
def test_each_mode(kind: str, mode: str, kind_of_ipam: str) -> None:
    own = {"parent": "enp2s0", "cidr": "10.9.0.0/24", "type": kind, "mode": mode, "ipam": kind_of_ipam, **BY_IPAM[kind_of_ipam]}
    document = cni.whole(planned({"lan": {**own, "mtu": 1400, "cniVersion": "1.0.0"}}).networks[0])
    interface = document["plugins"][0]
    assert (document["cniVersion"], document["name"]) == ("1.0.0", "lan")
    assert (interface["type"], interface["mode"], interface["master"], interface["mtu"]) == (kind, mode, "enp2s0", 1400)
    assert interface["ipam"]["type"] == kind_of_ipam
    # Only static is given the pod's address by the runtime.
    assert interface.get("capabilities") == ({"ips": True} if kind_of_ipam == "static" else None)


def test_without_a_mode_it_is_the_types_own() -> None:
    assert plugins(counted())[0]["mode"] == "bridge"
    assert plugins(counted(type="ipvlan"))[0]["mode"] == "l2"
    assert "mtu" not in plugins(counted())[0]


def test_the_interface_of_a_vlan_is_the_master() -> None:
    iot = {"vlan": 50, "cidr": "192.168.50.0/24", "range": "192.168.50.10"}
    assert [plugins(network)[0]["master"] for network in planned({"a": iot, "b": {**iot, "parent": "enp2s0"}}).networks] == [
        "enp1s0.50", "enp2s0.50",
    ]  # fmt: skip


# --- addresses and routes


def test_the_default_has_no_route_and_no_gateway() -> None:
    section = ipam(counted())
    assert section["routes"] == []
    assert "gateway" not in section
    assert section["dataDir"] == "/run/cni/macvlan"
    assert ipam(static())["routes"] == []


def test_a_route_uses_its_next_hop_or_stays_on_the_network() -> None:
    """host-local gives each address a gateway, by which a route without one of its own would go: 239.1.1.1 went via 192.168.122.1
    as unicast; with gw 0.0.0.0 the route has none (measured)."""
    routes = [{"to": "10.9.0.0/16", "via": "192.168.122.7"}, {"to": "224.0.0.0/4"}]
    for network in (counted(routes=routes), counted(routes=routes, gateway="192.168.122.1")):
        assert ipam(network)["routes"] == [{"dst": "10.9.0.0/16", "gw": "192.168.122.7"}, {"dst": "224.0.0.0/4", "gw": "0.0.0.0"}]
        assert "gateway" not in ipam(network)
    assert ipam(static(routes=routes))["routes"] == [{"dst": "10.9.0.0/16", "gw": "192.168.122.7"}, {"dst": "224.0.0.0/4"}]


@pytest.mark.parametrize("setting", [{"defaultRoute": True}, {"replies": "by-source"}])
def test_everything_is_sent_to_the_gateway_where_that_is_set(setting: dict[str, Any]) -> None:
    """For replies: by-source it is what sbr moves into a table of its own."""
    routes = [{"to": "224.0.0.0/4"}]
    local = ipam(counted(routes=routes, **setting))
    assert local["gateway"] == "192.168.122.1"
    assert local["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "224.0.0.0/4", "gw": "0.0.0.0"}]
    assert ipam(static(routes=routes, **setting))["routes"] == [{"dst": "0.0.0.0/0", "gw": "192.168.122.1"}, {"dst": "224.0.0.0/4"}]
    own = ipam(counted(gateway="192.168.122.254", **setting))
    assert own["gateway"] == "192.168.122.254"


def test_a_dhcp_server_gets_the_pods_name_and_no_router_is_requested() -> None:
    name = {"option": "host-name", "fromArg": "K8S_POD_NAME"}
    assert ipam(leased()) == {"type": "dhcp", "provide": [name], "request": [{"option": "subnet-mask", "skipDefault": True}]}
    for setting in ({"defaultRoute": True}, {"replies": "by-source"}):
        assert ipam(leased(**setting)) == {"type": "dhcp", "provide": [name]}, "without a request of ours it requests routers"


def test_a_node_has_its_own_slice() -> None:
    lan = {"range": "192.168.122.200-192.168.122.210", "addressesPerNode": 3, "ipv6": IPV6}
    plan = planned({"lan": lan}, agents={"count": 2})
    documents = [cni.on_node(node.networks[0]) for node in plan.nodes]
    ranges = [document["plugins"][0]["ipam"]["ranges"] for document in documents]
    bounds = [[(one["rangeStart"], one["rangeEnd"]) for (one,) in both] for both in ranges]
    assert bounds == [
        [("192.168.122.200", "192.168.122.202"), ("fd00:50::100", "fd00:50::102")],
        [("192.168.122.206", "192.168.122.208"), ("fd00:50::106", "fd00:50::108")],
        [("192.168.122.203", "192.168.122.205"), ("fd00:50::103", "fd00:50::105")],
    ]
    assert [node.name for node in plan.nodes if node.networks[0].network.sliced] == ["server-1", "agent-1", "agent-2"]


# --- IPv6


def test_ipv6_is_ignored_accepted_or_given() -> None:
    assert plugins(counted())[1:] == [{"type": "tuning", "sysctl": {"net.ipv6.conf.IFNAME.disable_ipv6": "1"}}]
    assert plugins(counted(ipv6="accept"))[1:] == []
    given_addresses = counted(ipv6=IPV6)
    assert plugins(given_addresses)[1:] == [{"type": "tuning", "sysctl": {"net.ipv6.conf.IFNAME.accept_ra": "0"}}]
    assert ipam(given_addresses)["ranges"] == [
        [{"subnet": "192.168.122.0/24", "rangeStart": "192.168.122.200", "rangeEnd": "192.168.122.210"}],
        [{"subnet": "fd00:50::/64", "rangeStart": "fd00:50::100", "rangeEnd": "fd00:50::1ff"}],
    ]
    assert ipam(given_addresses)["routes"] == []


def test_ipv6_is_sent_to_its_own_gateway_where_everything_is() -> None:
    local = ipam(counted(ipv6=IPV6, defaultRoute=True))
    assert local["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0", "gw": "fd00:50::1"}]
    assert [one["gateway"] for (one,) in local["ranges"]] == ["192.168.122.1", "fd00:50::1"]
    booked = {"nginx-macvlan": {"ip": "192.168.122.20", "ipv6": "fd00:50::7"}}
    fixed = ipam(static(ipv6={"cidr": "fd00:50::/64", "gateway": "fe80::1"}, addresses=booked, defaultRoute=True))
    assert fixed["routes"] == [{"dst": "0.0.0.0/0", "gw": "192.168.122.1"}, {"dst": "::/0", "gw": "fe80::1"}]


@pytest.mark.parametrize(
    ("mtu", "of_nodes", "tuned"), [(1279, None, False), (1280, None, True), (None, 1000, False), (None, 1280, True)]
)
def test_an_interface_below_the_mtu_of_ipv6_is_left_alone(mtu: int | None, of_nodes: int | None, tuned: bool) -> None:
    """It has no sysctls of IPv6 (measured), and tuning would fail each pod."""
    network = planned({"lan": {"range": RANGE, "mtu": mtu}}, network={"mtu": of_nodes}).networks[0]
    assert [plugin["type"] for plugin in plugins(network)] == ["macvlan", *(["tuning"] if tuned else [])]


# --- chained plugins


def test_plugins_follow_in_order() -> None:
    """Without IPv6 first, so that no router's announcement is early enough; then sbr, which moves the routes that it finds."""
    own = [{"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}, {"type": "bandwidth", "ingressRate": 1000}]
    listed = plugins(counted(replies="by-source", chain=own))
    assert [plugin["type"] for plugin in listed] == ["macvlan", "tuning", "sbr", "tuning", "bandwidth"]
    assert listed[3:] == own


# --- JSON

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@steady
@given(st.dictionaries(st.text(), DOCUMENTS), st.randoms(use_true_random=False))
def test_canonical_json_is_equal_where_the_documents_are(document: dict[str, Any], random: Any) -> None:
    items = list(document.items())
    random.shuffle(items)
    assert cni.canonical(dict(items)) == cni.canonical(document)
    assert json.loads(cni.canonical(document)) == document
    assert cni.canonical(document).isascii()


# --- what a pod requests

HOME: dict[str, Any] = {
    "namespace": "home", "vlan": 50, "cidr": "192.168.50.0/24", "ipam": "static", "ipv6": {"cidr": "fd00:50::/64"},
    "addresses": {
        "nginx-macvlan": {"ip": "192.168.50.10", "mac": "02:00:00:00:50:10"},
        "printer": {"ip": "192.168.50.11", "ipv6": "fd00:50::11", "namespace": "office"},
    },
}  # fmt: skip


def annotation(networks: dict[str, dict[str, Any]], workload: dict[str, Any]) -> str:
    plan = planned(networks, workload=workload)
    entries = [cni.attachment(item.network, item.booked) for item in plan.pods[0].attachments]
    return cni.annotation(entries, workload.get("namespace", "default"))


@pytest.mark.parametrize(
    ("networks", "workload", "text"),
    [
        ({"lan": {"range": RANGE}}, {}, "lan"),
        ({"lan": {"range": RANGE, "namespace": "nets"}}, {}, "nets/lan"),
        ({"lan": {"range": RANGE, "namespace": "a"}}, {"namespace": "a"}, "lan"),
        ({"lan": {"range": RANGE}, "more": {"range": "192.168.122.20", "namespace": "nets"}}, {}, "lan,nets/more"),
        ({"lan": {"range": RANGE}, "more": {"range": "192.168.122.20"}}, {"networks": ["more", "lan"]}, "more,lan"),
        ({"lan": {"range": RANGE, "addresses": {"other": {"mac": "02:00:00:00:00:01"}}}}, {}, "lan"),
    ],
)
def test_the_pods_annotation_is_names_where_nothing_more_is_requested(
    networks: dict[str, dict[str, Any]], workload: dict[str, Any], text: str
) -> None:
    assert annotation(networks, workload) == text


def test_the_pods_annotation_has_what_is_booked() -> None:
    assert json.loads(annotation({"lan": {"range": RANGE}, "home": HOME}, {})) == [
        {"name": "lan", "namespace": "default"},
        {"name": "home", "namespace": "home", "ips": ["192.168.50.10/24"], "mac": "02:00:00:00:50:10"},
    ]


def test_a_book_is_what_each_pod_of_it_requests() -> None:
    (home,) = planned({"home": HOME}).networks
    assert {name: json.loads(text) for name, text in cni.book(home).items()} == {
        "nginx-macvlan": [{"name": "home", "namespace": "home", "ips": ["192.168.50.10/24"], "mac": "02:00:00:00:50:10"}],
        "printer": [{"name": "home", "namespace": "home", "ips": ["192.168.50.11/24", "fd00:50::11/64"]}],
    }


def test_an_address_that_a_dhcp_server_reserves_is_not_requested() -> None:
    """By the pod's MAC address the server knows it."""
    network = leased(addresses={"nginx-macvlan": {"ip": "192.168.122.20", "mac": "02:00:00:00:00:01"}, "other": {}})
    booked = network.settings.addresses
    assert cni.attachment(network, booked["nginx-macvlan"]) == {"name": "lan", "namespace": "default", "mac": "02:00:00:00:00:01"}
    assert cni.attachment(network, booked["other"]) == {"name": "lan", "namespace": "default"}
    assert cni.attachment(network, None) == {"name": "lan", "namespace": "default"}
    assert booked["nginx-macvlan"].ip == IPv4Address("192.168.122.20")
