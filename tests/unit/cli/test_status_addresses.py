"""Addresses over all pods and nodes: what several have, and how many are left."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli import duplicates, kube, stack, usage
from cli.kube import Definition
from components.config import plan as plans
from components.config.plan import Plan
from components.config.reading import parse
from components.config.settings import Settings

from .test_stack import ETH0, NODE, OUTPUTS
from .test_stack import pod as kube_pod

pytestmark = pytest.mark.unit

LAN = "default/macvlan-conf"


def planned(**raw: Any) -> tuple[Settings, Plan]:
    config = parse("dev", raw)
    return config, plans.make("k3s-macvlan", "dev", config)


def lan(**network: Any) -> dict[str, Any]:
    """The setting podNetworks with the one network of the default."""
    return {"podNetworks": {"macvlan-conf": {"range": "192.168.122.200-192.168.122.210", **network}}}


IOT = {"vlan": 50, "cidr": "192.168.50.0/24", "gateway": "192.168.50.1", "ipam": "static"}
THREE = planned(servers={"count": 1}, agents={"count": 2}, **lan(addressesPerNode=3))


def placed(name: str, *ips: str, node: str = "server-1", net: str = LAN, mac: str = "", **status: Any) -> dict[str, Any]:
    item = kube_pod(name, "", [ETH0, {"name": net, "interface": "net1", "ips": list(ips), "mac": mac}])
    item["spec"]["nodeName"] = node
    item["status"] |= status
    return item


def twice(
    *items: dict[str, Any],
    of: tuple[Settings, Plan] = THREE,
    definitions: tuple[Definition, ...] = (),
    known: tuple[kube.KubeNode, ...] = (),
) -> list[str]:
    """The duplicates as text; the pods' eth0 have cluster addresses of their own."""
    for index, item in enumerate(items):
        report = json.loads(item["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"])
        report[0]["ips"] = [f"10.42.0.{index + 1}"]
        item["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = json.dumps(report)
    on = duplicates.segments(*of, definitions)
    nodes = stack.parse_outputs("dev", OUTPUTS).nodes
    return [str(duplicate) for duplicate in duplicates.duplicates(kube.pods({"items": list(items)}), nodes, known, of[1], on)]


def test_one_address_on_two_nodes_is_named_with_both() -> None:
    (duplicate,) = twice(placed("a", "192.168.122.200"), placed("b", "192.168.122.200", node="agent-1"))
    assert duplicate == (
        "the address 192.168.122.200 is on 2 interfaces: pod default/a net1 (node server-1); pod default/b net1 (node agent-1)"
    )


def test_one_mac_address_on_two_pods() -> None:
    (duplicate,) = twice(
        placed("a", "192.168.122.200", mac="02:00:00:00:00:0A"), placed("b", "192.168.122.201", mac="02:00:00:00:00:0a")
    )
    assert duplicate.startswith("the MAC address 02:00:00:00:00:0a is on 2 interfaces")


@pytest.mark.parametrize(
    ("item", "begin"),
    [
        (placed("a", NODE["address"]), f"the address {NODE['address']} is on 2 interfaces"),
        (placed("a", "192.168.122.200", mac=NODE["mac"]), f"the MAC address {NODE['mac']} is on 2"),
    ],
)
def test_a_node_s_own_addresses_count(item: dict[str, Any], begin: str) -> None:
    (duplicate,) = twice(item)
    assert duplicate.startswith(begin) and "node server-1" in duplicate


def test_addresses_of_nodes_that_only_the_cluster_knows_and_of_the_nodes_own_interface() -> None:
    by_hand = kube.KubeNode(name="by-hand", ready=True, version="", addresses=("192.168.122.201",))
    assert "node by-hand" in twice(placed("a", "192.168.122.201"), known=(by_hand,))[0]
    access = planned(**lan(nodeAccess="192.168.122.211-192.168.122.219"))
    assert "node server-1 (nodeAccess of macvlan-conf)" in twice(placed("a", "192.168.122.211"), of=access)[0]


def test_a_node_s_own_interface_is_on_its_network_s_segment() -> None:
    two = {"podNetworks": {**lan()["podNetworks"], "iot": {**IOT, "nodeAccess": "192.168.50.180-192.168.50.189"}}}
    of = planned(workload={"networks": ["macvlan-conf"]}, **two)
    assert "(nodeAccess of iot)" in twice(placed("a", "192.168.50.180", net="default/iot"), of=of)[0]
    assert twice(placed("a", "192.168.50.180"), of=of) == []


def test_a_node_is_not_its_own_duplicate() -> None:
    same = kube.KubeNode(name="server-1", ready=True, version="", addresses=(NODE["address"],))
    assert twice(known=(same,)) == []


def test_ended_pods_hold_nothing() -> None:
    for phase in ("Succeeded", "Failed"):
        assert twice(placed("a", "192.168.122.200", phase=phase), placed("b", "192.168.122.200")) == []


def test_ipv6_addresses_are_compared_as_addresses() -> None:
    (duplicate,) = twice(placed("a", "192.168.122.200", "fd00:0:0::5"), placed("b", "192.168.122.201", "FD00::5"))
    assert "the address fd00::5" in duplicate


def test_a_pod_that_is_being_deleted_is_reported_as_one() -> None:
    going = placed("a", "192.168.122.200")
    going["metadata"]["deletionTimestamp"] = "2026-11-26T10:00:00Z"
    assert "being deleted" in twice(going, placed("b", "192.168.122.200"))[0]


def test_the_same_address_on_another_segment_is_no_mistake() -> None:
    vlan = Definition(network="office/vlan20", type="macvlan", master="enp1s0.20")
    vlan_too = Definition(network="office/other", type="macvlan", master="enp1s0.20")
    lan_too = Definition(network="office/lan", type="macvlan", master="enp1s0")
    default = Definition(network="office/default", type="ipvlan", master="")
    one = placed("a", "192.168.122.200")
    known = (vlan, vlan_too, lan_too, default)
    assert twice(one, placed("b", "192.168.122.200", net="office/vlan20"), definitions=known) == []
    assert twice(one, placed("b", "192.168.122.200", net="office/bridge"), definitions=known) == []
    # Other networks on the same parent are the same segment.
    assert len(twice(one, placed("b", "192.168.122.200", net="office/lan"), definitions=known)) == 1
    assert len(twice(one, placed("b", "192.168.122.200", net="office/default"), definitions=known)) == 1
    both = placed("b", "10.0.0.1", net="office/vlan20"), placed("c", "10.0.0.1", net="office/other")
    assert len(twice(*both, definitions=known)) == 1


def test_vlans_are_segments_whoever_has_defined_them() -> None:
    of = planned(podNetworks={**lan()["podNetworks"], "iot": IOT}, workload={"networks": ["macvlan-conf"]})
    tagged = Definition(network="office/tagged", type="vlan", master="enp1s0", vlan=50)
    on_link = Definition(network="office/list", type="macvlan", master="enp1s0.50")
    other = Definition(network="office/other", type="vlan", master="enp1s0", vlan=51)
    known = (tagged, on_link, other)
    one = placed("a", "192.168.50.10", net="default/iot")
    assert len(twice(one, placed("b", "192.168.50.10", net="office/tagged"), of=of, definitions=known)) == 1
    assert len(twice(one, placed("b", "192.168.50.10", net="office/list"), of=of, definitions=known)) == 1
    assert twice(one, placed("b", "192.168.50.10", net="office/other"), of=of, definitions=known) == []
    assert twice(one, placed("b", "192.168.50.10"), of=of, definitions=known) == []
    # An interface of the plugin vlan has its parent's MAC address, as one of ipvlan has.
    same = (placed(name, f"192.168.50.{name}", net="office/tagged", mac=NODE["mac"]) for name in ("11", "12"))
    assert twice(*same, of=of, definitions=known) == []


def test_pods_of_ipvlan_share_their_node_s_mac_address() -> None:
    shared = planned(**lan(type="ipvlan"))
    items = placed("a", "192.168.122.200", mac=NODE["mac"]), placed("b", "192.168.122.201", mac=NODE["mac"])
    assert twice(*items, of=shared) == []
    assert len(twice(*items)) == 1


# --- how many are left ---


def counted(*items: dict[str, Any], of: tuple[Settings, Plan] = THREE) -> tuple[dict[str, tuple[str, int, int]], tuple[str, ...]]:
    """Range, taken and free addresses of the one network by node, and the warnings."""
    pods = kube.pods({"items": list(items)})
    parts = usage.parts(of[1], pods, [node.name for node in of[1].nodes])
    counts = {part.node: (str(part.range), len(part.taken), part.free) for part in parts}
    return counts, usage.warnings(of[1], pods, parts)


def test_each_node_s_slice_is_counted_by_itself() -> None:
    counts, warned = counted(
        placed("a", "192.168.122.200"),
        placed("b", "192.168.122.206", node="agent-1"),
        placed("other", "192.168.122.201", net="office/lan"),  # of another network
        placed("done", "192.168.122.202", phase="Succeeded"),
    )
    assert counts == {
        "server-1": ("192.168.122.200-192.168.122.202", 1, 2),
        "agent-1": ("192.168.122.206-192.168.122.208", 1, 2),
        "agent-2": ("192.168.122.203-192.168.122.205", 0, 3),
    }
    assert warned == ()


def test_a_warning_comes_before_the_last_and_another_when_none_is_left() -> None:
    two = placed("a", "192.168.122.200"), placed("b", "192.168.122.201")
    (before,) = counted(*two)[1]
    assert before == (
        "podNetworks.macvlan-conf.range 192.168.122.200-192.168.122.202 of node server-1: one address of 3 is left; "
        "widen podNetworks.macvlan-conf.range and podNetworks.macvlan-conf.addressesPerNode, or remove a pod"
    )
    (last,) = counted(*two, placed("c", "192.168.122.202"))[1]
    assert "all 3 addresses are taken, so the next pod stays in ContainerCreating" in last


def test_a_slice_of_one_is_not_warned_of_while_it_is_free() -> None:
    one = planned(agents={"count": 1}, **lan(addressesPerNode=1))
    assert counted(of=one)[1] == ()
    assert "all 1 addresses" in counted(placed("a", "192.168.122.200"), of=one)[1][0]


def test_one_node_has_the_whole_range_and_an_address_is_counted_once() -> None:
    counts, warned = counted(placed("a", "192.168.122.200", "fd00::1"), placed("b", "192.168.122.200"), of=planned())
    assert counts == {"server-1": ("192.168.122.200-192.168.122.210", 1, 10)} and warned == ()


def test_static_addresses_are_those_of_all_nodes() -> None:
    static = planned(agents={"count": 1}, **lan(ipam="static", range="192.168.122.200-192.168.122.202"))
    counts, warned = counted(
        placed("a", "192.168.122.200"), placed("b", "192.168.122.201", node="agent-1"), placed("c", "192.168.122.230"), of=static
    )
    assert counts == {"": ("192.168.122.200-192.168.122.202", 2, 1)}
    assert "one address of 3 is left; widen podNetworks.macvlan-conf.range, or" in warned[0] and len(warned) == 1


def test_what_the_book_has_of_a_range_is_not_free_and_no_shortage() -> None:
    book = {name: {"ip": f"192.168.122.{last}"} for name, last in (("a", 200), ("b", 201), ("elsewhere", 230))}
    static = planned(**lan(ipam="static", range="192.168.122.200-192.168.122.202", addresses=book))
    there = placed("a", "192.168.122.200")
    counts, warned = counted(there, of=static)
    assert counts == {"": ("192.168.122.200-192.168.122.202", 1, 1)} and warned == ()
    (part,) = usage.parts(static[1], kube.pods({"items": [there]}), ["server-1"])
    assert part.plain() == {
        "network": "macvlan-conf", "node": "", "range": "192.168.122.200-192.168.122.202", "size": 3, "taken": 1,
        "booked": 2, "free": 1,
    }  # fmt: skip


def test_each_network_is_counted_by_itself_and_one_without_a_range_not() -> None:
    of = planned(
        podNetworks={
            **lan()["podNetworks"],
            "iot": {**IOT, "range": "192.168.50.100-192.168.50.109"},
            "cameras": {**IOT, "vlan": 51, "cidr": "192.168.51.0/24", "gateway": "192.168.51.1", "ipam": "dhcp"},
        },
        workload={"networks": ["macvlan-conf"]},
    )
    pods = kube.pods(
        {
            "items": [
                placed("a", "192.168.122.200"),
                placed("b", "192.168.50.100", net="default/iot"),
                placed("c", "192.168.51.7", net="default/cameras"),
            ]
        }
    )
    parts = usage.parts(of[1], pods, ["server-1"])
    assert [(part.network.name, part.node, len(part.taken), part.free) for part in parts] == [
        ("macvlan-conf", "server-1", 1, 10),
        ("iot", "", 1, 9),
    ]
    assert usage.warnings(of[1], pods, parts) == ()


def test_an_address_from_before_the_range_was_changed_is_reported() -> None:
    counts, warned = counted(placed("a", "192.168.122.206"))
    assert counts["server-1"][1] == 0 and counts["agent-1"][1] == 0
    outside = (
        "pod default/a has 192.168.122.206, outside of the range 192.168.122.200-192.168.122.202 that podNetworks.macvlan-conf has"
    )
    assert warned[0].startswith(f"{outside} on its node server-1")


def test_an_ipv6_address_is_compared_with_the_node_s_slice_too() -> None:
    ipv6 = {"cidr": "fd00:50::/64", "range": "fd00:50::100-fd00:50::1ff"}
    of = planned(agents={"count": 1}, **lan(addressesPerNode=3, ipv6=ipv6))
    own = of[1].nodes[0].networks[0].ipv6_slice
    assert own is not None
    assert counted(placed("a", "192.168.122.200", str(own.first)), of=of)[1] == ()
    (warned,) = counted(placed("a", "192.168.122.200", str(own.last + 1)), of=of)[1]
    assert f"outside of the range {own}" in warned


def test_a_pod_whose_eth0_is_on_the_network_counts_too() -> None:
    """v1.multus-cni.io/default-network puts the stack's network in place of the cluster's."""
    report = [{"name": LAN, "interface": "eth0", "ips": ["192.168.122.200"], "mac": "02:00:00:00:00:01", "default": True}]
    item = kube_pod("a", "", report)
    (pod,) = kube.pods({"items": [item]})
    assert pod.secondary and pod.plain()["interfaces"][0]["own"]
    assert counted(item)[0]["server-1"][1] == 1


def test_only_nodes_that_are_there_are_counted() -> None:
    parts = usage.parts(THREE[1], [], ["agent-1"])
    assert [part.node for part in parts] == ["agent-1"]
