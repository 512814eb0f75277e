"""Conflicts between settings: each with the setting, its value, the conflict and the way out."""

from __future__ import annotations

from typing import Any

import pytest

from components.config import conflicts, plan
from components.config.reading import parse

pytestmark = pytest.mark.unit


def check(raw: dict[str, Any], stack: str = "dev") -> list[str]:
    settings = parse(stack, raw)
    return [str(problem) for problem in sorted(set(conflicts.conflicts(plan.make("k3s-macvlan", stack, settings), settings)))]


LAN: dict[str, Any] = {
    "network": {
        "kind": "bridge", "name": "br0", "cidr": "10.30.0.0/24", "gateway": "10.30.0.1", "dns": ["10.30.0.1"],
        "nodes": "10.30.0.20-10.30.0.39",
    },
    "macvlan": {"range": "10.30.0.200-10.30.0.210", "addressesPerNode": 5},
    "macvlanCheck": {"address": "10.30.0.210"},
}  # fmt: skip

CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("commands of the first boot beside ours", {"ssh": {"port": 2222}, "cloudInit": {"bootcmd": "ls"}},
     ["cloudInit.bootcmd: ", "'bootcmd' is no list"]),
    ("commands of the first boot on a bridge", {**LAN, "cloudInit": {"bootcmd": "ls"}},
     ["cloudInit.bootcmd: ", "'bootcmd' is no list"]),
    ("gateway outside", {"network": {"gateway": "10.0.0.1"}}, ["network.gateway = 10.0.0.1: is outside network.cidr"]),
    ("nodes hold the gateway", {"network": {"nodes": "192.168.122.1-192.168.122.9"}}, ["network.nodes", "holds network.gateway"]),
    ("nodes hold the network address", {"network": {"nodes": "192.168.122.0-192.168.122.9", "gateway": "192.168.122.254"}},
     ["holds the network address of 192.168.122.0/24"]),
    ("pods hold the broadcast address",
     {"macvlan": {"range": "192.168.122.250-192.168.122.255"}, "macvlanCheck": {"enabled": False}},
     ["macvlan.range", "holds the broadcast address"]),
    ("nodes outside", {"network": {"nodes": "10.0.0.1-10.0.0.9"}}, ["network.nodes = 10.0.0.1-10.0.0.9: is not inside"]),
    ("pods outside", {"macvlan": {"range": "10.0.0.1-10.0.0.9"}}, ["macvlan.range = 10.0.0.1-10.0.0.9: is not inside"]),
    ("pods half outside", {"macvlan": {"range": "192.168.122.250-192.168.123.5"}}, ["macvlan.range", "is not inside"]),
    ("nodes and pods", {"macvlan": {"range": "192.168.122.195-192.168.122.210"}},
     ["macvlan.range = 192.168.122.195-192.168.122.210: overlaps network.nodes 192.168.122.180-192.168.122.199"]),
    ("excluded", {"network": {"exclude": ["192.168.122.203", "192.168.122.181-192.168.122.182"]}},
     ["holds 192.168.122.203 of network.exclude", "holds 192.168.122.181-192.168.122.182 of network.exclude"]),
    ("check on a node", {"macvlanCheck": {"address": "192.168.122.185"}}, ["macvlanCheck.address = 192.168.122.185: overlaps"]),
    ("check without address", {"macvlanCheck": {"address": None}}, ["macvlanCheck.address: is needed for the check"]),
    ("check outside", {"macvlanCheck": {"address": "10.0.0.1"}}, ["macvlanCheck.address = 10.0.0.1: is not inside"]),
    ("too many nodes", {"network": {"nodes": "192.168.122.180-192.168.122.181"}, "servers": {"count": 3},
                        "macvlan": {"addressesPerNode": 2}}, ["network.nodes", "holds 2 addresses for 3 nodes"]),
    ("same address", {"agents": {"count": 1, "overrides": {"agent-1": {"address": "192.168.122.180"}}},
                      "macvlan": {"addressesPerNode": 2}}, ["is the address of server-1 and of agent-1"]),
    ("same MAC", {"servers": {"overrides": {"server-1": {"mac": "02:00:00:00:00:01"}}},
                  "agents": {"count": 1, "overrides": {"agent-1": {"mac": "02:00:00:00:00:01"}}},
                  "macvlan": {"addressesPerNode": 2}}, ["agents.overrides.agent-1.mac = 02:00:00:00:00:01"]),
    ("override of nobody", {"servers": {"overrides": {"server-9": {}}}}, ["servers.overrides.server-9: names no node"]),
    ("unknown hypervisor", {"servers": {"hypervisor": "far"}}, ["servers.hypervisor = 'far': is none of hypervisors: local"]),
    ("unknown hypervisor of one", {"servers": {"overrides": {"server-1": {"hypervisor": "far"}}}},
     ["servers.overrides.server-1.hypervisor = 'far'"]),
    ("one libvirt network on two hosts",
     {"hypervisors": {"local": {}, "far": {"uri": "qemu+ssh://far/system"}}, "agents": {"count": 1, "hypervisor": "far"},
      "macvlan": {"addressesPerNode": 2}},
     ["network.kind = 'libvirt': is a network inside one host, and nodes are placed on 2 (far, local)", "set kind: bridge"]),
    ("no slices", {"agents": {"count": 1}}, ["macvlan.addressesPerNode: is needed for 2 nodes", "set it to at most 5"]),
    ("no room for slices", {"agents": {"count": 19}, "macvlan": {"range": "192.168.122.200-192.168.122.205"}},
     ["macvlan.addressesPerNode: is needed for 20 nodes", "widen it to 20"]),
    ("slices too large", {"agents": {"count": 2}, "macvlan": {"addressesPerNode": 5}},
     ["macvlan.range", "holds 11 addresses, but 3 nodes x addressesPerNode 5 = 15"]),
    ("static without address", {"macvlan": {"ipam": "static"}, "plugins": {"names": ["macvlan", "static"]}},
     ["macvlan.ipam = 'static'", "set workload.address"]),
    ("address without static", {"workload": {"address": "192.168.122.203"}}, ["workload.address = 192.168.122.203"]),
    ("plugin missing", {"macvlan": {"type": "ipvlan", "mode": "l2"}}, ["plugins.names = ['macvlan']: lacks ipvlan"]),
    ("passthru takes the NIC", {"macvlan": {"mode": "passthru"}}, ["macvlan.mode = 'passthru': would take enp1s0 away"]),
    ("pod network", {"k3s": {"podCidr": "192.168.0.0/16"}}, ["k3s.podCidr = 192.168.0.0/16: overlaps network.cidr"]),
    ("service network", {"k3s": {"serviceCidr": "10.42.128.0/17"}}, ["k3s.podCidr", "overlaps k3s.serviceCidr"]),
    ("isolation", {"multus": {"namespaceIsolation": True}, "macvlan": {"namespace": "nets"}, "workload": {"namespace": "apps"}},
     ["multus.namespaceIsolation = True: forbids the pod in apps the network in nets"]),
    ("access on nodes", {"nodeAccess": {"enabled": True, "addresses": "192.168.122.180-192.168.122.181"}},
     ["nodeAccess.addresses = 192.168.122.180-192.168.122.181: overlaps network.nodes"]),
    ("too few for access", {"nodeAccess": {"enabled": True, "addresses": "192.168.122.20"}, "servers": {"count": 3},
                            "macvlan": {"addressesPerNode": 2}}, ["nodeAccess.addresses"]),
    ("one address for many pods", {"workload": {"address": "192.168.122.203", "perNode": True}, "macvlan": {"ipam": "static"},
                                   "plugins": {"names": ["macvlan", "static"]}}, ["remove it or workload.perNode"]),
    ("a route over services", {"macvlan": {"routes": ["10.43.0.0/16"]}},
     ["macvlan.routes = 10.43.0.0/16: covers k3s.serviceCidr 10.43.0.0/16", "set macvlan.clusterRoutes: true"]),
    ("a route over both", {"macvlan": {"routes": ["10.0.0.0/8"]}},
     ["10.0.0.0/8: covers k3s.podCidr 10.42.0.0/16", "10.0.0.0/8: covers k3s.serviceCidr"]),
    ("a route into pods", {"macvlan": {"routes": ["10.42.7.0/24"]}}, ["10.42.7.0/24: covers k3s.podCidr"]),
    ("two halves of everything", {"macvlan": {"routes": ["0.0.0.0/1", "128.0.0.0/1"]}},
     ["0.0.0.0/1: covers k3s.podCidr", "0.0.0.0/1: covers k3s.serviceCidr"]),
    ("half of everything", {"macvlan": {"routes": ["128.0.0.0/1"]}}, ["128.0.0.0/1: covers network.nodes"]),
    ("a route twice", {"macvlan": {"routes": ["10.1.0.0/24", "10.1.0.0/24"]}},
     ["macvlan.routes = 10.1.0.0/24: stands there 2 times", "write it once"]),
    ("a taint on every node", {"servers": {"taints": ["dedicated=storage:NoSchedule"]}},
     ["workload.perNode = False: leaves the pod nginx-macvlan without a node", "dedicated=storage:NoSchedule"]),
    ("an option in both", {"k3s": {"config": {"kubelet-arg": ["max-pods=200"]}, "serverConfig": {"kubelet-arg+": ["v=4"]}}},
     ["k3s.serverConfig.kubelet-arg+: is in k3s.config too", "leave kubelet-arg out of k3s.config"]),
    ("few pods", {"k3s": {"podCidr": "10.42.0.0/25"}}, ["k3s.podCidr = 10.42.0.0/25: has a /24 for 0 nodes, and there are 1"]),
    ("pods of one node", {"k3s": {"podCidr": "10.42.0.0/24"}, "servers": {"count": 3}, "macvlan": {"addressesPerNode": 3}},
     ["k3s.podCidr = 10.42.0.0/24: has a /24 for 1 nodes, and there are 3"]),
    ("few services", {"k3s": {"serviceCidr": "10.43.0.0/29"}}, ["k3s.serviceCidr = 10.43.0.0/29: is too large", "/12 to /28"]),
    ("many services", {"k3s": {"serviceCidr": "11.0.0.0/8"}}, ["k3s.serviceCidr = 11.0.0.0/8: is too large", "/12 to /28"]),
    ("pods of the machine itself", {"k3s": {"podCidr": "127.0.0.0/16"}},
     ["k3s.podCidr = 127.0.0.0/16: is no network of addresses"]),
    ("a route to nodes", {"macvlan": {"routes": ["192.168.122.184/30"]}}, ["covers network.nodes 192.168.122.180-192.168.122.199"]),
    ("API among pods", {"k3s": {"apiAddress": "192.168.122.203"}}, ["k3s.apiAddress = 192.168.122.203: overlaps macvlan.range"]),
    ("API among nodes", {"k3s": {"apiAddress": "192.168.122.180"}}, ["k3s.apiAddress = 192.168.122.180: overlaps network.nodes"]),
    ("API of a node elsewhere", {"k3s": {"apiAddress": "192.168.122.50"},
                                 "servers": {"overrides": {"server-1": {"address": "192.168.122.50"}}}},
     ["k3s.apiAddress = 192.168.122.50: overlaps servers.overrides.server-1.address"]),
    ("API on the gateway", {"k3s": {"apiAddress": "192.168.122.1"}}, ["k3s.apiAddress = 192.168.122.1: holds network.gateway"]),
    ("API on the check", {"k3s": {"apiAddress": "192.168.122.20"}, "macvlanCheck": {"address": "192.168.122.20"}},
     ["k3s.apiAddress = 192.168.122.20: overlaps macvlanCheck.address"]),
    ("API on a pod", {"k3s": {"apiAddress": "192.168.122.20"}, "workload": {"address": "192.168.122.20"},
                      "macvlan": {"ipam": "static"}, "plugins": {"names": ["macvlan", "static"]}}, ["overlaps workload.address"]),
    ("API of broadcasts", {"k3s": {"apiAddress": "192.168.122.255"}}, ["holds the broadcast address of 192.168.122.0/24"]),
    ("API in the cluster", {"k3s": {"apiAddress": "10.43.0.1"}}, ["k3s.apiAddress = 10.43.0.1: lies in k3s.serviceCidr"]),
    ("MTU", {"macvlan": {"mtu": 9000}},
     ["macvlan.mtu = 9000: is 7500 bytes above the 1500 of enp1s0, which a NIC has as a rule", "set at most 1500, or network.mtu"]),
    ("MTU of the network", {"macvlan": {"mtu": 9000}, "network": {"mtu": 8000}},
     ["macvlan.mtu = 9000: is 1000 bytes above the 8000 of enp1s0, which network.mtu says"]),
    ("MTU and the same master", {"macvlan": {"mtu": 1501, "master": "enp1s0"}}, ["is 1 bytes above"]),
    ("one host twice", {"hypervisors": {"local": {}, "other": {}}, "agents": {"count": 1, "hypervisor": "other"},
                        "macvlan": {"addressesPerNode": 2}}, ["hypervisors."]),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "parts"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_conflict_is_named_with_both_sides(raw: dict[str, Any], parts: list[str]) -> None:
    text = "\n".join(check(raw))
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"macvlan": {"range": "192.168.122.2-192.168.122.179"}, "macvlanCheck": {"address": "192.168.122.254"}},
        {"macvlan": {"addressesPerNode": 11}},
        {"servers": {"count": 3}, "agents": {"count": 2}, "macvlan": {"addressesPerNode": 2}},
        {"macvlan": {"ipam": "static"}, "plugins": {"names": ["macvlan", "static"]}, "workload": {"address": "192.168.122.203"}},
        {"macvlan": {"routes": ["192.168.0.0/16", "172.16.0.0/12"]}},
        {"servers": {"taints": ["a=b:PreferNoSchedule"]}},
        {"servers": {"taints": ["a=b:NoSchedule"]}, "workload": {"perNode": True}},
        {"servers": {"taints": ["a=b:NoSchedule"]}, "agents": {"count": 1}, "macvlan": {"addressesPerNode": 5}},
        {"macvlan": {"mode": "passthru", "master": "enp2s0"}},
        {"macvlanCheck": {"enabled": False, "address": None}},
        {"macvlan": {"routes": ["10.9.0.0/16", "224.0.0.0/4", "172.16.0.0/12"]}},
        {"macvlan": {"routes": ["10.0.0.0/8"], "clusterRoutes": True}},
        {"k3s": {"apiAddress": "192.168.122.20"}},
        {"k3s": {"apiAddress": "k3s.example"}},
        {"k3s": {"apiAddress": "203.0.113.9"}},
        {"k3s": {"apiAddress": "192.168.122.20"}, "network": {"exclude": ["192.168.122.20"]}},
        {"macvlan": {"mtu": 1500}},
        {"macvlan": {"mtu": 9000}, "network": {"mtu": 9000}},
        {"macvlan": {"mtu": 9000, "master": "enp2s0"}},
        {"servers": {"overrides": {"server-1": {"address": "192.168.122.50"}}}},
        {"network": {"exclude": ["192.168.122.2-192.168.122.179"]}},
        {**LAN, "hypervisors": {"local": {}, "far": {"uri": "qemu+ssh://far/system"}}, "agents": {"count": 1, "hypervisor": "far"}},
        {"hypervisors": {"local": {}, "idle": {"uri": "qemu+ssh://idle/system"}}},
    ],
)
def test_what_holds_together_is_taken(raw: dict[str, Any]) -> None:
    assert check(raw) == []


