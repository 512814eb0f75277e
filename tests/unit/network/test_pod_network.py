"""What a pod's network-status says, which pods still have a former network, and what is checked of a network on a node."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pulumi import RunError

from components.config import reading
from components.config.plan import Plan
from components.config.raw import RawConfiguration
from components.network.changed_network import NETWORK_REVISION, pods_of_others
from components.network.node_networks import check_parameters
from components.network.pod import pod_interface
from components.outputs import all_different

pytestmark = pytest.mark.unit
STATUS = "k8s.v1.cni.cncf.io/network-status"

ETH0 = {"name": "cbr0", "interface": "eth0", "ips": ["10.42.0.9"], "mac": "0a:00:00:00:00:02", "default": True}
NET1 = {"name": "default/macvlan-conf", "interface": "net1", "ips": ["192.168.122.200"], "mac": "6a:00:00:00:00:01"}
NET2 = {"name": "default/iot", "interface": "net2", "ips": ["192.168.50.10"], "mac": "6a:00:00:00:00:02"}


@pytest.mark.parametrize("entries", [[ETH0, NET1, NET2], [NET2, NET1, ETH0]])
def test_an_interface_is_found_by_its_name(entries: list[dict[str, Any]]) -> None:
    annotations = {STATUS: json.dumps(entries)}
    assert pod_interface(annotations, "default/macvlan-conf", "net1", "p") == NET1
    assert pod_interface(annotations, "default/iot", "net2", "p") == NET2


@pytest.mark.parametrize(
    "annotations",
    [
        None,
        {},
        {STATUS: "[]"},
        {STATUS: json.dumps([ETH0])},
        {STATUS: json.dumps([ETH0, NET2])},
        {STATUS: json.dumps([ETH0, {**NET1, "ips": []}])},
        {STATUS: json.dumps([ETH0, {**NET1, "mac": ""}])},
        {STATUS: json.dumps([ETH0, {**NET2, "interface": "net1"}])},
        {STATUS: "null"},
        {STATUS: '{"a": 1}'},
    ],
)
def test_a_pod_without_it_is_an_error_that_says_what_to_do(annotations: Any) -> None:
    with pytest.raises(RunError, match=r"pod p runs without net1.*kubectl delete pod p"):
        pod_interface(annotations, "default/macvlan-conf", "net1", "p")


def pod(name: str, *networks: str, own: bool = False) -> dict[str, Any]:
    status = [ETH0, *({**NET1, "name": network} for network in networks)]
    annotations = {STATUS: json.dumps(status), **({NETWORK_REVISION: "0"} if own else {})}
    return {"metadata": {"name": name, "namespace": "apps", "annotations": annotations}}


def test_pods_of_others_on_a_network_are_named() -> None:
    pods = {
        "items": [
            pod("b", "default/lan", "default/iot"),
            pod("a", "default/iot"),
            pod("elsewhere", "default/lan", "home/iot"),
            pod("ours", "default/iot", own=True),
            {"metadata": {"name": "plain", "namespace": "apps"}},
        ]
    }
    assert pods_of_others(pods, "default/iot") == ["apps/a", "apps/b"]
    assert pods_of_others(pods, "default/cams") == []


def page(name: str, network: str, address: str) -> dict[str, Any]:
    return {"pod": name, "network": network, "address": address}


def test_one_address_of_two_pods_on_a_network_is_an_error() -> None:
    apart = [page("a", "lan", "10.0.0.1"), page("b", "lan", "10.0.0.2"), page("a", "iot", "10.0.0.1")]
    assert all_different(apart) == apart, "networks of other wires may have the same addresses"
    with pytest.raises(RunError, match=r"pods a, c all have the address 10\.0\.0\.1: see podNetworks\.lan\.addressesPerNode"):
        all_different([*apart, page("c", "lan", "10.0.0.1")])


# --- the check on a node


def checked(network: dict[str, Any], nodes: int = 1, **more: Any) -> dict[str, str]:
    """Parameters of the first node's check."""
    raw = {"podNetworks": {"lan": network}, "agents": {"count": nodes - 1}, **more}
    plan: Plan = reading.load("k3s-macvlan", "dev", RawConfiguration(raw)).plan
    return check_parameters(plan.nodes[0].networks[0], "52:54:00:00:00:01")


def test_a_check_is_made_on_the_networks_own_interface() -> None:
    here = checked({"range": "192.168.122.200-192.168.122.210"})
    assert here["SETTING"] == "podNetworks.lan"
    assert "LINK" not in here, "the nodes' own is found by its MAC address"
    assert (here["TYPE"], here["MODE"], here["GATEWAY"]) == ("macvlan", "bridge", "192.168.122.1")
    vlan = checked({"vlan": 50, "cidr": "192.168.50.0/24", "range": "192.168.50.10-192.168.50.20", "type": "ipvlan", "mtu": 1400})
    assert (vlan["LINK"], vlan["TYPE"], vlan["MODE"], vlan["MTU"]) == ("enp1s0.50", "ipvlan", "l2", "1400")
    assert "GATEWAY" not in vlan


def test_a_check_probes_addresses_that_only_this_node_s_pods_can_have() -> None:
    book = {"nginx-macvlan": {"ip": "192.168.122.20", "mac": "02:00:00:00:00:01"}, "printer": {"ip": "192.168.122.21"}}
    alone = checked({"ipam": "static", "addresses": book})
    assert alone["FREE"] == "192.168.122.20-192.168.122.21"
    assert "BOOKED" not in alone
    shared = checked({"ipam": "static", "addresses": book}, nodes=2)
    assert "FREE" not in shared
    assert shared["BOOKED"] == "192.168.122.20=02:00:00:00:00:01", "others are distinguished by their MAC address"
    sliced = checked(
        {"range": "192.168.122.200-192.168.122.210", "addressesPerNode": 5, "nodeAccess": "192.168.122.30-192.168.122.31"}, 2
    )
    assert sliced["FREE"] == "192.168.122.30-192.168.122.30,192.168.122.200-192.168.122.204"


@pytest.mark.parametrize(("ipv6", "needed"), [("ignore", True), ("accept", False)])
def test_a_check_requires_ipv6_where_tuning_sets_it(ipv6: str, needed: bool) -> None:
    assert ("IPV6" in checked({"range": "192.168.122.200-192.168.122.210", "ipv6": ipv6})) == needed
