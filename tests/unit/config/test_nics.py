"""Further NICs of machines as settings: what each is refused for, what each node gets, and what contradicts what."""

from __future__ import annotations

from typing import Any

import pytest

from components.config import plan as plans
from components.config import reading
from components.config.nic_plan import smallest_mtu
from components.config.nics import vlan_text
from components.config.problems import SettingsError
from components.config.raw import RawConfiguration
from components.config.reading import parse
from components.network import cni

from .test_conflicts import LAN, check, warnings

pytestmark = pytest.mark.unit

BR: dict[str, Any] = {"bridge": "br0"}


POD_LAN: dict[str, Any] = {"podNetworks": {"lan": {"range": "192.168.122.200-192.168.122.211", "addressesPerNode": 2}}}


def group(*nics: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"servers": {"nics": list(nics), **more}}


def pods(**more: Any) -> dict[str, Any]:
    """A network for pods on the first further NIC."""
    own = {"parent": "enp2s0", "cidr": "10.7.0.0/24", "range": "10.7.0.100-10.7.0.110", "addressesPerNode": 2, **more}
    return {"podNetworks": {"cams": own}}


def planned(raw: dict[str, Any], stack: str = "dev") -> dict[str, list[tuple[str, str, str]]]:
    """(name, MAC address, setting) of the NICs of each node."""
    plan = plans.make("k3s-macvlan", stack, parse(stack, raw))
    return {node.name: [(nic.name, nic.mac, nic.path) for nic in node.nics] for node in plan.nodes}


# --- one NIC

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("nothing to plug it into", {}, "servers.nics.0.network: is needed, or bridge"),
    ("two", {"network": "lan", **BR}, "servers.nics.0.bridge = 'br0': cannot be, because the NIC is on a libvirt network already"),
    ("a switch of a libvirt network", {"network": "lan", "openvswitch": True},
     "servers.nics.0.openvswitch = True: goes with bridge: of a libvirt network its own definition says it"),
    ("a VLAN of a libvirt network", {"network": "lan", "vlan": 50},
     "servers.nics.0.vlan: goes with bridge: a libvirt network gives VLANs by its port groups"),
    ("a port group of a bridge", {**BR, "portgroup": "red"}, "servers.nics.0.portgroup = 'red': is a part of a libvirt network"),
    ("no VLAN", {**BR, "vlan": 4095}, "servers.nics.0.vlan = 4095: not a VLAN's tag; write a number from 1 to 4094"),
    ("yes for a VLAN", {**BR, "vlan": True}, "servers.nics.0.vlan = True: not a VLAN's tag"),
    ("text for a VLAN", {**BR, "vlan": ["50"]}, "servers.nics.0.vlan: not a VLAN's tag"),
    ("an empty trunk", {**BR, "vlan": []}, "servers.nics.0.vlan: a trunk without tags, or with one twice"),
    ("a tag twice", {**BR, "vlan": [50, 50]}, "servers.nics.0.vlan: a trunk without tags, or with one twice"),
    ("a native VLAN without a trunk", {**BR, "vlan": 50, "nativeVlan": 10},
     "servers.nics.0.nativeVlan = 10: is the VLAN of frames without a tag on a trunk, and vlan is none"),
    ("a native VLAN with a tag", {**BR, "vlan": [50, 10], "nativeVlan": 10}, "servers.nics.0.nativeVlan = 10: is in vlan too"),
    ("queues of another model", {**BR, "model": "e1000e", "queues": 2},
     "servers.nics.0.queues = 2: is possible for model virtio alone, and model is e1000e"),
    ("both kinds of address", {**BR, "dhcp": True, "address": "10.0.0.5/24"},
     "servers.nics.0.dhcp = True: is not possible with an address"),
    ("an address without its prefix", {**BR, "address": "10.0.0.5"},
     "servers.nics.0.address = '10.0.0.5': not an IPv4 address with the length of its prefix; write one as 10.0.0.5/24"),
    ("a number for an address", {**BR, "address": 5}, "servers.nics.0.address = 5: not an IPv4 address"),
    ("the subnet for an address", {**BR, "address": "10.0.0.0/24"}, "servers.nics.0.address = '10.0.0.0/24': the network's own"),
    ("the broadcast address", {**BR, "address": "10.0.0.255/24"}, "or its broadcast address, which no machine has"),
    ("a name with a dot", {**BR, "name": "lan.a"}, "servers.nics.0.name = 'lan.a': not a name of a NIC"),
    ("a name of digits", {**BR, "name": "7"}, "servers.nics.0.name = '7': not a name of a NIC"),
    ("K3s's own name", {**BR, "name": "cni0"}, "servers.nics.0.name = 'cni0': is no interface on the network"),
    ("a long bridge", {"bridge": "a-bridge-too-long"}, "servers.nics.0.bridge = 'a-bridge-too-long': not a name of a bridge"),
]  # fmt: skip