@pytest.mark.parametrize("stack", ["Dev", "a_b", "a.b", "x" * 60, "ä"])
def test_a_stack_whose_name_is_no_host_name_is_refused(stack: str) -> None:
    assert "rename the stack" in "\n".join(check({}, stack))


@pytest.mark.parametrize(
    ("uri", "warned"), [("no_verify=1", True), ("no_tty=1&no_verify=1", True), ("no_verify=0", False), ("", False)]
)
def test_a_hypervisor_whose_key_nobody_checks_is_warned_of(uri: str, warned: bool) -> None:
    settings = parse("dev", {"hypervisors": {"local": {"uri": f"qemu+ssh://root@far/system?{uri}"}}})
    assert any("hypervisors.local.uri: no_verify" in warning for warning in conflicts.warnings(settings)) == warned


@pytest.mark.parametrize("acknowledged", [True, False])
def test_acknowledged_routes_over_the_cluster_are_warned_of(acknowledged: bool) -> None:
    routes = ["10.0.0.0/8", "10.9.0.0/16"]
    settings = parse("dev", {"macvlan": {"routes": routes, "clusterRoutes": acknowledged}})
    warnings = [warning for warning in conflicts.warnings(settings) if warning.startswith("macvlan.routes")]
    expected = [f"macvlan.routes: 10.0.0.0/8 covers {setting}" for setting in ("k3s.podCidr 10.42", "k3s.serviceCidr 10.43")]
    if acknowledged:
        assert [warning[: len(text)] for warning, text in zip(warnings, expected, strict=True)] == expected
    else:
        assert warnings == []


def test_an_api_address_of_the_network_is_nobody_else_s() -> None:
    """It is taken out of DHCP and asked for by ARP, since it is one of the plan's claims; but not what exclude gives to another."""
    cases: list[tuple[str, list[str], bool]] = [
        ("192.168.122.20", [], True),
        ("192.168.122.20", ["192.168.122.20-192.168.122.30"], False),
        ("k3s.example", [], False),
        ("203.0.113.9", [], False),
    ]
    for address, exclude, claimed in cases:
        settings = parse("dev", {"k3s": {"apiAddress": address}, "network": {"exclude": exclude}})
        claims = [str(claim) for claim in plan.make("k3s-macvlan", "dev", settings).claims]
        assert ("192.168.122.20-192.168.122.20" in claims) == claimed, address


def test_all_conflicts_come_together_and_once() -> None:
    problems = check(
        {"network": {"gateway": "10.0.0.1"}, "macvlan": {"range": "10.0.0.1-10.0.0.9"}, "macvlanCheck": {"address": "10.9.9.9"}}
    )
    assert len(problems) == len(set(problems)) >= 3


def test_a_fixed_address_is_kept_out_of_the_check() -> None:
    """The pod may be running when another node is checked."""
    raw = {
        "macvlan": {"ipam": "static"},
        "plugins": {"names": ["macvlan", "static"]},
        "workload": {"address": "192.168.122.200"},
        "agents": {"count": 3},
    }
    assert check(raw) == []
    settings = parse("dev", raw)
    nodes = plan.make("k3s-macvlan", "dev", settings).nodes
    assert settings.workload.address not in [node.check_address for node in nodes]