@pytest.mark.parametrize(("nic", "text"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_nic_that_cannot_be_is_refused_with_what_to_write(nic: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse("dev", group(nic))
    assert [text in str(problem) for problem in refused.value.problems] == [True], refused.value


def test_point_to_point_addresses_have_neither() -> None:
    assert parse("dev", group({**BR, "address": "10.0.0.0/31"})).servers.nics[0].address is not None


@pytest.mark.parametrize(
    ("network", "text"),
    [
        ({"vlan": 50}, "network.vlan: goes with kind: bridge; the DHCP server of a libvirt network is on no VLAN"),
        ({"openvswitch": True}, "network.openvswitch: goes with kind: bridge"),
        (
            {**LAN["network"], "vlan": [50, 60]},
            "network.vlan: is a trunk, on which the nodes' own frames have no VLAN; set nativeVlan",
        ),
        ({**LAN["network"], "nativeVlan": 60}, "network.nativeVlan = 60: is the VLAN of frames without a tag on a trunk"),
    ],
)
def test_vlans_of_the_first_nic_that_cannot_be(network: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse("dev", {"network": network})
    assert [text in str(problem) for problem in refused.value.problems] == [True], refused.value


@pytest.mark.parametrize(
    ("vlan", "native", "text"),
    [(None, None, ""), (50, None, "50"), ((60, 50), None, "trunk 50,60"), ((50,), 10, "trunk 50 native 10")],
)
def test_vlans_as_text(vlan: Any, native: int | None, text: str) -> None:
    assert vlan_text(vlan, native) == text


# --- what each node gets


def test_names_are_those_of_the_places_and_mac_addresses_those_of_the_names() -> None:
    raw = group(BR, {**BR, "name": "lan"}, BR, count=3)
    nics = planned(raw)
    assert [(name, path) for name, _, path in nics["server-2"]] == [
        ("enp2s0", "servers.nics.0"), ("lan", "servers.nics.1"), ("enp4s0", "servers.nics.2"),
    ]  # fmt: skip
    macs = [mac for own in nics.values() for _, mac, _ in own]
    assert len(set(macs)) == 9 and all(mac.startswith("52:54:00:") for mac in macs)
    assert planned(raw) == nics and planned(raw, "other")["server-1"][0][1] != nics["server-1"][0][1]
    # Another order is no other NIC for one with a name.
    swapped = planned(group({**BR, "name": "lan"}, BR, count=3))
    assert swapped["server-1"][0][:2] == nics["server-1"][1][:2]


def test_a_node_s_own_list_replaces_the_group_s() -> None:
    nics = planned(
        {
            "servers": {"nics": [BR]},
            "agents": {
                "count": 3,
                "nics": [{"network": "red"}],
                "overrides": {
                    "agent-2": {"nics": []},
                    "agent-3": {"nics": [{**BR, "mac": "02:00:00:00:00:0A", "address": "10.0.0.3/8"}]},
                },
            },
        }
    )
    assert nics["agent-2"] == [] and nics["server-1"][0][2] == "servers.nics.0" and nics["agent-1"][0][2] == "agents.nics.0"
    assert nics["agent-3"] == [("enp2s0", "02:00:00:00:00:0a", "agents.overrides.agent-3.nics.0")]


def test_without_nics_nothing_is_another() -> None:
    assert planned({"servers": {"count": 3}}) == {"server-1": [], "server-2": [], "server-3": []}


def test_the_mtu_of_pods_is_that_of_their_nic() -> None:
    raw = {**group({**BR, "mtu": 9000}, count=3, overrides={"server-2": {"nics": [{**BR, "mtu": 4000}]}}), **pods()}
    assert plans.make("k3s-macvlan", "dev", parse("dev", raw)).networks[0].mtu == 4000
    assert smallest_mtu(parse("dev", group({**BR, "mtu": 9000}, count=3, overrides={"server-2": {"nics": [BR]}})), "enp2s0") is None
    assert smallest_mtu(parse("dev", {}), "enp2s0") is None


# --- what contradicts what

MANY = {"count": 3}
CASES: list[tuple[str, dict[str, Any], list[tuple[str, ...]]]] = [
    ("the first NIC's name", group({**BR, "name": "enp1s0"}),
     [("servers.nics.0.name = 'enp1s0': is the name of the nodes' first NIC too, network.interface; write another",)]),
    ("the first NIC's other name", {"network": {"interface": "enp2s0"}, **group(BR)},
     [("servers.nics.0.name = 'enp2s0': is the name of the nodes' first NIC too",)]),
    ("a name twice", group(BR, {**BR, "name": "enp2s0"}),
     [("servers.nics.1.name = 'enp2s0': is the name of servers.nics.0 too",)]),
    ("one MAC address for several", group({**BR, "mac": "02:00:00:00:00:01"}, **MANY),
     [("servers.nics.0.mac = 02:00:00:00:00:01: would be that of several nodes", "in servers.overrides.NAME.nics")]),
    ("one address for several", group({**BR, "address": "10.0.0.5/24"}, **MANY),
     [("servers.nics.0.address = 10.0.0.5/24: would be that of several nodes",)]),
    ("the first NIC's MAC address", group({**BR, "mac": "02:00:00:00:00:01"}, overrides={"server-1": {"mac": "02:00:00:00:00:01"}}),
     [("servers.nics.0.mac = 02:00:00:00:00:01: is the MAC address of node server-1 too; give one of them another",)]),
    ("a MAC address twice", group({**BR, "mac": "02:00:00:00:00:01"}, {**BR, "mac": "02:00:00:00:00:01"}),
     [("servers.nics.1.mac = 02:00:00:00:00:01: is the MAC address of servers.nics.0 of server-1 too",)]),
    ("a pod's MAC address",
     {**group({**BR, "mac": "02:00:00:00:00:01"}),
      "podNetworks": {"a": {"ipam": "static", "addresses": {"nginx-macvlan": {"ip": "192.168.122.9",
                                                                               "mac": "02:00:00:00:00:01"}}}}},
     [("servers.nics.0.mac = 02:00:00:00:00:01: is the MAC address of podNetworks.a.addresses.nginx-macvlan.mac too",)]),
    ("an address of the nodes' network", group({**BR, "address": "192.168.122.5/24"}),
     [("servers.nics.0.address = 192.168.122.5/24: overlaps network.cidr 192.168.122.0/24, which the node reaches otherwise",)]),
    ("an address of the cluster", group({**BR, "address": "10.43.7.5/24"}),
     [("servers.nics.0.address = 10.43.7.5/24: overlaps k3s.serviceCidr 10.43.0.0/16",)]),
    ("two NICs in one subnet", group({**BR, "address": "10.0.0.5/24"}, {**BR, "address": "10.0.0.6/25"}),
     [("servers.nics.1.address = 10.0.0.6/25: is in the subnet of servers.nics.0.address 10.0.0.5/24, on another NIC",)]),
    ("one address of two nodes",
     {"servers": {"nics": [{**BR, "address": "10.0.0.5/24"}]},
      "agents": {"count": 1, "nics": [{**BR, "address": "10.0.0.5/24"}]}, **pods()},
     [("agents.nics.0.address = 10.0.0.5/24: is the address of server-1 too (servers.nics.0.address); choose another",)]),
    ("an address of pods", {**group({**BR, "address": "10.7.0.105/24"}), **pods()},
     [("servers.nics.0.address = 10.7.0.105/24: is one of podNetworks.cams.range 10.7.0.100-10.7.0.110, which pods get",)]),
    ("the address of pods' router", {**group({**BR, "address": "10.7.0.1/24"}), **pods(gateway="10.7.0.1")},
     [("servers.nics.0.address = 10.7.0.1/24: is podNetworks.cams.gateway, another machine's; choose another address",)]),
    ("a parent that one node lacks", {**group(BR, count=3, overrides={"server-3": {"nics": []}}), **pods()},
     [("podNetworks.cams.parent = 'enp2s0': is a NIC of server-1 and none of server-3, and the network is made on every node",)]),
    ("passthru of an address", {**group({**BR, "address": "10.7.0.5/24"}), **pods(mode="passthru")},
     [("podNetworks.cams.mode = 'passthru': would take enp2s0 away from server-1, which has an address on it",)]),
    ("a VLAN on one VLAN", {**group({**BR, "vlan": 50}), **pods(vlan=60)},
     [("podNetworks.cams.vlan = 60: is a VLAN inside of servers.nics.0.vlan 50, whose port takes no frames with tags",
       "make that a trunk: vlan: [60]")]),
    ("no tag on a trunk", {**group({**BR, "vlan": [50, 60]}), **pods()},
     [("podNetworks.cams.vlan: is needed: servers.nics.0.vlan is a trunk", "set it to one of 50, 60")]),
    ("another tag on a trunk", {**group({**BR, "vlan": [50, 60]}), **pods(vlan=70)},
     [("podNetworks.cams.vlan = 70: is none of servers.nics.0.vlan 50, 60, so its frames are dropped; add it there",)]),
    ("another tag on the nodes' trunk",
     {"network": {**LAN["network"], "vlan": [50], "nativeVlan": 10},
      "podNetworks": {**LAN["podNetworks"], "iot": {"vlan": 60, "cidr": "10.9.0.0/24", "range": "10.9.0.2"}}},
     [("podNetworks.iot.vlan = 60: is none of network.vlan 50, so its frames are dropped",)]),
    ("frames above the NIC's", {**group({**BR, "mtu": 1500}), **pods(mtu=9000)},
     [("podNetworks.cams.mtu = 9000: is 7500 bytes above the 1500 of enp2s0, which servers.nics.0.mtu says", "set at most 1500")]),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_conflict_is_named_with_both_sides_and_a_remedy(raw: dict[str, Any], wanted: list[tuple[str, ...]]) -> None:
    found = check({**POD_LAN, **raw})
    assert len(found) == len(wanted), found
    for line, (beginning, *parts) in zip(found, wanted, strict=True):
        assert line.startswith(beginning)
        assert all(part in line for part in parts)


@pytest.mark.parametrize(
    "raw",
    [
        group(BR, {"network": "red", "portgroup": "a", "name": "red"}),
        {**group({**BR, "vlan": [50, 60]}), **pods(vlan=50)},
        {**group({**BR, "vlan": [50, 60], "nativeVlan": 10}), **pods()},
        {**group({**BR, "vlan": 50}), **pods()},
        {**group({**BR, "mtu": 9000}), **pods(mtu=9000)},
        {**group({**BR, "address": "10.7.0.5/24"}), **pods()},
        # On a VLAN of the NIC the addresses are others.
        {**group({**BR, "address": "10.7.0.105/24"}), **pods(vlan=50)},
        # A parent of no node's list is looked for on the node.
        pods(),
        # The same address on other wires.
        {"servers": {"nics": [{**BR, "address": "10.0.0.5/24"}]},
         "agents": {"count": 1, "nics": [{"bridge": "br1", "address": "10.0.0.5/24"}]}, **pods()},
        # The only node that has it from the list.
        group({**BR, "mac": "02:00:00:00:00:01"}, count=3, overrides={f"server-{number}": {"nics": []} for number in (1, 3)}),
        {"network": {**LAN["network"], "vlan": [50], "nativeVlan": 10, "openvswitch": True, "queues": 2},
         "podNetworks": {**LAN["podNetworks"], "iot": {"vlan": 50, "cidr": "10.9.0.0/24", "range": "10.9.0.2"}}},
    ],
)  # fmt: skip
def test_what_holds_together_is_taken(raw: dict[str, Any]) -> None:
    assert check({**POD_LAN, **raw}) == []


def test_no_nic_is_named_by_the_place_of_another() -> None:
    """Without the wrong one the others have other places, so what they contradict waits for it."""
    raw = group({}, {**BR, "name": "enp1s0"}, {**BR, "address": "192.168.122.5/24"})
    with pytest.raises(SettingsError) as refused:
        reading.load("k3s-macvlan", "dev", RawConfiguration(raw))
    assert [problem.setting for problem in refused.value.problems] == ["servers.nics.0.network"]
    with pytest.raises(SettingsError) as refused:
        reading.load("k3s-macvlan", "dev", RawConfiguration(group(BR, *raw["servers"]["nics"][1:])))
    assert [problem.setting for problem in refused.value.problems] == ["servers.nics.1.name", "servers.nics.2.address"]


def test_what_is_seldom_wanted_is_warned_of() -> None:
    found = warnings({"network": {"queues": 4}, **group({**BR, "queues": 3}, cpus=3)})
    assert "network.queues: server-1 has 3 CPUs, so 1 of the 4 queues stay unused" in found
    assert not [text for text in found if text.startswith("servers.nics")]
    two = {"hypervisors": {"local": {}, "far": {"uri": "qemu+ssh://far/system"}}}
    agents = {"agents": {"count": 1, "hypervisor": "far"}, **LAN}
    assert [
        text
        for text in warnings({**two, **agents, **group({"network": "red"})})
        if "libvirt network red is one inside each" in text
    ]
    assert not [text for text in warnings({**two, **agents, **group(BR)}) if text.startswith("nics")]


def test_pods_get_new_interfaces_with_another_device_alone() -> None:
    """What libvirt changes while a NIC stays leaves the pods' interfaces where they are."""

    def revision(*nics: dict[str, Any], nodes: int = 1) -> str:
        raw = {**group(*nics, count=nodes), **pods()}
        return cni.revision(plans.make("k3s-macvlan", "dev", parse("dev", raw)).networks[0])

    by_hand = plans.make("k3s-macvlan", "dev", parse("dev", pods())).networks[0]
    assert by_hand.nic == "" and cni.revision(by_hand) != revision(BR)
    same = [revision({"bridge": "br2"}), revision({**BR, "vlan": 50}), revision({**BR, "mtu": 9000}), revision(BR, nodes=3)]
    assert set(same) == {revision(BR)}
    assert len({revision(BR), revision({**BR, "model": "e1000e"}), revision({**BR, "queues": 2})}) == 3
